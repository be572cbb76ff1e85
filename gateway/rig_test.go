package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru"
	"maru/auth"
	"maru/record"
)

// rig is a server with a home behind it. Nothing runs in the background: the
// home answers within TryProduce unless a test asks for a delay.
type rig struct {
	t      testing.TB
	home   *testHome
	homes  *Homes
	server *Server
	secret *auth.Secret
	logs   *logBuffer
}

// logBuffer collects the log; mu owns the buffer.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t testing.TB, change ...func(*Config, *HomesConfig)) *rig {
	t.Helper()
	hasher, err := auth.NewHasher(auth.Params{MemoryKiB: 8, Time: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := auth.NewPolicy(0, false)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, secret: auth.NewSecret(), logs: &logBuffer{}}
	r.home = newTestHome(t, r.secret, hasher)
	pool := auth.NewPool(2)
	t.Cleanup(pool.Close)
	t.Cleanup(r.home.wg.Wait) // replies to repetitions may be under way
	log := slog.New(slog.NewJSONHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	registry := prometheus.NewRegistry()
	homes := HomesConfig{Log: r.home, Partitions: testPartitions, Topics: testTopics, Address: testAddress, Logger: log, Registerer: registry}
	cfg := Config{Secret: r.secret, Hasher: hasher, Pool: pool, Policy: policy, Logger: log, Registry: registry}
	for _, f := range change {
		f(&cfg, &homes)
	}
	if r.homes, err = NewHomes(homes); err != nil {
		t.Fatal(err)
	}
	r.home.deliver = r.homes.HandleDelivery
	r.homes.beat.send() // comes back at once: ready from now on
	cfg.Homes = r.homes
	if r.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

// token returns a bearer token for a session of a user.
func (r *rig) token(user, session string) string {
	now := time.Now()
	token, err := r.server.tokens.Sign(auth.Token{User: user, Session: session, IssuedAt: now, ExpiresAt: now.Add(time.Hour)})
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// user adds a user with a session and returns its token.
func (r *rig) user(id string) string { return r.token(id, r.home.add(id, "correct horse "+id)) }

// with changes a request before it is sent.
type with func(*http.Request)

func header(name, value string) with { return func(r *http.Request) { r.Header.Add(name, value) } }

func bearerToken(token string) with { return header("Authorization", "Bearer "+token) }

func from(addr string) with { return func(r *http.Request) { r.RemoteAddr = addr } }

// do sends a request straight into the handler. A body that is not empty is JSON
// unless a change says otherwise.
func (r *rig) do(method, target, body string, changes ...with) *httptest.ResponseRecorder {
	r.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, target, reader)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, f := range changes {
		f(req)
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return w
}

// want checks status and body of an answer; the body may be left out.
func want(t testing.TB, w *httptest.ResponseRecorder, status int, body ...string) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d; body %s", w.Code, status, w.Body)
	}
	if len(body) > 0 && w.Body.String() != body[0] {
		t.Fatalf("body\n%s\nwant\n%s", w.Body, body[0])
	}
}

// wantProblem checks a refusal.
func wantProblem(t testing.TB, w *httptest.ResponseRecorder, code maru.Code, field ...string) {
	t.Helper()
	want(t, w, meanings[code].status)
	var p problem
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("the body is no problem: %v", err)
	}
	if p.Code != code || p.Status != w.Code || p.Title == "" || p.Detail == "" || p.Type != "about:blank" {
		t.Fatalf("problem %+v, want code %s", p, code)
	}
	if len(field) > 0 && p.Field != field[0] {
		t.Fatalf("problem %+v, want field %q", p, field[0])
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json; charset=utf-8" {
		t.Fatalf("content type %q", got)
	}
}

func parseClaims(payload []byte) (c record.LoginClaims, err error) {
	err = json.Unmarshal(payload, &c)
	return c, err
}

func parse[T any](t testing.TB, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return v
}
