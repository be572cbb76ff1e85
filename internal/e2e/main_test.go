package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"maru/internal/childproc"
	"maru/internal/pgtest"
	"maru/internal/realkafka"
	_ "maru/node" // see binary
)

// patience bounds every wait that has no bound of its own, on a machine that is
// busy with other tests.
const patience = 30 * time.Second

// world is what all tests have in common, each part made when the first asks for
// it. It is written under the sync.Once of each part only.
var world struct {
	build sync.Once
	dir   *childproc.Dir // holds the binary
	fail  error

	kafka   sync.Once
	brokers *realkafka.Cluster
	noKafka error

	sql   sync.Once
	pg    *pgtest.Server
	noSQL error
}

func TestMain(m *testing.M) {
	for _, e := range os.Environ() { // settings of the developer must not reach the tests
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "MARU_") && !strings.HasPrefix(name, "MARU_TEST_") {
			os.Unsetenv(name)
		}
	}
	status := m.Run()
	var errs []error
	browser.CloseIdleConnections()
	if world.brokers != nil {
		errs = append(errs, world.brokers.Close())
	}
	if world.pg != nil {
		errs = append(errs, world.pg.Close())
	}
	if world.dir != nil {
		errs = append(errs, world.dir.Remove())
	}
	errs = append(errs, goleak.Find())
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// binary returns the path of maru, built as releases are. The go command reuses the
// result of a test while nothing that it knows of has changed. What the program is
// made of it learns from the import of maru/node and from this reading of a folder.
func binary(t *testing.T) string {
	t.Helper()
	if _, err := os.ReadDir(filepath.Join("..", "..", "cmd", "maru")); err != nil {
		t.Fatal(err)
	}
	world.build.Do(func() {
		if world.dir, world.fail = childproc.NewDir("maru-e2e-"); world.fail != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-X main.version=test",
			"-o", filepath.Join(world.dir.Path, "maru"), "maru/cmd/maru")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			world.fail = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if world.fail != nil {
		t.Fatal(world.fail)
	}
	return filepath.Join(world.dir.Path, "maru")
}

// referencePort is the first EXTERNAL port of the reference set-up.
const referencePort = 8097

// threeBrokers returns the real brokers, at localhost:8097 to 8099 as the contract
// has them unless something else listens there.
func threeBrokers(t *testing.T) *realkafka.Cluster {
	t.Helper()
	realkafka.Require(t)
	world.kafka.Do(func() {
		o := realkafka.Options{BasePort: referencePort}
		for port := referencePort; port < referencePort+3; port++ {
			if err := childproc.CheckPort(port); err != nil {
				t.Logf("the brokers get free ports: %v", err)
				o.BasePort = 0
			}
		}
		began := time.Now()
		// Not the test's context: the brokers outlive it.
		world.brokers, world.noKafka = realkafka.Launch(context.Background(), o)
		t.Logf("three brokers after %v", time.Since(began).Round(time.Millisecond))
	})
	if world.noKafka != nil {
		t.Fatal(world.noKafka)
	}
	return world.brokers
}

// postgres returns the server in which each cluster of maru has a database.
func postgres(t *testing.T) *pgtest.Server {
	t.Helper()
	pgtest.Require(t)
	world.sql.Do(func() { world.pg, world.noSQL = pgtest.Launch(context.Background(), pgtest.Options{}) })
	if world.noSQL != nil {
		t.Fatal(world.noSQL)
	}
	return world.pg
}

// outcome is how a command line ended.
type outcome struct {
	status         int
	stdout, stderr string
}

// run runs maru until it ends by itself.
func run(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = t.TempDir(), strings.NewReader(stdin), &out, &errs
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Stop(0)
		t.Fatalf("maru %s does not end:\n%s%s", strings.Join(args, " "), out.Bytes(), errs.Bytes())
	}
	o := outcome{stdout: out.String(), stderr: errs.String()}
	if err := p.Err(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		o.status = exit.ExitCode()
	}
	return o
}

// mustRun runs a command line that succeeds and returns its standard output.
func mustRun(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	o := run(t, stdin, args...)
	if o.status != 0 {
		t.Fatalf("maru %s: status %d\n%s%s", strings.Join(args, " "), o.status, o.stdout, o.stderr)
	}
	return o.stdout
}

// refused runs a command line that is refused with a status and a sentence.
func refused(t *testing.T, status int, says string, args ...string) {
	t.Helper()
	o := run(t, "", args...)
	if o.status != status || !strings.Contains(o.stderr, says) || strings.Contains(o.stderr, "goroutine") {
		t.Errorf("maru %s: status %d, want %d and %q\n%s%s", strings.Join(args, " "), o.status, status, says, o.stdout, o.stderr)
	}
}

// eventually waits until done; what says what for.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
