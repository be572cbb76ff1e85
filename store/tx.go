package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"maru"
)

// session is one connection during one operation, used by one goroutine.
// Transactions are begun and ended by statements on it rather than by sql.Tx,
// because sql.Tx does not tell whether a failed Commit had sent anything.
type session struct {
	d *dialect
	c *sql.Conn
}

func (s *session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := s.c.ExecContext(ctx, s.d.text(query, 1, 0), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s *session) row(ctx context.Context, query string, args ...any) *sql.Row {
	return s.c.QueryRowContext(ctx, s.d.text(query, 1, 0), args...)
}

// rows calls scan for each row of the answer.
func (s *session) rows(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	return s.scan(ctx, scan, s.d.text(query, 1, 0), args)
}

func (s *session) scan(ctx context.Context, scan func(*sql.Rows) error, text string, args []any) error {
	rows, err := s.c.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// bulk runs query, which contains rowsMark, for n rows of width arguments, in
// as few statements as allowed; add appends the arguments of row i.
func (s *session) bulk(ctx context.Context, n, width int, add func(args []any, i int) []any, query string) error {
	var args []any
	for i := 0; i < n; {
		k := s.d.chunk(n - i)
		args = args[:0]
		for end := i + k; i < end; i++ {
			args = add(args, i)
		}
		if _, err := s.c.ExecContext(ctx, s.d.text(query, k, width), args...); err != nil {
			return err
		}
	}
	return nil
}

// list runs query, which contains listMark, over all ids. A list is filled up to a
// power of two by repeating its last element, which does not change what IN means.
func (s *session) list(ctx context.Context, scan func(*sql.Rows) error, ids []string, query string) error {
	for len(ids) > 0 {
		n := min(len(ids), maxList)
		size := 1
		for size < n {
			size *= 2
		}
		args := make([]any, size)
		for i := range args {
			args[i] = ids[min(i, n-1)]
		}
		if err := s.scan(ctx, scan, s.d.text(query, size, 0), args); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// maxList bounds the ids asked for by one statement.
const maxList = 512

// limited applies Config.Timeout.
func (s *Store) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

// read runs fn on a connection for reading, without a transaction.
func (s *Store) read(ctx context.Context, fn func(context.Context, *session) error) error {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	conn, err := s.reader.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // back to the pool; an error there concerns only the pool
	return withReason(ctx, fn(ctx, &session{s.d, conn}))
}

// withReason adds the context's error where a driver reports only the connection
// that it gave up for it.
func withReason(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// snapshot runs fn so that all its statements see the database at one moment.
func (c *session) snapshot(ctx context.Context, fn func() error) error {
	if _, err := c.c.ExecContext(ctx, c.d.beginRead); err != nil {
		c.abandon(ctx)
		return err
	}
	if err := fn(); err != nil {
		c.abandon(ctx)
		return err
	}
	if _, err := c.c.ExecContext(ctx, "COMMIT"); err != nil {
		c.abandon(ctx)
		return err
	}
	return nil
}

// write runs fn in one write transaction and commits it. Every error is a
// definite failure unless it wraps maru.ErrOutcomeUnknown. op names the hook's points.
func (s *Store) write(ctx context.Context, op string, fn func(context.Context, *session) error) error {
	if op != unhooked {
		if err := s.at(ctx, op+".begin"); err != nil {
			return err
		}
	}
	return s.withWriter(ctx, func(ctx context.Context, c *session) error {
		return s.transaction(ctx, op, c, fn)
	})
}

// writeDurably is write for what the log cannot bring back: once it returns nil, a power cut
// does not undo it. It has no hook.
func (s *Store) writeDurably(ctx context.Context, fn func(context.Context, *session) error) error {
	return s.withWriter(ctx, func(ctx context.Context, c *session) error {
		undo, err := s.d.durable(ctx, c.c)
		if err != nil {
			return err
		}
		defer undo()
		return s.transaction(ctx, unhooked, c, fn)
	})
}

// unhooked is the op of transactions without points for Config.Hook.
const unhooked = ""

func (s *Store) withWriter(ctx context.Context, fn func(context.Context, *session) error) error {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = withReason(ctx, fn(ctx, &session{s.d, conn}))
	if err != nil && s.d.refused(err) && !errors.Is(err, ErrRefused) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (s *Store) transaction(ctx context.Context, op string, c *session, fn func(context.Context, *session) error) error {
	if _, err := c.c.ExecContext(ctx, s.d.beginWrite); err != nil {
		c.abandon(ctx)
		return fmt.Errorf("begin: %w", err)
	}
	err := fn(ctx, c)
	if err == nil && op != unhooked {
		err = s.at(ctx, op+".commit")
	}
	if err == nil {
		err = ctx.Err() // from here on a cancelled context would leave the outcome open
	}
	if err != nil {
		c.abandon(ctx)
		return err
	}
	if err := s.d.commit(ctx, c.c); err != nil {
		c.abandon(ctx)
		return fmt.Errorf("commit: %w", err)
	}
	if op == unhooked {
		return nil
	}
	if err := s.at(ctx, op+".committed"); err != nil {
		return fmt.Errorf("commit: %w: %w", maru.ErrOutcomeUnknown, err)
	}
	return nil
}

// abandon ends the transaction, if one is open, without committing it. When that
// cannot be done the connection is thrown away, which ends it too.
func (c *session) abandon(ctx context.Context) {
	// The context may be why the transaction failed, so it does not count here.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, err := c.c.ExecContext(ctx, "ROLLBACK"); err != nil {
		c.discard()
	}
}

// discard makes the pool close the connection instead of keeping it.
func (c *session) discard() {
	_ = c.c.Raw(func(any) error { return driver.ErrBadConn }) // the error given is the error returned
}
