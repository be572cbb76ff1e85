package store_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/store"
	"maru/store/storetest"
)

func TestSQLite(t *testing.T) { storetest.Run(t, freshSQLite) }

// freshSQLite returns a path that a careless DSN builder would misread.
func freshSQLite(t *testing.T) string { return filepath.Join(t.TempDir(), "ma ru?%23#&.db") }

func open(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// raw opens the file beside the store.
func rawSQLite(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestSQLiteOpenedAtOnce(t *testing.T) { openAtOnce(t, freshSQLite(t)) }

func TestSQLiteFileIsPrivateAndWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "maru.db")
	s := open(t, store.Config{DSN: path})
	if _, err := s.Claim(t.Context(), maru.ClaimRequest{Owner: "x"}); err != nil {
		t.Fatal(err)
	}
	if s.Dialect() != "sqlite" {
		t.Error(s.Dialect())
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{path, path + "-shm", path + "-wal", path + ".lock"}; !reflect.DeepEqual(files, want) {
		t.Errorf("files are %v, want %v", files, want)
	}
	for _, f := range files {
		if fi, err := os.Stat(f); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600: it holds password hashes", f, fi.Mode(), err)
		}
	}
}

// In a bubble time is virtual and a goroutine that waits for anything but the
// bubble's own goroutines stops it for ever.
func TestSQLiteInBubble(t *testing.T) {
	path := freshSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		pause := func(_ context.Context, point string) error {
			if point == store.PointCheckpointCommit {
				time.Sleep(2 * time.Second)
			}
			return nil
		}
		one, two := open(t, store.Config{DSN: path, Hook: pause}), open(t, store.Config{DSN: path})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := one.Claim(ctx, maru.ClaimRequest{Owner: "one"})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var all sync.WaitGroup
		for i := range int64(3) {
			// The same store: they queue for its one writer.
			all.Go(func() {
				err := one.Checkpoint(ctx, &maru.Checkpoint{Epoch: c.Epoch, Next: 1, Users: []maru.UserRow{storetest.User("alice")}})
				if err != nil {
					t.Errorf("checkpoint %d: %v", i, err)
				}
			})
			// They need not wait.
			all.Go(func() {
				if _, err := two.LoadUsers(ctx, 0, c.Epoch, []string{"alice"}); err != nil {
					t.Errorf("load: %v", err)
				}
			})
		}
		all.Wait()
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("three checkpoints of 2 s took %v", took)
		}
		// Another store, as another process: it waits for the file's lock.
		all.Go(func() {
			if err := one.Checkpoint(ctx, &maru.Checkpoint{Epoch: c.Epoch, Next: 2}); err != nil {
				t.Errorf("checkpoint: %v", err)
			}
		})
		synctest.Wait()
		next, err := two.Claim(ctx, maru.ClaimRequest{Owner: "two"})
		if err != nil || next.Next != 2 || next.Epoch != c.Epoch+1 {
			t.Errorf("claim is %+v, %v; want what the checkpoint wrote", next, err)
		}
		all.Wait()
	})
}

// A writer that never ends costs others the busy time-out, not for ever, and
// their contexts cut even that short. Both are definite.
func TestSQLiteBusy(t *testing.T) {
	path := freshSQLite(t)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		one := open(t, store.Config{DSN: path, Hook: func(_ context.Context, point string) error {
			if point == store.PointClaimCommit {
				<-release
			}
			return nil
		}})
		two := open(t, store.Config{DSN: path})
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := one.Claim(t.Context(), maru.ClaimRequest{Owner: "one"}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for _, limit := range []time.Duration{time.Second, time.Hour} {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			_, err := two.Claim(ctx, maru.ClaimRequest{Owner: "two"})
			cancel()
			took := time.Since(start)
			if err == nil || errors.Is(err, maru.ErrOutcomeUnknown) || took > min(limit, 6*time.Second) {
				t.Errorf("with %v it took %v and gave %v", limit, took, err)
			}
		}
		close(release)
		all.Wait()
		if c, err := two.Claim(t.Context(), maru.ClaimRequest{Owner: "two"}); err != nil || c.Epoch != 2 {
			t.Errorf("after it the claim is %+v, %v", c, err)
		}
	})
}

func TestSQLiteUpgradesFirstSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.db")
	dump, err := os.ReadFile("testdata/v1.sqlite.sql")
	if err != nil {
		t.Fatal(err)
	}
	db := rawSQLite(t, path)
	if _, err := db.Exec(string(dump)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	holdsFrozenRows(t, open(t, store.Config{DSN: path}))

	fresh := filepath.Join(t.TempDir(), "new.db")
	open(t, store.Config{DSN: fresh})
	if a, b := schemaOfSQLite(t, path), schemaOfSQLite(t, fresh); a != b {
		t.Errorf("upgraded schema:\n%s\nfresh schema:\n%s", a, b)
	}
}

func schemaOfSQLite(t *testing.T, path string) string {
	t.Helper()
	rows, err := rawSQLite(t, path).Query(`SELECT name || ': ' || coalesce(sql, '') FROM sqlite_master ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// holdsFrozenRows checks the rows of testdata/v1.*.sql, which were written by the first schema.
func holdsFrozenRows(t *testing.T, s *store.Store) {
	t.Helper()
	alice := maru.UserRow{
		UserID: "alice", Hash: maru.KeyHash("alice"), Registered: true, UserName: "앨리스 'A'", UserStatus: `back\slash`, Email: "alice@example.org",
		Admin: true, Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", CredentialVersion: 2, JoinedAt: 101, LoginAt: 102, LogoutAt: 103,
		AddedBy: 4, Rev: 5, Clock: 106, ExpiresAt: 0, State: []byte(`{"v":1}`),
		Friends: []maru.FriendRow{{UserID: "alice", FriendID: "bob", Alias: "밥", AddedAt: 107}},
	}
	ghost := maru.UserRow{UserID: "ghost", Hash: maru.KeyHash("ghost"), ExpiresAt: 900, Clock: 8}
	users, err := s.Users(t.Context(), "", 10)
	if want := []maru.UserRow{alice, ghost}; err != nil || !reflect.DeepEqual(users, want) {
		t.Errorf("users are %+v (%v)\nwant %+v", users, err, want)
	}
	slots, err := s.Slots(t.Context())
	if want := []maru.SlotRow{{Slot: 3, Epoch: 9, Generation: 7, Owner: "home-1", ClaimedAt: 1700, Next: 12345, LoginNext: -1, RulesVersion: 1}}; err != nil || !reflect.DeepEqual(slots, want) {
		t.Errorf("slots are %+v (%v), want %+v", slots, err, want)
	}
	if v, _, err := s.Meta(t.Context(), "partitions"); v != "16" || err != nil {
		t.Errorf("partitions are %q, %v", v, err)
	}
	if h, err := s.LiveHomes(t.Context(), 0); err != nil || !reflect.DeepEqual(h, []store.HomeRow{{Name: "home-1", RulesMax: 1, SeenAt: 1800}}) {
		t.Errorf("homes are %v, %v", h, err)
	}
}

func TestSQLiteRefusesNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "maru.db")
	open(t, store.Config{DSN: path})
	if _, err := rawSQLite(t, path).Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Config{DSN: path})
	if err == nil || !strings.Contains(err.Error(), "schema version 9999") || !strings.Contains(err.Error(), "newer") {
		t.Errorf("error is %v", err)
	}
}

func TestSQLiteRefusesForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	text := strings.Repeat("these are my notes\n", 1000)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), store.Config{DSN: path}); err == nil {
		t.Error("it was opened")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Error("it was changed")
	}
}
