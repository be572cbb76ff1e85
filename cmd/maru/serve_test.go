package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"maru"
	"maru/home"
	"maru/internal/childproc"
	"maru/node"
)

func TestServe(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s := serve(t, data)
	t.Logf("ready after %v", s.starts)
	if s.starts > 10*time.Second {
		t.Errorf("ready after %v: 2 s on a quiet machine", s.starts)
	}
	welcome := s.out.Tail(20)
	for _, want := range []string{"maru is open at   " + s.url, "Kafka's tools at  127.0.0.1:", data} {
		if !strings.Contains(welcome, want) {
			t.Errorf("the welcome lacks %q:\n%s", want, welcome)
		}
	}
	if o := (call{args: []string{"health", "--url", s.url + "/readyz"}}).do(t); o.status != statusDone {
		t.Errorf("health: status %d\n%s", o.status, o.stderr)
	}
	if o := (call{args: []string{"health", "--url", s.url + "/nothing"}}).do(t); o.status != statusFailed || !strings.Contains(o.stderr, "404") {
		t.Errorf("health of a path that is not there: status %d\n%s", o.status, o.stderr)
	}
	info, err := os.Stat(filepath.Join(data, node.SocketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.sock: %v (%v), want mode 0600", info.Mode(), err)
	}
	s.terminate(t)
	if _, err := os.Stat(filepath.Join(data, node.SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("admin.sock is still there: %v", err)
	}
	if o := (call{args: []string{"health", "--url", s.url + "/readyz"}}).do(t); o.status != statusFailed || !strings.Contains(o.stderr, "no answer") {
		t.Errorf("health of a stopped server: status %d\n%s", o.status, o.stderr)
	}
}

// admin runs commands of an administrator on the data directory of a server.
type admin struct{ *server }

func (a admin) command(stdin string, args ...string) call {
	return call{stdin: stdin, args: args, env: []string{"MARU_DATA=" + a.data}}
}

// must runs a command that succeeds and returns what it writes.
func (a admin) must(t *testing.T, args ...string) string {
	t.Helper()
	return a.command("", args...).must(t)
}

// refused runs a command that fails with a sentence.
func (a admin) refused(t *testing.T, says, stdin string, args ...string) {
	t.Helper()
	if o := a.command(stdin, args...).do(t); o.status != statusFailed || !strings.Contains(o.stderr, says) {
		t.Errorf("maru %s: status %d, want %d and %q\n%s%s", strings.Join(args, " "), o.status, statusFailed, says, o.stdout, o.stderr)
	}
}

func (a admin) login(t *testing.T, id, password string) int {
	t.Helper()
	return a.post(t, "/api/login", `{"userId":"`+id+`","userPw":"`+password+`"}`)
}

func TestAdministration(t *testing.T) {
	a := admin{serve(t, t.TempDir(), "--partitions", "2")}
	t.Run("users", a.testUsers)
	t.Run("where", a.testWhere)
	t.Run("tables", a.testTables)

	a.refused(t, "is in use by another maru", "", "repair")
	a.terminate(t)
	a.refused(t, "no maru runs on "+a.data, "", "where", "a")
	a.refused(t, "there is no data of maru", "", "repair", "--data", filepath.Join(a.data, "typo"))
	if got := a.must(t, "repair", "--dry-run"); !strings.Contains(got, "nothing to repair") {
		t.Errorf("repair: %s", got)
	}
	if got := a.must(t, "repair", "--json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("repair --json: %s", got)
	}
}

func (a admin) testUsers(t *testing.T) {
	a.refused(t, "password", "1234\n", "user", "add", "a")
	add := a.command("1234\n", "user", "add", "A", "--allow-weak", "--name", "user_A", "--status", "hi", "--email", "a@naver.com")
	if got := add.must(t); got != "user a added\n" {
		t.Errorf("user add says %q", got)
	}
	a.refused(t, "this user id is taken", "correct horse 1\n", "user", "add", "a")
	if got := a.login(t, "a", "1234"); got != http.StatusOK {
		t.Errorf("login of the added user: status %d", got)
	}

	a.command("correct horse 2\r\nrest", "user", "passwd", "a").must(t)
	if old, now := a.login(t, "a", "1234"), a.login(t, "a", "correct horse 2"); old != http.StatusUnauthorized || now != http.StatusOK {
		t.Errorf("after passwd the old password has status %d, the new one %d", old, now)
	}
	a.refused(t, "nobody has this user id", "correct horse 3\n", "user", "passwd", "nobody")
	if got := a.must(t, "user", "admin", "a", "on"); got != "user a is an administrator now\n" {
		t.Errorf("user admin on says %q", got)
	}
	if got := a.must(t, "user", "admin", "a", "off"); got != "user a is no administrator now\n" {
		t.Errorf("user admin off says %q", got)
	}
	a.refused(t, "nobody has this user id", "", "user", "admin", "nobody", "on")
}

func (a admin) testWhere(t *testing.T) {
	var at node.Whereabouts
	fromJSON(t, a.must(t, "where", "a", "--json"), &at)
	if at.UserID != "a" || at.Partition != maru.SlotOf("a", 2) || at.Home == "" || at.Epoch < 1 || at.Since.IsZero() || !at.Resident || !at.Answered {
		t.Errorf("where a: %+v", at)
	}
	if got := a.must(t, "where", "a"); !strings.Contains(got, "partition  0\n") || !strings.Contains(got, "resident   yes\n") {
		t.Errorf("where a:\n%s", got)
	}
	fromJSON(t, a.must(t, "where", "stranger", "--json"), &at)
	if at.Resident {
		t.Errorf("where stranger: %+v", at)
	}
}

func (a admin) testTables(t *testing.T) {
	var table node.TopicTable
	fromJSON(t, a.must(t, "topics", "--json"), &table)
	if len(table.Topics) != 4 || len(table.Slots) != 2 || table.Slots[0].Owner == "" || table.Slots[0].End < 1 {
		t.Fatalf("topics: %+v", table)
	}
	shown := a.must(t, "topics")
	for _, want := range []string{"TOPIC", "login-request", "login-response", "commands", "delivery", "SLOT", table.Slots[0].Owner} {
		if !strings.Contains(shown, want) {
			t.Errorf("topics lacks %s:\n%s", want, shown)
		}
	}

	var held []home.Residents
	fromJSON(t, a.must(t, "residents", "--json"), &held)
	if len(held) != 2 || !slices.Contains(held[0].Users, "a") || !held[0].Live {
		t.Errorf("residents: %+v", held)
	}
	if got := a.must(t, "residents"); !strings.Contains(got, "WHO") || !strings.Contains(got, " a\n") {
		t.Errorf("residents:\n%s", got)
	}
}

// A log that is shorter than its checkpoint is refused, and mended by repair.
func TestRepair(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "--partitions", "1")
	call{stdin: "correct horse 1\n", args: []string{"user", "add", "a", "--data", data}}.must(t)
	s.terminate(t)
	if err := os.RemoveAll(filepath.Join(data, "log")); err != nil { // a disk that lost it
		t.Fatal(err)
	}
	o := call{args: []string{"--data", data, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"}}.do(t)
	if o.status != statusFailed || !strings.Contains(o.stderr, "maru repair") {
		t.Errorf("a start without the log: status %d, want %d and a word of maru repair\n%s", o.status, statusFailed, o.stderr)
	}
	if _, err := os.Stat(filepath.Join(data, "log")); err != nil {
		t.Fatal(err)
	}
	var mended []node.Mended
	fromJSON(t, call{args: []string{"repair", "--data", data, "--dry-run", "--json"}}.must(t), &mended)
	if len(mended) != 1 || mended[0].Next != 0 || mended[0].Checkpoint < 1 {
		t.Fatalf("repair --dry-run: %+v", mended)
	}
	if got := (call{args: []string{"repair", "--data", data}}).must(t); !strings.Contains(got, "CHECKPOINT WAS") {
		t.Errorf("repair:\n%s", got)
	}
	s = serve(t, data)
	if got := s.post(t, "/api/login", `{"userId":"a","userPw":"correct horse 1"}`); got != http.StatusOK {
		t.Errorf("login after the repair: status %d", got)
	}
	s.terminate(t)
}

func TestSecondServerOnTheSameDataIsRefused(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data)
	o := call{args: []string{"--data", data, "--listen", "127.0.0.1:0", "--kafka-listen", ""}}.do(t)
	if o.status != statusFailed || !strings.Contains(o.stderr, "is in use by another maru: stop that one, or name another directory with --data") {
		t.Errorf("status %d\n%s", o.status, o.stderr)
	}
	s.terminate(t) // untouched by the attempt
}

func TestTakenAddressIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for flag, other := range map[string]string{"--listen": "--kafka-listen", "--kafka-listen": "--listen"} {
		o := call{args: []string{"--data", t.TempDir(), flag, ln.Addr().String(), other, "127.0.0.1:0"}}.do(t)
		if o.status != statusFailed || !strings.Contains(o.stderr, flag) || !strings.Contains(o.stderr, ln.Addr().String()) || strings.Contains(o.stderr, "goroutine") {
			t.Errorf("%s: status %d, want %d and a sentence with both\n%s", flag, o.status, statusFailed, o.stderr)
		}
	}
}

func TestUnreachableClusterIsRefused(t *testing.T) {
	ports, err := childproc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	nowhere := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	o := call{args: []string{"--data", t.TempDir(), "--kafka", nowhere, "--listen", "127.0.0.1:0"}}.do(t)
	if o.status != statusFailed || !strings.Contains(o.stderr, nowhere) || !strings.Contains(o.stderr, "refused") {
		t.Errorf("no broker: status %d\n%s", o.status, o.stderr)
	}
	dsn := "postgres://maru:hidden-word@" + nowhere + "/maru"
	o = call{args: []string{"--data", t.TempDir(), "--database", dsn, "--kafka-listen", "", "--listen", "127.0.0.1:0"}}.do(t)
	if o.status != statusFailed || !strings.Contains(o.stderr, nowhere) || strings.Contains(o.stderr, "hidden-word") {
		t.Errorf("no database: status %d, want %d, the address and not the password\n%s", o.status, statusFailed, o.stderr)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	call{args: []string{"secret", "init", "--file", file}}.must(t)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out := (call{args: []string{"secret", "init", "--file", file}}).must(t); strings.Contains(out, strings.TrimSpace(string(before))) {
		t.Error("the secret is shown")
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a second init changes the secret (%v)", err)
	}

	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	args := []string{"--data", filepath.Join(dir, "data"), "--secret-file", file, "--listen", "127.0.0.1:0", "--kafka-listen", ""}
	if o := (call{args: args}).do(t); o.status != statusFailed || !strings.Contains(o.stderr, "run: chmod 600 "+file) {
		t.Errorf("a secret that the group may read: status %d\n%s", o.status, o.stderr)
	}
	if o := (call{args: []string{"secret", "init", "--file", file}}).do(t); o.status != statusFailed {
		t.Errorf("init of a secret that the group may read: status %d", o.status)
	}
	if o := (call{args: args, env: []string{"MARU_SECRET=tooshort"}}).do(t); o.status != statusFailed || !strings.Contains(o.stderr, "openssl rand") || strings.Contains(o.stderr, "tooshort") {
		t.Errorf("a weak secret: status %d, want %d and what to do, without the secret\n%s", o.status, statusFailed, o.stderr)
	}
}

// kill -9 loses nothing that was answered.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data)
	if got := s.post(t, "/api/users", `{"userId":"alice","userPw":"correct horse 1"}`); got != http.StatusCreated {
		t.Fatalf("registration: status %d", got)
	}
	s.Stop(0) // SIGKILL
	s = serve(t, data)
	if got := s.post(t, "/api/login", `{"userId":"alice","userPw":"correct horse 1"}`); got != http.StatusOK {
		t.Errorf("login after kill -9: status %d", got)
	}
	s.terminate(t)
}

// An interrupt stops it as cleanly as SIGTERM; a signal before it is ready, too.
func TestInterrupts(t *testing.T) {
	s := serve(t, t.TempDir())
	if err := s.Stop(patience, syscall.SIGINT); err != nil || s.Err() != nil {
		t.Errorf("after SIGINT: %v, %v", err, s.Err())
	}
	log := &childproc.Log{}
	migrated := log.Expect("database migrated")
	cmd := exec.Command(binary(t), "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--kafka-listen", "")
	cmd.Stderr = log
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-migrated:
	case <-time.After(patience):
	}
	if err := p.Stop(patience, syscall.SIGTERM); err != nil || p.Err() != nil {
		t.Errorf("SIGTERM during the start: %v, %v\n%s", err, p.Err(), log.Tail(30))
	}
}

// A second signal does not wait. The request that keeps the stop from ending is
// one whose body never comes.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	s := serve(t, t.TempDir())
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	stopping := s.errs.Expect("msg=stopping")
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopping:
	case <-time.After(patience):
		t.Fatal("it does not stop")
	}
	began := time.Now()
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("a second signal does not end it")
	}
	var exit *exec.ExitError
	if errors.As(s.Err(), &exit); exit == nil || exit.ExitCode() != statusFailed || !strings.Contains(s.errs.Tail(5), "second signal") {
		t.Errorf("after two signals: %v\n%s", s.Err(), s.errs.Tail(5))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a second signal took %v", took)
	}
}

// The line for programs is JSON, with nothing for people between.
func TestLogFormatJSON(t *testing.T) {
	var out bytes.Buffer
	log := &childproc.Log{}
	ready := log.Expect(`"msg":"ready"`)
	cmd := exec.Command(binary(t), "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--kafka-listen", "", "--log-format", "json")
	cmd.Stdout, cmd.Stderr = &out, log
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ready:
	case <-p.Done():
	case <-time.After(patience):
	}
	if err := p.Stop(patience, syscall.SIGTERM); err != nil || p.Err() != nil {
		t.Errorf("%v, %v", err, p.Err())
	}
	if out.Len() > 0 {
		t.Errorf("standard output has\n%s", out.Bytes())
	}
	found := false
	for line := range strings.Lines(log.Tail(1000)) {
		var e struct{ Msg, Address string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q is not JSON", line)
		}
		found = found || e.Msg == "ready" && strings.HasPrefix(e.Address, "http://127.0.0.1:")
	}
	if !found {
		t.Errorf("no line is ready with an address:\n%s", log.Tail(30))
	}
}

func fromJSON(t *testing.T, s string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), v); err != nil {
		t.Fatalf("%q is not the JSON expected: %v", s, err)
	}
}
