package store

import (
	"context"
	"net/url"
	"testing"

	"maru/internal/pgtest"
)

// What protects others from a home that hangs is set on every connection, unless
// the DSN says otherwise; that claims survive a crash of the server is not negotiable.
func TestPostgresSettings(t *testing.T) {
	dsn := pgtest.Database(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("statement_timeout", "7s")
	q.Set("application_name", "mine")
	q.Set("synchronous_commit", "off")
	u.RawQuery = q.Encode()
	for dsn, want := range map[string]map[string]string{
		dsn:        {"application_name": "maru", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "5s", "synchronous_commit": "on"},
		u.String(): {"application_name": "mine", "statement_timeout": "7s", "idle_in_transaction_session_timeout": "5s", "synchronous_commit": "on"},
	} {
		s, err := Open(t.Context(), Config{DSN: dsn, MaxConns: 3})
		if err != nil {
			t.Fatal(err)
		}
		err = s.read(t.Context(), func(ctx context.Context, c *session) error {
			for name, value := range want {
				var got string
				if err := c.row(ctx, `SELECT current_setting(?)`, name).Scan(&got); err != nil {
					return err
				}
				if got != value {
					t.Errorf("%s is %s, want %s", name, got, value)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if got := s.writer.Stats().MaxOpenConnections; got != 3 {
			t.Errorf("the pool is bound to %d connections, want 3", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// SQLite's connections: the log is the truth, so a commit need not wait for the
// disk; facts are not in the log, so they do.
func TestSQLiteSettings(t *testing.T) {
	s, err := Open(t.Context(), Config{DSN: t.TempDir() + "/maru.db"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const normal, full = 1, 2
	pragma := func(ctx context.Context, c *session, query string, want any) {
		t.Helper()
		var got any
		if err := c.row(ctx, query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %v (%v), want %v", query, got, err, want)
		}
	}
	check := func(synchronous int64) func(ctx context.Context, c *session) error {
		return func(ctx context.Context, c *session) error {
			pragma(ctx, c, `PRAGMA synchronous`, synchronous)
			pragma(ctx, c, `PRAGMA journal_mode`, "wal")
			pragma(ctx, c, `PRAGMA busy_timeout`, int64(5000))
			return nil
		}
	}
	for _, err := range []error{
		s.write(t.Context(), unhooked, check(normal)),
		s.writeDurably(t.Context(), check(full)),
		s.write(t.Context(), unhooked, check(normal)), // it was undone
		s.read(t.Context(), func(ctx context.Context, c *session) error {
			pragma(ctx, c, `PRAGMA query_only`, int64(1))
			return check(normal)(ctx, c)
		}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}
