package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// Limits of guessing, as notes and contract have them.
const (
	failuresPerAccount = 5  // in half an hour
	failuresPerAddress = 10 // a minute
)

// stuffing is a maru behind a proxy, so that a test can come from many addresses.
func stuffing(t *testing.T, data string) *process {
	t.Helper()
	return serve(t, "solo", data, "--kafka-listen", "", "--trusted-proxies", "127.0.0.0/8")
}

// from sends a login from an address and wants a status.
func (p *process) from(t *testing.T, status int, address, user, password string, header ...string) answer {
	t.Helper()
	a := p.do(t, status, "POST", "/api/login", credentials(user, password), append(header, "X-Forwarded-For", address)...)
	if status == http.StatusTooManyRequests {
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || s < 1 || s > 30*60 {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	return a
}

// elsewhere is an address in a network from which nobody came before.
func elsewhere(n int) string { return fmt.Sprintf("203.%d.113.7", n) }

func TestAccountLocks(t *testing.T) {
	data := t.TempDir()
	p := stuffing(t, data)
	p.register(t, "alice", "right password")
	p.register(t, "bob", "right password")
	device := p.from(t, http.StatusOK, elsewhere(0), "alice", "right password").header.Get("Maru-Device")
	if device == "" {
		t.Fatal("no device token")
	}
	// A user and an id that nobody has are locked alike.
	for _, user := range []string{"alice", "nobody"} {
		for i := range failuresPerAccount {
			p.from(t, http.StatusUnauthorized, elsewhere(1+i), user, "wrong password")
		}
	}
	check := func(p *process, when string) {
		t.Helper()
		a := p.from(t, http.StatusTooManyRequests, elsewhere(50), "alice", "right password")
		b := p.from(t, http.StatusTooManyRequests, elsewhere(51), "nobody", "right password")
		if a.body != b.body {
			t.Errorf("%s: a locked user is answered with %s and a locked nobody with %s", when, a.body, b.body)
		}
		p.from(t, http.StatusTooManyRequests, elsewhere(52), "alice", "right password", "Maru-Device", device+"x")
		p.from(t, http.StatusOK, elsewhere(53), "alice", "right password", "Maru-Device", device)
		p.from(t, http.StatusOK, elsewhere(54), "bob", "right password", "Maru-Device", device) // of alice: bob is not locked
	}
	check(p, "at first")
	p.terminate(t)
	p = stuffing(t, data)
	check(p, "after a stop and a start")
	if err := p.Stop(0); err != nil {
		t.Fatal(err)
	}
	p = stuffing(t, data)
	check(p, "after kill -9 and a start")
	p.terminate(t)
}

func TestAddressLimit(t *testing.T) {
	p := stuffing(t, t.TempDir())
	p.register(t, "alice", "right password")
	p.exhaust(t, failuresPerAddress, func(int) string { return "198.51.100.1" })
	// The address may try nothing more, not even what is right.
	p.from(t, http.StatusTooManyRequests, "198.51.100.1", "alice", "right password")
	// Others may, in the same network too until that has had ten times as many.
	p.from(t, http.StatusOK, "198.51.100.2", "alice", "right password")
	p.exhaust(t, 10*failuresPerAddress, func(n int) string { return fmt.Sprint("198.51.102.", 1+n/(failuresPerAddress-1)) })
	p.from(t, http.StatusTooManyRequests, "198.51.102.250", "alice", "right password")
	p.from(t, http.StatusOK, "198.51.103.1", "alice", "right password")
	p.terminate(t)
}

// Whoever does not come through a trusted proxy cannot choose an address.
func TestAddressIsNotChosen(t *testing.T) {
	p := serve(t, "solo", t.TempDir(), "--kafka-listen", "", "--failed-logins", "3/1h")
	for i := range 3 {
		p.from(t, http.StatusUnauthorized, elsewhere(i), "alice", "wrong password")
	}
	p.from(t, http.StatusTooManyRequests, elsewhere(99), "alice", "wrong password")
	p.terminate(t)
}

// exhaust fails logins of different users until no more may fail: as many as a
// minute allows, and what comes back while it tries.
func (p *process) exhaust(t *testing.T, perMinute int, address func(n int) string) {
	t.Helper()
	began, n := time.Now(), 0
	for ; n < 3*perMinute; n++ {
		a, err := p.send("POST", "/api/login", credentials(fmt.Sprintf("stuffed-%d-%d", perMinute, n), "wrong password"), "X-Forwarded-For", address(n))
		if err != nil {
			t.Fatal(err)
		}
		if a.status == http.StatusTooManyRequests {
			break
		}
		if a.status != http.StatusUnauthorized {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
	more := int(time.Since(began).Minutes() * float64(perMinute))
	if n < perMinute || n > perMinute+more+1 {
		t.Fatalf("%d logins failed in %v until no more might, want %d to %d", n, time.Since(began), perMinute, perMinute+more+1)
	}
}
