package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
)

// process is a running maru. It belongs to the test that started it; requests may
// be sent by several goroutines.
type process struct {
	*childproc.Process
	name string
	data string
	url  string
	logs string // file with everything that it wrote
	errs *childproc.Log
}

var readyLine = regexp.MustCompile(`msg=ready .*address=(http://\S+)`)

// serve starts maru on data and waits until it is ready.
func serve(t *testing.T, name, data string, args ...string) *process {
	t.Helper()
	logs, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { logs.Close() })
	p := &process{name: name, data: data, logs: logs.Name(), errs: &childproc.Log{}}
	ready := p.errs.Expect("msg=ready")
	args = append([]string{"serve", "--name", name, "--data", data, "--listen", "127.0.0.1:0", "--log-level", "debug"}, args...)
	cmd := exec.Command(binary(t), args...)
	cmd.Stdout, cmd.Stderr = logs, io.MultiWriter(logs, p.errs)
	if p.Process, err = childproc.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop(0) // ended already if the test went well
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.errs.Tail(25))
		}
	})
	select {
	case <-ready:
	case <-p.Done():
		t.Fatalf("maru ended: %v\n%s", p.Err(), p.errs.Tail(50))
	case <-time.After(patience):
		t.Fatalf("maru is not ready after %v\n%s", patience, p.errs.Tail(50))
	}
	p.url = readyLine.FindStringSubmatch(p.errs.Tail(1000))[1]
	return p
}

// terminate stops a server as a service manager does.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.Stop(patience, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := p.Err(); err != nil {
		t.Errorf("after SIGTERM %s ends with %v, want status 0", p.name, err)
	}
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// browser sends requests one after another or in parallel.
var browser = &http.Client{
	Timeout:   patience,
	Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true},
}

// send sends a request; header holds pairs. A failure to get any answer is in err.
func (p *process) send(method, path, body string, header ...string) (a answer, err error) {
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	began := time.Now()
	resp, err := browser.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), time.Since(began)}, err
}

// do sends a request that must be answered with status.
func (p *process) do(t *testing.T, status int, method, path, body string, header ...string) answer {
	t.Helper()
	a, err := p.send(method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

// register opens an account.
func (p *process) register(t *testing.T, user, password string) {
	t.Helper()
	p.do(t, http.StatusCreated, "POST", "/api/users", credentials(user, password))
}

// login signs in and returns the bearer header.
func (p *process) login(t *testing.T, user, password string) (bearer string, a answer) {
	t.Helper()
	a = p.do(t, http.StatusOK, "POST", "/api/login", credentials(user, password))
	var body struct{ Token string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Token == "" {
		t.Fatalf("login: no token (%v)", err)
	}
	return "Bearer " + body.Token, a
}

func credentials(user, password string) string {
	b, err := json.Marshal(map[string]string{"userId": user, "userPw": password})
	if err != nil {
		panic(err) // two strings
	}
	return string(b)
}

// metrics returns everything that the process counts.
func (p *process) metrics(t *testing.T) string {
	t.Helper()
	return p.do(t, http.StatusOK, "GET", "/metrics", "").body
}

// metric returns one figure without labels, 0 when the process does not count it.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	v, _ := figure(p.metrics(t), name)
	return v
}

func figure(metrics, name string) (v float64, ok bool) {
	_, rest, ok := strings.Cut("\n"+metrics, "\n"+name+" ")
	if !ok {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil
}

// memory returns a line of /proc/pid/status in bytes: VmRSS, VmHWM.
func (p *process) memory(t *testing.T, line string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte(line+":"))
	var kilobytes int64
	if _, err := fmt.Sscan(string(rest), &kilobytes); err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
