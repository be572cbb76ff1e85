package pgtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"maru/internal/childproc"
	"maru/internal/pgtest"
)

// helperEnv makes this test binary play the one that is killed while its server runs.
const helperEnv = "MARU_PGTEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		runHelper()
	}
	code := m.Run()
	if err := pgtest.StopShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func show(t *testing.T, conn *pgx.Conn, setting string) (value string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SHOW "+setting).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestDatabasesAreSeparate(t *testing.T) {
	first, second := pgtest.Database(t), pgtest.Database(t)
	if first == second {
		t.Fatalf("one database twice: %s", first)
	}
	exec(t, connect(t, first), "CREATE TABLE only_here (n int)")
	_, err := connect(t, second).Exec(t.Context(), "SELECT * FROM only_here")
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "42P01" {
		t.Errorf("the table of one database is seen in the other: %v", err)
	}
}

func TestDatabaseIsDroppedWithOpenConnections(t *testing.T) {
	var dsn string
	t.Run("inner", func(t *testing.T) {
		dsn = pgtest.Database(t)
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, conn, "CREATE TABLE left_open (n int)") // and never closed
	})
	pgtest.Require(t)
	_, err := pgx.Connect(t.Context(), dsn)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "3D000" {
		t.Errorf("after its test: %v, want that the database does not exist", err)
	}
}

func TestDefaults(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "server_encoding": "UTF8",
		"password_encryption": "scram-sha-256", "is_superuser": "off", "listen_addresses": "127.0.0.1",
	} {
		if got := show(t, conn, setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	var collate string
	if err := conn.QueryRow(t.Context(), "SELECT datcollate FROM pg_database WHERE datname = current_database()").Scan(&collate); err != nil {
		t.Fatal(err)
	}
	if collate != "C.UTF-8" {
		t.Errorf("text sorts by %q, want C.UTF-8", collate)
	}
}

func TestPasswordIsAsked(t *testing.T) {
	dsn := pgtest.Database(t)
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.Password = "guess"
	_, err = pgx.ConnectConfig(t.Context(), config)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("a wrong password: %v, want a refusal", err)
	}
}

func TestNoSync(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{NoSync: true, Settings: map[string]string{"max_connections": "17"}})
	conn := connect(t, s.Database(t))
	for setting, want := range map[string]string{"fsync": "off", "synchronous_commit": "off", "max_connections": "17"} {
		if got := show(t, conn, setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
}

func TestCommittedRowsSurvive(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	dsn := s.Database(t)
	exec(t, connect(t, dsn), "CREATE TABLE rows (n int)")
	faults := []struct {
		name string
		hit  func() error
	}{
		{"kill and start", func() error { return errors.Join(s.Kill(), s.Start(t.Context())) }},
		{"immediate restart", func() error { return s.RestartImmediate(t.Context()) }},
		{"stop and start", func() error { return errors.Join(s.Stop(), s.Start(t.Context())) }},
	}
	for i, fault := range faults {
		before := connect(t, dsn)
		exec(t, before, fmt.Sprintf("INSERT INTO rows VALUES (%d)", i))
		if err := fault.hit(); err != nil {
			t.Fatalf("%s: %v", fault.name, err)
		}
		if err := before.Ping(t.Context()); err == nil {
			t.Errorf("%s: the connection from before it still works", fault.name)
		}
		var rows int
		if err := connect(t, dsn).QueryRow(t.Context(), "SELECT count(*) FROM rows").Scan(&rows); err != nil {
			t.Fatalf("%s: %v", fault.name, err)
		}
		if rows != i+1 {
			t.Errorf("%s: %d rows, want %d", fault.name, rows, i+1)
		}
	}
}

func TestPauseHoldsConnections(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	conn := connect(t, s.Database(t))
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- conn.Ping(t.Context()) }()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("after the pause: %v", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	pgtest.Require(t)
	for name, end := range map[string]func(*pgtest.Server) error{
		"running": func(*pgtest.Server) error { return nil },
		"killed":  (*pgtest.Server).Kill,
		"paused":  (*pgtest.Server).Pause,
	} {
		s, err := pgtest.Launch(t.Context(), pgtest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		postmaster, segment := postmasterFile(t, s.DataDir())
		if !hasSegment(t, segment) {
			t.Errorf("%s: shared memory %q is not there while the server runs", name, segment)
		}
		if err := errors.Join(end(s), s.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkGone(t, name, postmaster, segment, s.DataDir())
	}
}

func TestKilledTestLeavesNothing(t *testing.T) {
	pgtest.Require(t)
	helper := osexec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperEnv+"=1")
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("helper said %q: %v", dir, err)
	}
	dir = strings.TrimSpace(dir)
	postmaster, segment := postmasterFile(t, dir)
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	helper.Wait()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_, err := os.Stat(filepath.Dir(dir))
		if errors.Is(err, fs.ErrNotExist) && !childproc.Running(postmaster) {
			break
		}
	}
	checkGone(t, "killed test", postmaster, segment, dir)
}

// runHelper starts a server, prints the folder of its data and waits to be killed.
func runHelper() {
	s, err := pgtest.Launch(context.Background(), pgtest.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.DataDir())
	select {}
}

// postmasterFile reads the server's process id and the id of its shared memory.
func postmasterFile(t *testing.T, dataDir string) (pid int, segment string) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(file), "\n")
	if pid, err = strconv.Atoi(lines[0]); err != nil {
		t.Fatal(err)
	}
	return pid, strings.Fields(lines[6])[1]
}

// hasSegment tells whether the System V segment exists (proc(5), /proc/sysvipc/shm).
func hasSegment(t *testing.T, id string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == id {
			return true
		}
	}
	return false
}

func checkGone(t *testing.T, name string, postmaster int, segment, dataDir string) {
	t.Helper()
	if childproc.Running(postmaster) {
		t.Errorf("%s: postmaster %d is still there", name, postmaster)
	}
	if hasSegment(t, segment) {
		t.Errorf("%s: shared memory %s is still there", name, segment)
	}
	if _, err := os.Stat(filepath.Dir(dataDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: the folder is still there (%v)", name, err)
	}
}

func TestLifeOutOfOrderIsRefused(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	if err := s.Start(t.Context()); err == nil {
		t.Error("a running server was started again")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{"pause": s.Pause, "resume": s.Resume} {
		if call() == nil {
			t.Errorf("%s of a stopped server: no error", name)
		}
	}
	if err := errors.Join(s.Stop(), s.Kill()); err != nil {
		t.Errorf("ending a stopped server again: %v", err)
	}
}
