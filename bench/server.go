package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Times of the server's start and end.
const (
	startLimit = time.Minute
	stopLimit  = 15 * time.Second
)

// noLimit turns off the limit of a rate: all senders share one address.
const noLimit = "0"

// server is a maru of the run's own. tail belongs to the goroutine that reads the
// log until done is closed.
type server struct {
	cmd  *exec.Cmd
	url  string
	tail []string
	done chan error // has room for how the process ended
}

// startServer starts maru on the embedded default in dir and waits until it is
// ready. Nothing of the caller's environment configures it.
func (c *Config) startServer(ctx context.Context, dir string) (*server, error) {
	cmd := exec.Command(c.Binary, "serve",
		"--listen", "127.0.0.1:0", "--kafka-listen", "", "--data", filepath.Join(dir, "data"),
		"--partitions", fmt.Sprint(c.Partitions), "--failed-logins", noLimit, "--registrations", noLimit,
		"--password-memory", fmt.Sprint(c.Params.MemoryKiB), "--password-time", fmt.Sprint(c.Params.Time),
		"--log-format", "json", "--log-level", "info")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MARU_") })
	cmd.SysProcAttr = bindLife()
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, done: make(chan error, 1)}
	started, ready := make(chan error, 1), make(chan string, 1)
	go s.live(log, started, ready)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	limit, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	select {
	case s.url = <-ready:
		return s, nil
	case err := <-s.done:
		s.done <- err
		return nil, fmt.Errorf("the server ended (%v) before it was ready:\n%s", err, strings.Join(s.tail, "\n"))
	case <-limit.Done():
		return nil, errors.Join(fmt.Errorf("the server is not ready: %w", limit.Err()), s.stop())
	}
}

// live starts the process and waits for its end, all on one thread: with bindLife
// the kernel ends the server when that thread ends.
func (s *server) live(log io.Reader, started chan<- error, ready chan<- string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := s.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if s.tail = append(s.tail, lines.Text()); len(s.tail) > 20 {
			s.tail = slices.Delete(s.tail, 0, 1)
		}
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
			select {
			case ready <- line.Address:
			default: // said once already
			}
		}
	}
	io.Copy(io.Discard, log) // a line beyond the bound: the process must not block on its log
	s.done <- s.cmd.Wait()
}

// stop ends the server in an orderly way, and otherwise in any.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case err := <-s.done:
		if err != nil {
			return fmt.Errorf("the server ended with %w:\n%s", err, strings.Join(s.tail, "\n"))
		}
		return nil
	case <-time.After(stopLimit):
		s.cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("the server did not stop within %v and was killed", stopLimit)
	}
}
