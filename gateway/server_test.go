package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru"
	"maru/record"
)

// pipeListener hands out in-memory connections, so that a server runs in virtual time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.IPAddr{} }

func (l *pipeListener) dial(t testing.TB) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	select {
	case l.conns <- server:
	case <-l.closed:
		t.Error("the server does not listen any more")
	}
	return client
}

// serve runs a server until the test ends or stop is called, which returns what Serve returned.
func serve(t *testing.T, r *rig) (l *pipeListener, stop func() error) {
	l = newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Serve(ctx, l) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	return l, stop
}

func TestServeLetsRequestsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		token := r.user("alice")
		r.home.delay = 3 * time.Second
		l, stop := serve(t, r)
		conn := l.dial(t)
		defer conn.Close()
		fmt.Fprintf(conn, "GET /api/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
		time.Sleep(time.Second)
		start := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- stop() }()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%+v, %v", resp, err)
		}
		if err := <-ended; err != nil || time.Since(start) > 4*time.Second {
			t.Errorf("ended after %s: %v", time.Since(start), err)
		}
	})
}

func TestServeEndsWhenGraceIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *HomesConfig) { c.Grace = 2 * time.Second })
		token := r.user("alice")
		r.home.lose = func(maru.LogRecord, int) bool { return true }
		l, stop := serve(t, r)
		conn := l.dial(t)
		defer conn.Close()
		fmt.Fprintf(conn, "GET /api/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", token)
		time.Sleep(time.Second)
		start := time.Now()
		if err := stop(); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("ended after %s: %v", time.Since(start), err)
		}
		synctest.Wait()
		if r.homes.Waiting() != 0 {
			t.Error("a handler outlives its server")
		}
	})
}

func TestServeTellsWhyItStopped(t *testing.T) {
	r := newRig(t)
	l := newPipeListener()
	l.Close()
	if err := r.server.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("error %v", err)
	}
}

// TestSlowClientsAreCutOff, whether they are slow with headers or with a body.
func TestSlowClientsAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		l, stop := serve(t, r)
		for sent, limit := range map[string]time.Duration{
			"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ":                                                           readHeaderTimeout,
			"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{": readTimeout,
		} {
			conn := l.dial(t)
			io.WriteString(conn, sent)
			start := time.Now()
			var drip sync.WaitGroup
			drip.Go(func() { // one byte a second
				for {
					time.Sleep(time.Second)
					if _, err := conn.Write([]byte("x")); err != nil {
						return
					}
				}
			})
			io.Copy(io.Discard, conn)
			if took := time.Since(start); took < limit || took > limit+2*time.Second {
				t.Errorf("%.20q: cut off after %s, want %s", sent, took, limit)
			}
			conn.Close()
			drip.Wait()
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// raw sends bytes over a connection of their own and returns everything that
// comes back.
func raw(t *testing.T, l *pipeListener, request []byte) string {
	t.Helper()
	conn := l.dial(t)
	defer conn.Close()
	go conn.Write(request) // the server may refuse before it has read everything
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	answer, _ := io.ReadAll(conn) // a connection that is reset has answered, too
	return string(answer)
}

func TestHostileRequestsOnTheWire(t *testing.T) {
	r := newRig(t)
	l, stop := serve(t, r)
	token := r.user("alice")
	post := "POST /api/users HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
	get := "GET /api/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	big := bytes.Repeat([]byte("x"), 5<<20)
	chunks := fmt.Appendf(nil, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", post, len(big), big)
	for name, c := range map[string]struct {
		request []byte
		status  string
	}{
		"5 MB":              {fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", post, len(big), big), "413"},
		"5 MB in chunks":    {chunks, "413"},
		"a petabyte":        {[]byte(post + "Content-Length: 1125899906842624\r\n\r\n{"), "413"},
		"two lengths":       {[]byte(post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), "400"},
		"smuggled chunks":   {[]byte(post + "Content-Length: 2\r\nTransfer-Encoding: chunked, identity\r\n\r\n{}"), "501"},
		"huge header":       {[]byte(get + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"), "431"},
		"many headers":      {[]byte(get + strings.Repeat("X: y\r\n", 10_000) + "\r\n"), "431"},
		"NUL in a header":   {[]byte(get + "X: a\x00b\r\n\r\n"), "400"},
		"bare CR":           {[]byte(get + "Authorization: Bearer a\rSet-Cookie: x=y\r\n\r\n"), "400"},
		"header name":       {[]byte(get + "X Y: z\r\n\r\n"), "400"},
		"no host":           {[]byte("GET /api/me HTTP/1.1\r\n\r\n"), "400"},
		"absolute address":  {[]byte("GET http://evil.example/api/../api/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "404"},
		"newline in a path": {[]byte("GET /api/users/a%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token + "\r\n\r\n"), "404"},
		"NUL in a path":     {[]byte("GET /api/users/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token + "\r\n\r\n"), "404"},
		"path with a NUL":   {[]byte("GET /api/users/\x00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "400"},
		"asterisk":          {[]byte("GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "404"},
		"connect":           {[]byte("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\nConnection: close\r\n\r\n"), "404"},
		"something else":    {[]byte("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"), "400"},
	} {
		answer := raw(t, l, c.request)
		if !strings.HasPrefix(answer, "HTTP/1.1 "+c.status+" ") && !strings.HasPrefix(answer, "HTTP/1.0 "+c.status+" ") {
			t.Errorf("%s: answered with %.300q, want status %s", name, answer, c.status)
		}
		if strings.Contains(answer, "\nX: y") || strings.Contains(answer, "Set-Cookie") {
			t.Errorf("%s: a header was injected: %.300q", name, answer)
		}
	}
	if answer := raw(t, l, []byte(get+"Authorization: Bearer "+token+"\r\n\r\n")); !strings.HasPrefix(answer, "HTTP/1.1 200 OK") {
		t.Errorf("afterwards: %q", answer)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := newRig(t).server.cfg
	for name, spoil := range map[string]func(*Config){
		"needed": func(c *Config) { c.Secret = nil },
		"rate":   func(c *Config) { c.FailedLogins = Rate{N: 5} },
		"origin": func(c *Config) { c.TrustedOrigins = []string{"not an origin"} },
	} {
		bad := good
		spoil(&bad)
		bad.Registry = prometheus.NewRegistry()
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// BenchmarkGetMe measures what the gateway itself costs a request: its home answers at once.
func BenchmarkGetMe(b *testing.B) {
	r := newRig(b)
	token := r.user("alice")
	me := ok(record.UserResult{User: r.home.users["alice"].User, Rev: 1})
	r.homes.cfg.Log = instantLog{r.homes, me}
	req, err := http.NewRequest("GET", "/api/me", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.RemoteAddr = "192.0.2.1:1"
	r.server.log = slog.New(slog.DiscardHandler)
	w := &discardResponse{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		r.server.ServeHTTP(w, req)
		if w.status != 200 {
			b.Fatal(w.status)
		}
	}
}

// instantLog answers every command with one reply.
type instantLog struct {
	homes *Homes
	reply record.Reply
}

func (l instantLog) TryProduce(rec maru.LogRecord, done func(int64, error)) {
	done(0, nil)
	cmd, err := record.ParseCommand(rec.Value)
	if err != nil {
		panic(err)
	}
	l.reply.ID = cmd.ID
	l.homes.HandleDelivery(delivery(testAddress, l.reply))
}

// discardResponse keeps the status only.
type discardResponse struct {
	header http.Header
	status int
}

func (w *discardResponse) Header() http.Header         { return w.header }
func (w *discardResponse) Write(b []byte) (int, error) { return len(b), nil }
func (w *discardResponse) WriteHeader(status int)      { w.status = status }
