package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"maru"
)

// The errors of COMMIT on SQLite: a verdict found before anything is written is
// definite, what cannot be explained is not.
func TestCommitSQLite(t *testing.T) {
	db, err := sql.Open("sqlite", sqliteDSN(filepath.Join(t.TempDir(), "maru.db"), false)+"&_pragma=foreign_keys(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exec := func(query string) {
		t.Helper()
		if _, err := c.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)`)
	exec(`BEGIN IMMEDIATE`)
	exec(`INSERT INTO b VALUES (1)`)
	if err := commitSQLite(t.Context(), c); err == nil || errors.Is(err, maru.ErrOutcomeUnknown) {
		t.Errorf("a constraint: %v, want a definite error", err)
	}
	exec(`ROLLBACK`)
	if err := commitSQLite(t.Context(), c); !errors.Is(err, maru.ErrOutcomeUnknown) {
		t.Errorf("no transaction: %v, want an unknown outcome", err)
	}
	exec(`BEGIN IMMEDIATE`)
	exec(`INSERT INTO a VALUES (1)`)
	if err := commitSQLite(t.Context(), c); err != nil {
		t.Error(err)
	}
}
