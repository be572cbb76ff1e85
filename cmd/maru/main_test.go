package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"maru/internal/childproc"
	"maru/internal/pgtest"
	"maru/internal/realkafka"
)

func TestMain(m *testing.M) {
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

// built is maru as users get it, built when the first test needs it.
var built struct {
	once sync.Once
	dir  *childproc.Dir
	err  error
}

// binary returns the path of maru.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = childproc.NewDir("maru-cmd-"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-X main.version=test", "-o", filepath.Join(built.dir.Path, "maru"), ".")
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

// call is one command line.
type call struct {
	dir   string
	env   []string
	stdin string
	args  []string
}

// outcome is what became of it.
type outcome struct {
	status         int
	stdout, stderr string
}

// patience bounds everything that has no bound of its own, on a machine that is
// busy with other tests.
const patience = 30 * time.Second

// do runs a command line that ends by itself.
func (c call) do(t *testing.T) outcome {
	t.Helper()
	cmd := exec.Command(binary(t), c.args...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.dir, append(os.Environ(), c.env...), strings.NewReader(c.stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Stop(0)
		t.Fatalf("maru %s does not end:\n%s%s", strings.Join(c.args, " "), out.Bytes(), errs.Bytes())
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

// must runs a command line that succeeds and returns its standard output.
func (c call) must(t *testing.T) string {
	t.Helper()
	o := c.do(t)
	if o.status != statusDone {
		t.Fatalf("maru %s: status %d\n%s%s", strings.Join(c.args, " "), o.status, o.stdout, o.stderr)
	}
	return o.stdout
}

// server is a running maru.
type server struct {
	*childproc.Process
	data   string
	url    string
	out    *childproc.Log
	errs   *childproc.Log
	starts time.Duration // until it was ready
}

var readyLine = regexp.MustCompile(`msg=ready .*address=(http://\S+)`)

// serve starts maru on data and waits until it is ready.
func serve(t *testing.T, data string, args ...string) *server {
	t.Helper()
	s := &server{data: data, out: &childproc.Log{}, errs: &childproc.Log{}}
	ready, welcome := s.errs.Expect("msg=ready"), s.out.Expect("Ctrl-C stops it.")
	cmd := exec.Command(binary(t), append([]string{"--data", data, "--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"}, args...)...)
	cmd.Stdout, cmd.Stderr = s.out, s.errs
	began := time.Now()
	var err error
	if s.Process, err = childproc.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop(0) // ended already if the test went well
		if t.Failed() {
			t.Logf("maru on %s:\n%s\n%s", data, s.out.Tail(50), s.errs.Tail(200))
		}
	})
	select {
	case <-ready:
	case <-s.Done():
		t.Fatalf("maru ended: %v\n%s", s.Err(), s.errs.Tail(50))
	case <-time.After(patience):
		t.Fatalf("maru is not ready after %v\n%s", patience, s.errs.Tail(50))
	}
	s.starts = time.Since(began)
	<-welcome // written before that line, but read by another goroutine
	s.url = readyLine.FindStringSubmatch(s.errs.Tail(1000))[1]
	return s
}

// terminate stops a server as a service manager does.
func (s *server) terminate(t *testing.T) {
	t.Helper()
	if err := s.Stop(patience, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("after SIGTERM maru ends with %v, want status 0\n%s", err, s.errs.Tail(20))
	}
}

// post sends JSON and returns the status.
func (s *server) post(t *testing.T, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
