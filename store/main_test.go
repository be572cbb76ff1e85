package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"maru/internal/pgtest"
	"maru/store"
)

// openedByChild, when set, makes this test binary a process that opens the DSN
// in it once a line arrives on its standard input.
const openedByChild = "MARU_STORE_TEST_OPEN"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(openedByChild); dsn != "" {
		os.Exit(openAsChild(dsn))
	}
	code := m.Run()
	err := pgtest.StopShared()
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func openAsChild(dsn string) int {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return 2
	}
	s, err := store.Open(context.Background(), store.Config{DSN: dsn})
	if err == nil {
		_, _, err = s.EnsureMeta(context.Background(), "first", fmt.Sprint(os.Getpid()))
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// openAtOnce has n processes open an empty database at the same moment.
func openAtOnce(t *testing.T, dsn string) {
	const n = 4
	children := make([]*exec.Cmd, n)
	starts := make([]func() error, n)
	for i := range children {
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(os.Environ(), openedByChild+"="+dsn)
		c.Stderr = t.Output()
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		children[i] = c
		starts[i] = func() error { _, err := fmt.Fprintln(in); return err }
	}
	for _, start := range starts {
		if err := start(); err != nil {
			t.Error(err)
		}
	}
	for i, c := range children {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
	s, err := store.Open(t.Context(), store.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first, found, err := s.Meta(t.Context(), "first")
	if err != nil || !found {
		t.Fatalf("%v, %v", found, err)
	}
	for _, c := range children {
		if first == fmt.Sprint(c.Process.Pid) {
			return
		}
	}
	t.Errorf("the first writer is %s, not one of the processes", first)
}
