package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"maru/internal/childproc"
	"maru/internal/pgtest"
	"maru/internal/realkafka"
)

// The README's blocks marked sh are run as they stand, but for addresses: tests
// take free ports. A block marked text that follows says what they write: its
// lines appear in this order, … stands for anything, alone for lines.

// block is a fenced block of the README.
type block struct {
	section string
	lang    string
	text    string
}

func readmeBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	section, lang, text := "", "", []string(nil)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && lang == "":
			if lang = fence; lang == "" {
				t.Fatalf("a block of section %q says no language", section)
			}
			text = nil
		case isFence:
			blocks = append(blocks, block{section, lang, strings.Join(text, "\n") + "\n"})
			lang = ""
		case lang != "":
			text = append(text, line)
		case strings.HasPrefix(line, "## "):
			section = line[3:]
		}
	}
	return blocks
}

// The sections that have commands, and who runs them.
const (
	sectionStart   = "Start"                         // TestReadmeStart
	sectionTools   = "Log in with Kafka's own tools" // TestReadmeTools
	sectionCluster = "Three brokers and PostgreSQL"  // TestReadmeCluster
)

func TestReadmeHasNoOtherCommands(t *testing.T) {
	for _, b := range readmeBlocks(t) {
		if b.lang == "sh" && b.section != sectionStart && b.section != sectionTools && b.section != sectionCluster {
			t.Errorf("section %q has commands that no test runs:\n%s", b.section, b.text)
		}
		if b.lang != "sh" && b.lang != "text" {
			t.Errorf("section %q has a block of %q", b.section, b.lang)
		}
	}
}

// session runs commands as a reader of the README would.
type session struct {
	dir       string
	env       []string
	addresses []string // pairs: the README's, the test's
}

// newSession is a reader with a checkout and free ports.
func newSession(t *testing.T, dir string) *session {
	t.Helper()
	ports, err := childproc.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	return &session{
		dir:       dir,
		env:       []string{"MARU_LISTEN=" + at(0), "MARU_KAFKA_LISTEN=" + at(1)},
		addresses: []string{"127.0.0.1:8080", at(0), "127.0.0.1:8097", at(1), "127.0.0.1:8081", at(2), "127.0.0.1:8082", at(3)},
	}
}

// local puts the test's addresses into a text of the README.
func (s *session) local(text string) string { return strings.NewReplacer(s.addresses...).Replace(text) }

func (s *session) command(script string) *exec.Cmd {
	cmd := exec.Command("bash", "-c", "set -eu -o pipefail\n"+s.local(script))
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), s.env...)
	return cmd
}

// run runs blocks in one shell, and compares what they write with the blocks of
// text behind them.
func (s *session) run(t *testing.T, limit time.Duration, blocks []block) {
	t.Helper()
	var script, want strings.Builder
	for _, b := range blocks {
		if b.lang == "sh" {
			script.WriteString(b.text)
			want.WriteString("…\n")
		} else {
			want.WriteString(s.local(b.text))
		}
	}
	var out, errs bytes.Buffer
	cmd := s.command(script.String())
	cmd.Stdout, cmd.Stderr = &out, &errs
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(limit):
		syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	if err := p.Err(); err != nil {
		t.Fatalf("%v in\n%s\n%s\n%s", err, script.String(), out.Bytes(), errs.Bytes())
	}
	if missing, ok := matches(out.String(), want.String()); !ok {
		t.Errorf("the README promises\n%s\nand this is written:\n%s\n%s", missing, out.Bytes(), errs.Bytes())
	}
}

// matches tells whether the lines of want appear in got, and the first that does not.
func matches(got, want string) (missing string, ok bool) {
	lines := strings.Split(got, "\n")
	for w := range strings.Lines(want) {
		w = strings.TrimSuffix(w, "\n")
		if w == "…" {
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(w), "…", ".*") + `\s*$`)
		for {
			if len(lines) == 0 {
				return w, false
			}
			line := lines[0]
			lines = lines[1:]
			if pattern.MatchString(line) {
				break
			}
		}
	}
	return "", true
}

// background starts a block that serves until it is stopped.
func (s *session) background(t *testing.T, b block) (log *childproc.Log, stop func()) {
	t.Helper()
	log = &childproc.Log{}
	ready := log.Expect("msg=ready")
	cmd := s.command(b.text)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := childproc.Start(cmd, syscall.SIGTERM) // which make and maru take as a request to stop
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		syscall.Kill(-p.PID(), syscall.SIGINT) // Ctrl-C reaches the whole group
		select {
		case <-p.Done():
		case <-time.After(patience):
			syscall.Kill(-p.PID(), syscall.SIGKILL)
			t.Errorf("it does not stop:\n%s", log.Tail(50))
		}
	}
	t.Cleanup(func() { p.Stop(patience, syscall.SIGTERM) }) // ended already if the test went well
	select {
	case <-ready:
	case <-p.Done():
		t.Fatalf("%sended: %v\n%s", b.text, p.Err(), log.Tail(50))
	case <-time.After(5 * time.Minute): // it may compile everything
		stop()
		t.Fatalf("%sis not ready\n%s", b.text, log.Tail(50))
	}
	return log, stop
}

// section returns the blocks of one section, which begin with a server.
func section(t *testing.T, name, server string) (first block, rest []block) {
	t.Helper()
	for _, b := range readmeBlocks(t) {
		if b.section == name {
			rest = append(rest, b)
		}
	}
	if len(rest) < 2 || rest[0].lang != "sh" || !strings.Contains(rest[0].text, server) {
		t.Fatalf("section %q does not begin with %s", name, server)
	}
	return rest[0], rest[1:]
}

// root is the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// workplace is a folder to run the README in: bin is the checkout's, and what
// the commands write goes away.
func workplace(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(root(t), "bin"), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// withTools puts Kafka's console tools into the PATH.
func (s *session) withTools(tools *realkafka.Tools) {
	s.env = append(s.env, "PATH="+tools.BinDir()+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestReadmeStart(t *testing.T) {
	server, rest := section(t, sectionStart, "make run")
	s := newSession(t, root(t))
	s.env = append(s.env, "MARU_DATA="+t.TempDir())
	log, stop := s.background(t, server)
	defer stop()
	if missing, ok := matches(log.Tail(100), s.local(rest[0].text)); !ok {
		t.Errorf("the README promises\n%s\nand this is written:\n%s", missing, log.Tail(100))
	}
	s.dir = workplace(t)
	if !t.Run("REST", func(t *testing.T) { s.run(t, 2*patience, rest[1:]) }) {
		return
	}
	t.Run("tools", func(t *testing.T) {
		realkafka.Require(t)
		tools, err := realkafka.NewTools()
		if err != nil {
			t.Fatal(err)
		}
		s.withTools(tools)
		first, rest := section(t, sectionTools, "kafka-topics.sh")
		s.run(t, 4*patience, append([]block{first}, rest...))
	})
}

func TestReadmeCluster(t *testing.T) {
	dsn := pgtest.Database(t)
	brokers := realkafka.Shared(t)
	server, rest := section(t, sectionCluster, "bin/maru serve")
	if out, err := exec.Command("make", "-s", "-C", root(t), "build").CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	s := newSession(t, workplace(t))
	s.addresses = append([]string{
		"localhost:8097,localhost:8098,localhost:8099", brokers.Bootstrap(), "localhost:8098", brokers.Address(2),
		"postgres://maru:maru@localhost:5432/maru", dsn,
	}, s.addresses...)
	s.withTools(brokers.Tools)
	_, stop := s.background(t, server)
	stop()
	s.run(t, 6*patience, rest)
}
