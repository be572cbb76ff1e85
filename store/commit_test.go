package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What an error in answer to COMMIT proves. Wrong in one direction a home repeats
// a transaction that was committed; in the other it drops a slot for nothing.
func TestDefinite(t *testing.T) {
	pg := func(severity, code string) error { return &pgconn.PgError{SeverityUnlocalized: severity, Code: code} }
	for _, c := range []struct {
		err  error
		want bool
	}{
		{pg("ERROR", "40001"), true},                           // serialization failure
		{pg("ERROR", "40P01"), true},                           // deadlock
		{pg("ERROR", "23505"), true},                           // deferred constraint
		{pg("ERROR", "57014"), true},                           // statement time-out, before the point of no return
		{pg("ERROR", "53100"), true},                           // disk full
		{fmt.Errorf("commit: %w", pg("ERROR", "40001")), true}, // wrapped
		{&pgconn.PgError{Severity: "ERROR", Code: "40001"}, true},
		{pg("ERROR", "40003"), false},                            // statement completion unknown
		{pg("ERROR", "08006"), false},                            // a pooler lost its server
		{pg("ERROR", "08007"), false},                            // transaction resolution unknown
		{pg("ERROR", "08P01"), false},                            // old PgBouncer: server conn crashed
		{pg("FATAL", "57P01"), false},                            // shutdown, perhaps after a local commit
		{pg("PANIC", "XX000"), false},                            //
		{&pgconn.PgError{Severity: "치명적", Code: "57P01"}, false}, // a server that speaks another language, before 9.6
		{io.ErrUnexpectedEOF, false},
		{context.Canceled, false},
		{context.DeadlineExceeded, false},
		{errors.New("anything else"), false},
		{safeToRetry{}, false}, // what pgx says of an answer that never came
	} {
		if got := definite(c.err); got != c.want {
			t.Errorf("definite(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

type safeToRetry struct{ error }

func (safeToRetry) SafeToRetry() bool { return true }
func (safeToRetry) Error() string     { return "conn closed" }

func TestRefusedByPostgres(t *testing.T) {
	for code, want := range map[string]bool{
		"22021": true, "22003": true, "23505": true, "54000": true,
		"40001": false, "42501": false, "53100": false, "57014": false, "08006": false, "": false,
	} {
		if got := refusedByPostgres(fmt.Errorf("users: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
}

func TestText(t *testing.T) {
	sqlite, postgres := newSQLite(), newPostgres()
	const query = `INSERT INTO t (a, b) VALUES :rows ON CONFLICT DO NOTHING`
	for _, c := range []struct {
		d    *dialect
		n    int
		want string
	}{
		{sqlite, 1, `INSERT INTO t (a, b) VALUES (?,?) ON CONFLICT DO NOTHING`},
		{sqlite, 2, `INSERT INTO t (a, b) VALUES (?,?),(?,?) ON CONFLICT DO NOTHING`},
		{postgres, 2, `INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) ON CONFLICT DO NOTHING`},
	} {
		for range 2 { // rendered, then remembered
			if got := c.d.text(query, c.n, 2); got != c.want {
				t.Errorf("%s: %s, want %s", c.d.name, got, c.want)
			}
		}
	}
	if got, want := postgres.text(`SELECT a FROM t WHERE a IN (:list) AND b = ?`, 3, 0), `SELECT a FROM t WHERE a IN ($1,$2,$3) AND b = $4`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestChunk(t *testing.T) {
	d := &dialect{maxRows: 64}
	for n, want := range map[int]int{1: 1, 2: 2, 3: 2, 7: 4, 63: 32, 64: 64, 65: 64, 1000: 64} {
		if got := d.chunk(n); got != want {
			t.Errorf("chunk(%d) = %d, want %d", n, got, want)
		}
	}
}
