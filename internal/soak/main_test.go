package soak

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"maru/internal/childproc"
	"maru/internal/pgtest"
	"maru/internal/realkafka"
)

// How much there is to do; the defaults are for make test.
var (
	soakFor = flag.Duration("soak.for", time.Minute, "how long TestSoak lets faults happen")
	rounds  = flag.Int("soak.rounds", 3, "how many events of each kind TestHandOver measures")
	crashes = flag.Int("soak.crashes", 20, "how often TestCrashes kills")
	cuts    = flag.Int("soak.cuts", 5, "how many power cuts TestPowerCuts makes")
	seed    = flag.Uint64("soak.seed", 0, "fixes what people do and which faults happen, not when; 0: a new one")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := enterOwnMounts(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(func() int {
		for _, e := range os.Environ() { // settings of the developer must not reach the tests
			if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "MARU_") && !strings.HasPrefix(name, "MARU_TEST_") {
				os.Unsetenv(name)
			}
		}
		status := m.Run()
		if err := errors.Join(realkafka.StopShared(), pgtest.StopShared()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
		if built.dir != nil {
			built.dir.Remove()
		}
		return status
	}())
}

// insideMounts tells that this process has a mount namespace of its own, or says
// why not.
const insideMounts = "MARU_TEST_MOUNTS"

// enterOwnMounts replaces this process by itself in a new mount namespace, so that
// what the tests mount goes away with the last of their processes, even if they
// are killed. Where that is not permitted the tests that mount are skipped.
func enterOwnMounts() error {
	if os.Getenv(insideMounts) != "" {
		return nil
	}
	// unshare(2) changes the calling thread alone, and execve(2) lets that one live.
	runtime.LockOSThread()
	said := "yes"
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		said = fmt.Sprintf("no mount namespace: %v", err)
	} else if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		said = fmt.Sprintf("mounts cannot be made private: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, os.Args, append(os.Environ(), insideMounts+"="+said))
}

// built is maru as users get it, built when the first test needs it.
var built struct {
	once sync.Once
	dir  *childproc.Dir
	err  error
}

// binary returns the path of maru.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = childproc.NewDir("maru-soak-"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-X main.version=soak", "-o", filepath.Join(built.dir.Path, "maru"), "maru/cmd/maru")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir.Path, "maru")
}

// run runs a command line of maru that ends by itself.
func run(t testing.TB, args ...string) (status int, output string) {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	log := &childproc.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Stop(0)
		t.Fatalf("maru %s does not end:\n%s", strings.Join(args, " "), log.Tail(50))
	}
	return exitStatus(t, p), log.Tail(200)
}

func exitStatus(t testing.TB, p *childproc.Process) int {
	t.Helper()
	err := p.Err()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode() // -1: by a signal
	}
	t.Fatal(err)
	return 0
}
