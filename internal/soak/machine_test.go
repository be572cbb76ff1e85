package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"maru/home"
	"maru/internal/childproc"
	"maru/node"
)

// patience bounds everything that has no bound of its own, on a machine that is
// busy with other tests.
const patience = 30 * time.Second

// machine is a place where maru runs: a data directory and an address that stay
// while processes come and go. A machine belongs to one goroutine at a time.
type machine struct {
	t    testing.TB
	name string
	data string
	addr string
	args []string
	log  *childproc.Log // of all processes that ran here
	life *childproc.Process
}

// newMachine returns a machine on which nothing runs yet. What runs there when the
// test ends is killed.
func newMachine(t testing.TB, name, data string, args ...string) *machine {
	t.Helper()
	binary(t) // building it belongs to no figure
	ports, err := childproc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, name: name, data: data, addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), args: args, log: &childproc.Log{}}
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			t.Logf("last lines of %s:\n%s", name, m.log.Tail(60))
		}
	})
	return m
}

// cheap makes password hashing cost little: the tests are about other things.
var cheap = []string{"--password-memory", "1024", "--password-time", "1", "--registrations", "0", "--failed-logins", "0"}

// newServer returns a machine for a whole maru with everything in data.
func newServer(t testing.TB, data string, args ...string) *machine {
	t.Helper()
	return newMachine(t, "maru", data, append(append([]string{"--kafka-listen", ""}, cheap...), args...)...)
}

// launch starts a process; ready is closed when it says so.
func (m *machine) launch() (ready <-chan struct{}) {
	m.t.Helper()
	ready = m.log.Expect("msg=ready")
	cmd := exec.Command(binary(m.t), append([]string{"--name", m.name, "--data", m.data, "--listen", m.addr}, m.args...)...)
	cmd.Stdout, cmd.Stderr = m.log, m.log
	life, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		m.t.Fatal(err)
	}
	m.life = life
	return ready
}

// start starts a process and waits until it is ready; it returns how long that took.
func (m *machine) start() time.Duration {
	m.t.Helper()
	began := time.Now()
	ready := m.launch()
	select {
	case <-ready:
	case <-m.life.Done():
		m.t.Fatalf("%s ended: %v\n%s", m.name, m.life.Err(), m.log.Tail(30))
	case <-time.After(patience):
		m.t.Fatalf("%s is not ready after %v\n%s", m.name, patience, m.log.Tail(30))
	}
	return time.Since(began)
}

// refused starts a process that must end by itself with status 1.
func (m *machine) refused() string {
	m.t.Helper()
	m.launch()
	m.ended(patience, 1)
	return m.log.Tail(20)
}

// ended waits until the process ends by itself, with the given status.
func (m *machine) ended(limit time.Duration, status int) {
	m.t.Helper()
	select {
	case <-m.life.Done():
		if got := exitStatus(m.t, m.life); got != status {
			m.t.Fatalf("%s ended with status %d, want %d\n%s", m.name, got, status, m.log.Tail(30))
		}
	case <-time.After(limit):
		m.t.Fatalf("%s runs after %v, and should have ended\n%s", m.name, limit, m.log.Tail(30))
	}
}

// kill ends the process without warning.
func (m *machine) kill() {
	if m.life.Running() {
		if err := m.life.Stop(0); err != nil {
			m.t.Error(err)
		}
	}
}

// terminate ends the process as a service manager does.
func (m *machine) terminate() {
	m.t.Helper()
	if !m.life.Running() {
		m.t.Fatalf("%s has ended already: %v\n%s", m.name, m.life.Err(), m.log.Tail(30))
	}
	if err := m.life.Stop(patience, syscall.SIGTERM); err != nil {
		m.t.Error(err)
	}
	if err := m.life.Err(); err != nil {
		m.t.Errorf("after SIGTERM %s ends with %v, want status 0\n%s", m.name, err, m.log.Tail(30))
	}
}

func (m *machine) signal(sig syscall.Signal) {
	m.t.Helper()
	if err := m.life.Signal(sig); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) url() string { return "http://" + m.addr }

// get asks a path of the process itself.
func (m *machine) get(ctx context.Context, path string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return fetch(ctx, http.DefaultClient, m.url()+path)
}

// residents asks by admin.sock what the process holds in memory.
func (m *machine) residents(ctx context.Context) (r []home.Residents, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(m.data, node.SocketName))
		},
	}}
	status, body, err := fetch(ctx, client, "http://maru/residents")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("residents of %s: status %d: %s", m.name, status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	return r, err
}

func fetch(ctx context.Context, client *http.Client, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
