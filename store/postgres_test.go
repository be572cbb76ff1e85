package store_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"maru"
	"maru/internal/pgtest"
	"maru/store"
	"maru/store/storetest"
)

func freshPostgres(t *testing.T) string { return pgtest.Database(t) }

func TestPostgres(t *testing.T) { storetest.Run(t, freshPostgres) }

func BenchmarkPostgres(b *testing.B) { benchmark(b, pgtest.Database(b)) }

func TestPostgresOpenedAtOnce(t *testing.T) { openAtOnce(t, freshPostgres(t)) }

// with returns dsn with parameters added.
func with(t *testing.T, dsn string, params ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func rawPostgres(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestPostgresUpgradesFirstSchema(t *testing.T) {
	dsn := freshPostgres(t)
	dump, err := os.ReadFile("testdata/v1.postgres.sql")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rawPostgres(t, dsn).Exec(string(dump)); err != nil {
		t.Fatal(err)
	}
	holdsFrozenRows(t, open(t, store.Config{DSN: dsn}))

	fresh := freshPostgres(t)
	open(t, store.Config{DSN: fresh})
	if a, b := schemaOfPostgres(t, dsn), schemaOfPostgres(t, fresh); a != b {
		t.Errorf("upgraded schema:\n%s\nfresh schema:\n%s", a, b)
	}
}

func schemaOfPostgres(t *testing.T, dsn string) string {
	t.Helper()
	var schema string
	err := rawPostgres(t, dsn).QueryRow(`
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
  SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable, column_default) AS line
    FROM information_schema.columns WHERE table_schema = 'public'
  UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
  UNION ALL SELECT concat_ws(' ', relname, reloptions::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
) AS lines`).Scan(&schema)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(schema, "users user_id text C NO") {
		t.Fatalf("this does not describe the schema:\n%s", schema)
	}
	return schema
}

func TestPostgresRefusesNewerSchema(t *testing.T) {
	dsn := freshPostgres(t)
	open(t, store.Config{DSN: dsn})
	if _, err := rawPostgres(t, dsn).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Config{DSN: dsn})
	if err == nil || !strings.Contains(err.Error(), "schema version 9999") {
		t.Errorf("error is %v", err)
	}
}

func TestPostgresRefusesStandby(t *testing.T) {
	dsn := with(t, freshPostgres(t), "default_transaction_read_only", "on")
	_, err := store.Open(t.Context(), store.Config{DSN: dsn})
	if err == nil || !strings.Contains(err.Error(), "address of the primary") {
		t.Errorf("error is %v", err)
	}
}

func TestPostgresRefusesOtherEncoding(t *testing.T) {
	pgtest.Require(t)
	server := pgtest.Start(t, pgtest.Options{NoSync: true}) // to make such a database takes its superuser
	_, err := rawPostgres(t, server.AdminDSN("postgres")).Exec(`CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(t.Context(), store.Config{DSN: server.AdminDSN("latin")})
	if err == nil || !strings.Contains(err.Error(), "ENCODING 'UTF8'") {
		t.Errorf("error is %v", err)
	}
}

func TestPostgresWrongPasswordIsNotShown(t *testing.T) {
	for _, dsn := range []string{"postgres://maru:s3cret@127.0.0.1:1/maru", "postgres://127.0.0.1:1/maru?user=maru&password=s3cret"} {
		_, err := store.Open(t.Context(), store.Config{DSN: dsn})
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("error is %v, want one with the address and without the password", err)
		}
	}
}

// A home that stops inside a transaction holds its slot no longer than the server's
// limit; it has written nothing, and finds itself fenced.
func TestPostgresEndsIdleTransaction(t *testing.T) {
	dsn := freshPostgres(t)
	other := open(t, store.Config{DSN: dsn})
	c, err := other.Claim(t.Context(), maru.ClaimRequest{Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, store.Config{DSN: with(t, dsn, "idle_in_transaction_session_timeout", "200ms"), Hook: func(ctx context.Context, point string) error {
		if point != store.PointCheckpointCommit {
			return nil
		}
		_, err := other.Claim(ctx, maru.ClaimRequest{Owner: "two"}) // waits for the row
		return err
	}})
	cp := &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{storetest.User("alice")}}
	if err := s.Checkpoint(t.Context(), cp); err == nil {
		t.Error("the checkpoint was written after the claim")
	}
	if err := s.Checkpoint(t.Context(), cp); !errors.Is(err, maru.ErrFenced) {
		t.Errorf("again: %v, want fenced", err)
	}
	if users, err := other.Users(t.Context(), "", 1); err != nil || len(users) != 0 {
		t.Errorf("it wrote %v (%v)", users, err)
	}
}

// Config.Timeout holds also for a caller without a deadline, waiting for a connection
// of a pool that is used up.
func TestPostgresBoundsEverything(t *testing.T) {
	held, release := make(chan struct{}), make(chan struct{})
	s := open(t, store.Config{DSN: freshPostgres(t), MaxConns: 1, Timeout: 500 * time.Millisecond, Hook: func(ctx context.Context, point string) error {
		if point == store.PointClaimCommit {
			close(held)
			<-release
		}
		return nil
	}})
	var all sync.WaitGroup
	all.Go(func() {
		_, err := s.Claim(context.Background(), maru.ClaimRequest{Owner: "one"})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, maru.ErrOutcomeUnknown) {
			t.Errorf("the claim that was held: %v, want a definite time-out", err)
		}
	})
	<-held
	if err := s.Ping(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping: %v, want a time-out", err)
	}
	close(release)
	all.Wait()
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// An ERROR in answer to COMMIT itself is definite: here a constraint that is
// checked only then.
func TestPostgresCommitRefused(t *testing.T) {
	dsn := freshPostgres(t)
	s := open(t, store.Config{DSN: dsn})
	_, err := rawPostgres(t, dsn).Exec(`
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not at this time' USING ERRCODE = '40001'; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Claim(t.Context(), maru.ClaimRequest{Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	cp := &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{storetest.User("alice")}}
	err = s.Checkpoint(t.Context(), cp)
	if err == nil || errors.Is(err, maru.ErrOutcomeUnknown) || errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "not at this time") {
		t.Errorf("error is %v, want the server's, definite", err)
	}
	cp.Users = nil
	if err := s.Checkpoint(t.Context(), cp); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
