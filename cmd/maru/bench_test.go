package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"maru/bench"
	"maru/internal/childproc"
)

// smallBench is a run of a few seconds, with hashes that cost little.
var smallBench = []string{"bench", "login", "--users", "5", "--senders", "3", "--for", "100ms", "--partitions", "2", "--password-memory", "64", "--password-time", "1"}

func TestBenchLogin(t *testing.T) {
	dir := t.TempDir()
	var r bench.Report
	fromJSON(t, call{args: append(smallBench, "--dir", dir, "--json")}.must(t), &r)
	if len(r.Results) != 10 || len(r.Targets) != 3 || r.WarmToRaw <= 0 || r.Users != 5 || r.Partitions != 2 {
		t.Errorf("%+v", r)
	}
	for _, x := range r.Results {
		if x.Count == 0 || x.Failed > 0 || x.PerSecond <= 0 {
			t.Errorf("%+v", x)
		}
		if once := x.Name == bench.PartRegister || x.Name == bench.PartCold; once && x.Count != 5 {
			t.Errorf("%s: %d, want each account once", x.Name, x.Count)
		}
		if x.Name == bench.PartWarm && x.Count > 5*bench.MaxLogins {
			t.Errorf("%d warm logins of 5 accounts", x.Count)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// A server that is there is measured, too, and stays.
func TestBenchOfARunningServer(t *testing.T) {
	s := serve(t, t.TempDir(), "--partitions", "2", "--registrations", "0", "--password-memory", "64", "--password-time", "1")
	out := call{args: append(smallBench, "--url", s.url)}.must(t)
	for _, want := range []string{"warm logins", "GET /api/me", "wanted 2,000"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	if !s.Running() {
		t.Error("the server has ended")
	}
}

func TestBenchRefusesOtherMachines(t *testing.T) {
	if o := (call{args: append(smallBench, "--url", "http://192.0.2.1:8080")}).do(t); o.status != statusUsage || !strings.Contains(o.stderr, "--remote") {
		t.Errorf("status %d: %s", o.status, o.stderr)
	}
}

// Whatever ends a bench, its server ends with it.
func TestBenchLeavesNoServer(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		dir := t.TempDir()
		cmd := exec.Command(binary(t), append(smallBench, "--users", "100000", "--dir", dir)...) // minutes of registrations
		p, err := childproc.Start(cmd, syscall.SIGKILL)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Stop(0) })
		var servers []int
		await(t, "a server", func() bool {
			servers, err = childproc.Children(p.PID())
			return len(servers) > 0
		})
		if err := p.Stop(patience, sig); err != nil {
			t.Fatal(err)
		}
		if sig == syscall.SIGINT {
			var exit *exec.ExitError
			if err := p.Err(); !errors.As(err, &exit) || exit.ExitCode() != statusFailed {
				t.Errorf("an interrupted bench ends with %v", err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v (%v)", left, err)
			}
		}
		await(t, "the end of the server", func() bool { return !childproc.Running(servers[0]) })
	}
}

// await looks for something that another process does.
func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has not come within %v", what, patience)
		}
	}
}
