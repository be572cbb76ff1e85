package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"maru"
)

// Errors beside those of package maru. Test with errors.Is.
var (
	// ErrRefused: the database can never store this row or take this value (a NUL
	// or invalid UTF-8 in a text, a constraint, a number out of range). Nothing was
	// written, and trying again gives the same answer.
	ErrRefused = fmt.Errorf("%w: the database cannot hold this value", maru.ErrNotStorable)
	// ErrBackwards: the epoch is the caller's, but the stored next offset is higher
	// than the checkpoint's. Nothing was written. It is a fault of the caller:
	// checkpoints of one owner were written out of order.
	ErrBackwards = fmt.Errorf("%w: it is older than the one stored", maru.ErrNotStorable)
)

// Config says which database to open and how hard to use it.
type Config struct {
	// DSN is postgres://user:password@host:port/name?… or the path of a SQLite
	// file, made with mode 0600 when absent. Its password appears in no error and
	// no log line.
	DSN string
	// Logger gets one line for each migration applied; nil: none.
	Logger *slog.Logger
	// MaxConns bounds the connections to PostgreSQL, or the readers of SQLite (its
	// writer is always one more). 0: 8 and 4.
	MaxConns int
	// Timeout bounds every operation on PostgreSQL, the wait for a connection
	// included, so that a network which swallows packets cannot hold a caller
	// whose context has no deadline. 0: 15 s. SQLite needs none: there only a lock
	// is waited for, at most 5 s.
	Timeout time.Duration
	// Hook is for tests of failure and nil in production. It is called with each
	// Point passed, on the goroutine of the operation. It may block, inspect the
	// database through another Store, or return an error, which ends the operation
	// there: before COMMIT as a definite failure, at a Committed point as
	// maru.ErrOutcomeUnknown although the transaction was committed.
	Hook func(ctx context.Context, point string) error
}

// Points at which Config.Hook is called: before the transaction begins (no
// connection is held yet), before COMMIT is sent, after it succeeded.
const (
	PointClaimBegin          = "claim.begin"
	PointClaimCommit         = "claim.commit"
	PointClaimCommitted      = "claim.committed"
	PointCheckpointBegin     = "checkpoint.begin"
	PointCheckpointCommit    = "checkpoint.commit"
	PointCheckpointCommitted = "checkpoint.committed"
	PointRebaseBegin         = "rebase.begin"
	PointRebaseCommit        = "rebase.commit"
	PointRebaseCommitted     = "rebase.committed"
	PointLoadBegin           = "load.begin"
	PointLoadCheck           = "load.check" // the rows are read, the epoch is not yet
)

// Store is an open database. All methods are safe for concurrent use; their
// contexts bound waiting for a connection, for locks and for the statements.
type Store struct {
	d       *dialect
	writer  *sql.DB // of SQLite: one connection, so that writers queue here and not at the file's lock
	reader  *sql.DB // the same as writer on PostgreSQL
	timeout time.Duration
	hook    func(ctx context.Context, point string) error
}

// Open connects to the database and brings its schema to the newest version;
// any number of processes may do so at once. It refuses, with a sentence that
// says what to mend: a DSN that it cannot read, a database that a newer maru has
// written, a PostgreSQL that is read-only (a standby) or not in UTF-8.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	target, err := parseDSN(c.DSN)
	if err != nil {
		return nil, err
	}
	var s *Store
	if target.postgres != nil {
		s, err = openPostgres(ctx, target.postgres, c)
	} else {
		s, err = openSQLite(ctx, target.file, c)
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	s.hook = c.Hook
	return s, nil
}

// Dialect returns "sqlite" or "postgres", for people and metrics.
func (s *Store) Dialect() string { return s.d.name }

// Ping tells whether the database answers a statement.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, func(ctx context.Context, c *session) error {
		var one int64
		return c.row(ctx, selectOne).Scan(&one)
	})
}

const selectOne = `SELECT 1`

// Close waits for the operations under way and closes all connections.
func (s *Store) Close() error {
	err := s.writer.Close()
	if s.reader != s.writer {
		// Readers first would be as well: SQLite removes its -wal file when the last
		// connection of the last process closes, whichever that is.
		err = errors.Join(err, s.reader.Close())
	}
	return err
}

// at calls the hook of tests.
func (s *Store) at(ctx context.Context, point string) error {
	if s.hook == nil {
		return nil
	}
	return s.hook(ctx, point)
}
