// Package pgtest gives tests a real PostgreSQL server: one per test binary, and in it a database of
// its own for each test.
//
// It owns the server's process, its data and its role; both live no longer than the test binary, even
// one that is killed. It knows nothing about maru's tables. The server runs with synced writes and
// without root's rights. Without MARU_TEST_POSTGRES=1 in the environment the tests that ask for it
// are skipped.
package pgtest

import (
	"context"
	"os"
	"sync"
	"testing"
)

// Require skips the test unless MARU_TEST_POSTGRES=1 asks for a real server.
func Require(t testing.TB) {
	t.Helper()
	if os.Getenv("MARU_TEST_POSTGRES") != "1" {
		t.Skip("needs a PostgreSQL server; set MARU_TEST_POSTGRES=1 to run it, as make test does")
	}
}

var shared struct {
	mu     sync.Mutex
	server *Server
	err    error
}

// Database returns the address (postgres://…) of an empty database, which is dropped at the end of
// the test together with the connections that are still open. The first call in a test binary starts
// the server; it ends with the binary, or before it by StopShared.
func Database(t testing.TB) string {
	t.Helper()
	Require(t)
	shared.mu.Lock()
	if shared.server == nil && shared.err == nil {
		// Not the test's context: the server outlives it.
		shared.server, shared.err = Launch(context.Background(), Options{})
	}
	s, err := shared.server, shared.err
	shared.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	return s.Database(t)
}

// StopShared ends the server of Database, if there is one. It is for a TestMain that checks for
// goroutines left behind.
func StopShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		return nil
	}
	err := shared.server.Close()
	shared.server = nil
	return err
}

// Start starts a server for one test alone, which may stop, kill and pause it.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	Require(t)
	s, err := Launch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.logOnFailure(t)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Database is the function of the same name, on this server. The server must run again when the
// test ends, unless it was made by Start.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name, err := s.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.logOnFailure(t)
		// The test's context has ended. A server that does not run keeps nothing for long.
		if s.running() {
			if err := s.DropDatabase(context.WithoutCancel(t.Context()), name); err != nil {
				t.Error(err)
			}
		}
	})
	return s.DSN(name)
}

func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.Running()
}

func (s *Server) logOnFailure(t testing.TB) {
	if t.Failed() {
		t.Logf("last lines of PostgreSQL:\n%s", s.log.Tail(40))
	}
}
