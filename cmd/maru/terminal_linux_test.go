package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maru/internal/childproc"
)

// terminal opens a pseudo terminal: what a person types and sees, and what the
// program has (pty(7)).
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// screen collects what a person sees. mu owns the text.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) watch(f *os.File) {
	var b [1024]byte
	for {
		n, err := f.Read(b[:])
		s.mu.Lock()
		s.text.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// interrupt is the answer of a person who gives up.
const interrupt = "\x03"

// typing answers each prompt as it appears, and returns what the person saw.
func typing(t *testing.T, answers [][2]string, args ...string) (o outcome, seen string) {
	t.Helper()
	person, program := terminal(t)
	before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	var s screen
	go s.watch(person) // ends when the terminal is closed
	cmd := exec.Command(binary(t), args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string, ok func() bool) {
		for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				p.Stop(0)
				t.Fatalf("no %s on the terminal:\n%s", what, s.shown())
			}
		}
	}
	for _, a := range answers {
		await(a[0], func() bool { return strings.Contains(s.shown(), a[0]) })
		if a[1] == interrupt {
			err = p.Signal(syscall.SIGINT)
		} else {
			_, err = person.WriteString(a[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Stop(0)
		t.Fatalf("it does not end:\n%s", s.shown())
	}
	if err := p.Err(); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			t.Fatal(err)
		}
		o.status = exit.ExitCode()
	}
	if last := answers[len(answers)-1][1]; last != interrupt {
		await("sentence", func() bool { return strings.Contains(s.shown(), "maru: ") })
	}
	after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if after.Lflag != before.Lflag {
		t.Errorf("the terminal is left with modes %#x, it had %#x", after.Lflag, before.Lflag)
	}
	return o, s.shown()
}

// On a terminal a password is asked for twice and not shown, and the terminal is
// left as it was, also by an interrupt.
func TestPasswordOnATerminal(t *testing.T) {
	data := t.TempDir() // nobody serves there: the command fails after the questions
	args := []string{"user", "add", "a", "--data", data}
	o, seen := typing(t, [][2]string{{"Password: ", "hidden-word-1\n"}, {"Once more: ", "hidden-word-1\n"}}, args...)
	if o.status != statusFailed || !strings.Contains(seen, "no maru runs on") || strings.Contains(seen, "hidden-word") {
		t.Errorf("status %d, the terminal shows\n%s", o.status, seen)
	}
	o, seen = typing(t, [][2]string{{"Password: ", "hidden-word-1\n"}, {"Once more: ", "hidden-word-2\n"}}, args...)
	if o.status != statusFailed || !strings.Contains(seen, "the two passwords differ") || strings.Contains(seen, "hidden-word") {
		t.Errorf("two different ones: status %d, the terminal shows\n%s", o.status, seen)
	}
	o, seen = typing(t, [][2]string{{"Password: ", interrupt}}, args...)
	if o.status != statusFailed {
		t.Errorf("after an interrupt: status %d, the terminal shows\n%s", o.status, seen)
	}
}
