package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"maru"
)

func newSQLite() *dialect {
	return &dialect{
		name:       "sqlite",
		goose:      goose.DialectSQLite3,
		beginWrite: "BEGIN IMMEDIATE", // a transaction that reads first and writes later could not wait for the lock
		beginRead:  "BEGIN",
		maxRows:    64,
		commit:     commitSQLite,
		durable:    durableSQLite,
		refused:    refusedBySQLite,
	}
}

// openSQLite opens or makes the file. Schema and WAL mode are there before any
// other connection opens: changing the journal mode needs the file alone, and a
// process that met the change half-way would fail with "database is locked".
func openSQLite(ctx context.Context, path string, c Config) (_ *Store, err error) {
	unlock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	// SQLite would make it readable for everyone; -wal and -shm get the same mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	d := newSQLite()
	writer, err := sql.Open("sqlite", sqliteDSN(path, false))
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	if err := migrate(ctx, writer, d, c.Logger); err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	reader, err := sql.Open("sqlite", sqliteDSN(path, true))
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	n := c.MaxConns
	if n <= 0 {
		n = 4
	}
	reader.SetMaxOpenConns(n)
	reader.SetMaxIdleConns(n)
	return &Store{d: d, writer: writer, reader: reader}, nil
}

// lockFile takes an advisory lock that lasts until unlock, or this process's end.
// The file stays: removing it would let two processes lock two different files.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	l := flock.New(path, flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock %s while the schema is checked: %w", path, err)
	}
	return func() { _ = l.Close() }, nil // closing the descriptor cannot leave it locked
}

// sqliteDSN is the driver's address of the file.
//
// synchronous=NORMAL syncs when the WAL is copied back, not at each commit: after
// a power cut the newest transactions may be gone, never a part of one. The log is
// the truth, so that means applying a little more of it again; and the owners whose
// claims are forgotten died in the same power cut.
func sqliteDSN(path string, readOnly bool) string {
	q := url.Values{"_pragma": {"busy_timeout(5000)", "synchronous(NORMAL)"}}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	} else {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "journal_size_limit(67108864)") // a WAL that once grew large gives its space back
		q.Set("_txlock", "immediate")                    // for the migrations' transactions
	}
	u := url.URL{Path: path}
	return "file:" + u.EscapedPath() + "?" + q.Encode()
}

// commitSQLite does not let ctx cut the COMMIT short: it lasts as long as a write
// to a local file, and ended by itself its outcome is known.
func commitSQLite(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(context.WithoutCancel(ctx), "COMMIT")
	if err == nil {
		return nil
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		// Found before anything was written (BUSY, LOCKED, CONSTRAINT, READONLY), or
		// the write of the last frame, which makes the others count, failed for want of
		// space (FULL).
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL:
			return err
		}
	}
	// An I/O error may come after the last frame: a recovery would then find the transaction committed.
	return fmt.Errorf("%w: %w", maru.ErrOutcomeUnknown, err)
}

func durableSQLite(ctx context.Context, c *sql.Conn) (undo func(), err error) {
	if _, err := c.ExecContext(ctx, "PRAGMA synchronous=FULL"); err != nil {
		return nil, err
	}
	return func() {
		// When it fails the connection goes on syncing each commit: slower, not wrong.
		_, _ = c.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous=NORMAL")
	}, nil
}

func refusedBySQLite(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return true
	}
	return false
}
