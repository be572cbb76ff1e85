package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"maru"
	"maru/auth"
)

func tiny(t *testing.T) Config {
	c := Config{
		Users: 4, Senders: 2, For: 50 * time.Millisecond, Partitions: 2,
		Params: auth.Params{MemoryKiB: 64, Time: 1, Threads: 1}, Binary: "none", Dir: t.TempDir(),
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLocalParts(t *testing.T) {
	c := tiny(t)
	for name, f := range map[string]func(context.Context) (Result, error){
		PartHash: c.hashes, PartRemembered: c.remembered, PartSeal: c.sealing,
		PartSync: func(ctx context.Context) (Result, error) { return c.syncs(ctx, c.Dir) },
	} {
		r, err := f(t.Context())
		if err != nil || r.Name != name || r.Count == 0 || r.Failed > 0 || r.PerSecond <= 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if timed := name != PartRemembered; timed != (r.Latency != nil) {
			t.Errorf("%s: latency %v", name, r.Latency)
		}
	}
	if left, _ := os.ReadDir(c.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRawLog(t *testing.T) {
	c := tiny(t)
	results, err := c.rawLogs(t.Context(), c.Dir)
	if err != nil || len(results) != 2 || results[0].Name != PartProduce || results[1].Name != PartHops {
		t.Fatalf("%+v, %v", results, err)
	}
	for _, r := range results {
		if r.Count == 0 || r.Failed > 0 || r.Latency == nil {
			t.Errorf("%+v", r)
		}
	}
}

// What makes a login is on every topic, once: else the comparison would flatter.
func TestHopsLeaveTheirRecords(t *testing.T) {
	l, err := openRawLog(t.Context(), t.TempDir(), 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	const logins = 5
	for n := range int64(logins) {
		if k, err := l.hops(t.Context(), 0, n); k != 1 || err != nil {
			t.Fatal(k, err)
		}
	}
	if err := l.producer.Flush(t.Context()); err != nil { // answers are nobody's wait
		t.Fatal(err)
	}
	for _, topic := range []string{l.layout.LoginRequest, l.layout.Commands, l.layout.LoginResponse, l.layout.Delivery} {
		ends, err := l.admin.LogEnds(t.Context(), topic)
		var n int64
		for _, end := range ends {
			n += end
		}
		if err != nil || n != logins {
			t.Errorf("%s has %d records, want %d (%v)", topic, n, logins, err)
		}
	}
}

func TestPeopleAreNew(t *testing.T) {
	a, b := newPeople(3), newPeople(3)
	for i := range a {
		if a[i].id == b[i].id || !maru.ValidUserID(a[i].id) || string(a[i].password) == string(b[i].password) {
			t.Errorf("%s and %s", a[i].id, b[i].id)
		}
	}
	policy, err := auth.NewPolicy(0, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := policy.Check(a[0].id, a[0].password); err != nil {
		t.Error(err)
	}
}

func TestClient(t *testing.T) {
	var connections atomic.Int32
	hs := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/echo":
			io.WriteString(w, r.Method+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Content-Type")+" "+string(body))
		case "/last":
			w.Header().Set("Connection", "close")
		case "/long":
			w.Write(make([]byte, 2*maxAnswer))
		case "/hang":
			<-r.Context().Done()
		default:
			http.Error(w, "what is wrong", http.StatusTeapot)
		}
	}))
	hs.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	hs.Start()
	defer hs.Close()
	c := &client{addr: hs.Listener.Addr().String()}
	defer c.close()
	ask := func(path string) (string, error) {
		b, err := c.do(t.Context(), http.MethodPost, path, "token", credentials{"a", "b"}, http.StatusOK)
		return string(b), err
	}
	for range 3 {
		if got, err := ask("/echo"); err != nil || got != `POST Bearer token application/json {"userId":"a","userPw":"b"}` {
			t.Fatal(got, err)
		}
	}
	if _, err := ask("/wrong"); err == nil || !strings.Contains(err.Error(), "status 418") || !strings.Contains(err.Error(), "what is wrong") {
		t.Error(err)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for one sender", n)
	}
	for _, path := range []string{"/last", "/long"} {
		ask(path)
		if _, err := ask("/echo"); err != nil {
			t.Errorf("after %s: %v", path, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.do(ctx, http.MethodGet, "/hang", "", nil, http.StatusOK); err == nil {
		t.Error("a request outlives its context")
	}
	if _, err := ask("/echo"); err != nil {
		t.Error(err)
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	c := tiny(t)
	if _, err := c.startServer(t.Context(), c.Dir); err == nil || !strings.Contains(err.Error(), "start the server") {
		t.Errorf("without a binary: %v", err)
	}
	c.Binary = filepath.Join(t.TempDir(), "maru")
	for script, want := range map[string]string{
		"echo no such disk >&2; exit 3": "no such disk",
		`echo '{"msg":"starting"}' >&2; trap 'exit 0' TERM; while :; do sleep 0.01; done`: "not ready",
	} {
		if err := os.WriteFile(c.Binary, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := c.startServer(ctx, c.Dir)
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// A run that is given up removes what it made.
func TestInterruptedRun(t *testing.T) {
	c := tiny(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.For, c.Progress = time.Hour, func(string) { cancel() }
	if _, err := Login(ctx, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(c.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
