package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"maru"
	"maru/store"
	"maru/store/storetest"
)

// The connection is lost around COMMIT: whatever really happened, the store says
// that it does not know, and a claim anew finds out.
func TestPostgresLosesCommit(t *testing.T) {
	for _, c := range []struct {
		name    string
		cut     func(*proxy, context.CancelFunc)
		written bool
	}{
		{"request lost", func(p *proxy, _ context.CancelFunc) { p.onRequest("COMMIT", p.closeAll) }, false},
		{"answer lost", func(p *proxy, _ context.CancelFunc) { p.onAnswer("COMMIT", p.closeAll) }, true},
		{"context cancelled", func(p *proxy, cancel context.CancelFunc) { p.onAnswer("COMMIT", cancel) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := freshPostgres(t)
			direct := open(t, store.Config{DSN: dsn})
			claim, err := direct.Claim(t.Context(), maru.ClaimRequest{Owner: "one"})
			if err != nil {
				t.Fatal(err)
			}
			p := newProxy(t, dsn)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := open(t, store.Config{DSN: p.dsn, Hook: func(_ context.Context, point string) error {
				if point == store.PointCheckpointCommit {
					c.cut(p, cancel)
				}
				return nil
			}})
			err = s.Checkpoint(ctx, &maru.Checkpoint{Epoch: claim.Epoch, Next: 5, Users: []maru.UserRow{storetest.User("alice")}})
			if !errors.Is(err, maru.ErrOutcomeUnknown) {
				t.Fatalf("error is %v, want an unknown outcome", err)
			}
			// The claim waits for the row until the server has ended the transaction.
			again, err := direct.Claim(t.Context(), maru.ClaimRequest{Owner: "two"})
			if want := map[bool]int64{true: 5, false: 0}[c.written]; err != nil || again.Next != want {
				t.Errorf("the claim after it is %+v (%v), want next %d", again, err, want)
			}
		})
	}
}

// A connection lost before COMMIT is definite, and the pool replaces it.
func TestPostgresLosesConnectionBefore(t *testing.T) {
	dsn := freshPostgres(t)
	p := newProxy(t, dsn)
	lose := true
	s := open(t, store.Config{DSN: p.dsn, Hook: func(_ context.Context, point string) error {
		if point == store.PointCheckpointBegin && lose {
			lose = false
			p.onRequest("UPDATE slots", p.closeAll)
		}
		return nil
	}})
	c, err := s.Claim(t.Context(), maru.ClaimRequest{Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	cp := &maru.Checkpoint{Epoch: c.Epoch, Next: 5}
	if err := s.Checkpoint(t.Context(), cp); err == nil || errors.Is(err, maru.ErrOutcomeUnknown) {
		t.Errorf("error is %v, want a definite one", err)
	}
	if err := s.Checkpoint(t.Context(), cp); err != nil {
		t.Errorf("again: %v", err)
	}
}

// trigger calls f, once, in place of passing on the bytes that contain match.
type trigger struct {
	match string
	f     func()
}

// proxy stands between a store and PostgreSQL. mu guards all its fields.
type proxy struct {
	dsn string

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	request trigger // for what clients send
	answer  trigger // for what the server sends
}

func newProxy(t *testing.T, dsn string) *proxy {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: l.Addr().String(), Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	p := &proxy{dsn: u.String(), conns: map[net.Conn]struct{}{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				t.Errorf("reach PostgreSQL: %v", err)
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns[client], p.conns[server] = struct{}{}, struct{}{}
			p.mu.Unlock()
			all.Go(func() { p.pass(server, client, &p.request) })
			all.Go(func() { p.pass(client, server, &p.answer) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.closeAll()
		all.Wait()
	})
	return p
}

func (p *proxy) pass(to io.WriteCloser, from io.ReadCloser, tr *trigger) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		f := tr.f
		hit := f != nil && bytes.Contains(buf[:n], []byte(tr.match))
		if hit {
			tr.f = nil
		}
		p.mu.Unlock()
		if hit {
			f()
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) onRequest(match string, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.request = trigger{match, f}
}

func (p *proxy) onAnswer(match string, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = trigger{match, f}
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}
