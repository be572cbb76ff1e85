package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"maru"
)

var testProxies = proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestClientAddress(t *testing.T) {
	for _, c := range []struct {
		peer string
		xff  []string
		want string
	}{
		{"192.0.2.1:99", nil, "192.0.2.1"},
		{"192.0.2.1:99", []string{"203.0.113.9"}, "192.0.2.1"}, // not a proxy of ours: what it says counts nothing
		{"192.0.2.1:99", []string{"10.0.0.1"}, "192.0.2.1"},
		{"10.0.0.1:99", nil, "10.0.0.1"},
		{"10.0.0.1:99", []string{"203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1:99", []string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"}, // the left part is the client's own invention
		{"10.0.0.1:99", []string{"1.1.1.1", "203.0.113.9 , 10.0.0.2"}, "203.0.113.9"},
		{"10.0.0.1:99", []string{"203.0.113.9", "10.0.0.3", "10.0.0.2"}, "203.0.113.9"},
		{"10.0.0.1:99", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:99", []string{"203.0.113.9, garbage, 10.0.0.2"}, "10.0.0.2"}, // as far as it can be read
		{"10.0.0.1:99", []string{""}, "10.0.0.1"},
		{"10.0.0.1:99", []string{"unknown"}, "10.0.0.1"},
		{"10.0.0.1:99", []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"10.0.0.1:99", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"10.0.0.1:99", []string{strings.Repeat("10.0.0.2,", 1000)}, "10.0.0.1"},
		{"10.0.0.1:99", []string{"203.0.113.9" + strings.Repeat(",10.0.0.2", maxHops)}, "10.0.0.2"},
		{"[fd00::1%eth0]:99", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"[::ffff:10.0.0.1]:99", []string{"2001:db8::8%zone"}, "2001:db8::8"},
		{"@", []string{"203.0.113.9"}, "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, line := range c.xff {
			r.Header.Add("X-Forwarded-For", line)
		}
		if got, _ := testProxies.client(r); got.String() != c.want {
			t.Errorf("%s %q: %s, want %s", c.peer, c.xff, got, c.want)
		}
	}
}

func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4", "1.2.3.4, 10.0.0.1", ",,,", "[::1]:80,fe80::1%x", "::ffff:10.1.1.1, 9.9.9.9:1", "\x00"} {
		f.Add(s, s)
	}
	peer := netip.MustParseAddr("10.9.9.9")
	f.Fuzz(func(t *testing.T, one, two string) {
		got := testProxies.forwarded(peer, []string{one, two})
		if !got.IsValid() || got.Is4In6() || got.Zone() != "" {
			t.Fatalf("%v is no plain address", got)
		}
		// What the client itself put in front never matters, if a stranger's address stands behind it.
		if first := testProxies.forwarded(peer, []string{one, two, "203.0.113.9"}); first.String() != "203.0.113.9" {
			t.Fatalf("spoofed to %v", first)
		}
	})
}

func TestLimiter(t *testing.T) {
	l := newLimiter(100)
	r := Rate{N: 3, Per: time.Minute}
	now := time.Unix(1_800_000_000, 0)
	event := func(addr string) error {
		a := netip.MustParseAddr(addr)
		if err := l.allow("x", r, a, now); err != nil {
			return err
		}
		l.spend("x", r, a, now)
		return nil
	}
	for range 3 {
		if err := event("192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}
	e := wantCode(t, event("192.0.2.1"), maru.CodeTooMany)
	if e.RetryAfter < 19*time.Second || e.RetryAfter > 20*time.Second {
		t.Errorf("come back after %s, want 20 s", e.RetryAfter)
	}
	if err := l.allow("y", r, netip.MustParseAddr("192.0.2.1"), now); err != nil {
		t.Error("another kind of event is limited with it:", err)
	}
	// The network around has ten times as much: three are used up.
	for i := 2; i <= 10; i++ {
		for range 3 {
			if err := event(fmt.Sprintf("192.0.2.%d", i)); err != nil {
				t.Fatal(i, err)
			}
		}
	}
	wantCode(t, event("192.0.2.200"), maru.CodeTooMany)
	if err := event("192.0.3.1"); err != nil {
		t.Error(err)
	}
	now = now.Add(20 * time.Second)
	if err := event("192.0.2.1"); err != nil {
		t.Error("after the time that was told:", err)
	}
	if err := l.allow("off", Rate{N: -1}, netip.Addr{}, now); err != nil {
		t.Error(err)
	}
}

func TestLimiterDebtIsBounded(t *testing.T) {
	l := newLimiter(100)
	r := Rate{N: 10, Per: time.Minute}
	addr, now := netip.MustParseAddr("192.0.2.1"), time.Unix(1_800_000_000, 0)
	for range 15 { // all under way at once
		l.spend("x", r, addr, now)
	}
	if e := wantCode(t, l.allow("x", r, addr, now), maru.CodeTooMany); e.RetryAfter < 35*time.Second {
		t.Errorf("an overdraft of five is forgiven after %s", e.RetryAfter)
	}
	for range 10_000 {
		l.spend("x", r, addr, now)
	}
	if e := wantCode(t, l.allow("x", r, addr, now), maru.CodeTooMany); e.RetryAfter > 61*time.Minute {
		t.Errorf("locked out for %s", e.RetryAfter)
	}
}

// Whatever one address has under way at once, its neighbours lose no more by it than
// its own rate.
func TestLimiterDebtIsNotTheNeighbours(t *testing.T) {
	l := newLimiter(100)
	r := Rate{N: 10, Per: time.Minute}
	now := time.Unix(1_800_000_000, 0)
	one, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.77")
	for range 6200 {
		l.spend("login", r, one, now)
	}
	wantCode(t, l.allow("login", r, one, now), maru.CodeTooMany)
	for i := range 10 {
		if err := l.allow("login", r, other, now); err != nil {
			t.Fatalf("attempt %d of a neighbour: %v", i, err)
		}
		l.spend("login", r, other, now)
	}
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(50)
	now := time.Unix(1_800_000_000, 0)
	for i := range 10_000 {
		l.spend("x", Rate{N: 1, Per: time.Hour}, netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), now)
	}
	if len(l.buckets) != 50 || l.order.Len() != 50 {
		t.Errorf("%d entries, %d in order", len(l.buckets), l.order.Len())
	}
}

func TestIdempotencyKeys(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	other := bearerToken(r.user("bob"))
	patch := func(name, key string, token with) {
		t.Helper()
		want(t, r.do("PATCH", "/api/me", fmt.Sprintf(`{"userName":%q}`, name), token, header("Idempotency-Key", key)), 200)
	}
	patch("one", "k", token)
	patch("two", "k", token) // the same command: nothing changes
	if got := r.home.users["alice"].UserName; got != "one" {
		t.Errorf("the name is %q", got)
	}
	patch("three", "l", token)
	patch("bob one", "k", other) // another user's key is another key
	if a, b := r.home.users["alice"].UserName, r.home.users["bob"].UserName; a != "three" || b != "bob one" {
		t.Errorf("the names are %q and %q", a, b)
	}
	// Another route, another session and another query are other commands, too.
	key := header("Idempotency-Key", "k")
	want(t, r.do("PUT", "/api/friends/bob", "", token, key), 204)
	want(t, r.do("DELETE", "/api/friends/bob", "", token, key), 204)
	if n := len(r.home.users["alice"].friends); n != 0 {
		t.Errorf("%d friends: the removal was taken for the addition", n)
	}
	// Without a key each request is a command.
	n := len(r.home.outcomes)
	for range 2 {
		want(t, r.do("PATCH", "/api/me", `{"userName":"x"}`, token), 200)
	}
	if len(r.home.outcomes) != n+2 {
		t.Error("requests without a key share a command")
	}
}

func TestRegistrationAgainWithItsKey(t *testing.T) {
	r := newRig(t)
	key := header("Idempotency-Key", "k")
	body := `{"userId":"carol","userPw":"a long pass phrase"}`
	first := r.do("POST", "/api/users", body, key)
	want(t, first, 201)
	want(t, r.do("POST", "/api/users", body, key), 201, first.Body.String())
	// Who does not know the password does not learn what the first one was told.
	wantProblem(t, r.do("POST", "/api/users", strings.Replace(body, "long", "wrong", 1), key), maru.CodeDuplicate)
	wantProblem(t, r.do("POST", "/api/users", body), maru.CodeDuplicate)
}

func TestPasswordChangeAgainWithItsKey(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	key := header("Idempotency-Key", "k")
	body := `{"userPw":"correct horse alice","newPw":"battery staple"}`
	want(t, r.do("PUT", "/api/me/password", body, token, key), 204)
	want(t, r.do("PUT", "/api/me/password", body, token, key), 204)
	wantProblem(t, r.do("PUT", "/api/me/password", body, token), maru.CodeInvalidPassword)
	wantProblem(t, r.do("PUT", "/api/me/password", strings.Replace(body, "staple", "acid", 1), token, key), maru.CodeInvalidPassword)
}

func TestBadIdempotencyKeys(t *testing.T) {
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		if rt.access == system {
			t.Log("changes nothing")
			return
		}
		for _, keys := range [][]string{{""}, {strings.Repeat("k", 201)}, {"a\tb"}, {"a\x7f"}, {"키"}, {"a\xff"}, {"a", "a"}} {
			w := r.do(rt.method, s.target, s.body, bearerToken(token), func(q *http.Request) { q.Header["Idempotency-Key"] = keys })
			wantProblem(t, w, maru.CodeInvalid, "Idempotency-Key")
		}
		want(t, r.do(rt.method, s.target, s.body, bearerToken(token), header("Idempotency-Key", strings.Repeat("~", 200))), s.status)
	})
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"", "k", strings.Repeat("k", 201), "\x00", `"quoted"`, "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		got, err := idempotencyKey(http.Header{"Idempotency-Key": {key}})
		if err == nil && (got != key || key == "" || len(key) > 200 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' })) {
			t.Errorf("%q was taken as %q", key, got)
		}
		if err != nil && got != "" {
			t.Errorf("%q was refused and taken", key)
		}
	})
}

func FuzzPathUser(f *testing.F) {
	for _, s := range []string{"bob", "BOB", "", "..", "../me", "a/b", "\x00", "%2f", "안", strings.Repeat("a", 40), "?x", "#"} {
		f.Add(s)
	}
	r := newRig(f)
	token := bearerToken(r.user("alice"))
	r.user("bob")
	f.Fuzz(func(t *testing.T, id string) {
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/", nil)
		req.URL.Path = "/api/users/" + id
		token(req)
		r.server.ServeHTTP(w, req)
		folded, err := maru.ParseUserID(id)
		exists := err == nil && (folded == "alice" || folded == "bob")
		if exists && w.Code != 200 || !exists && w.Code != 404 && !(id == "" || strings.Trim(id, "/.") == "") {
			t.Errorf("%q: %d %s", id, w.Code, w.Body)
		}
		for name := range w.Header() {
			if name == "Location" || name == "Set-Cookie" {
				t.Errorf("%q sets %s", id, name)
			}
		}
	})
}

func TestDeviceNames(t *testing.T) {
	for agent, name := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                            "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0":                  "Edge on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Whale/4.0 Safari/537.36":                  "Whale on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1":    "Safari on iPhone",
		"Mozilla/5.0 (Linux; Android 15; SM-S921N) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                      "Safari on Mac",
		"curl/8.5.0":             "curl/8.5.0",
		"":                       "unknown device",
		"\x1b[31m\r\n\x00":       "[31m",
		"한글 앱":                   "한글 앱",
		"Mozilla/5.0":            "Mozilla/5.0",
		"bad \xff bytes":         "bad  bytes",
		"a\u202eb\u2028c":        "abc",
		strings.Repeat("가", 300): strings.Repeat("가", 120),
	} {
		if got := deviceName(agent); got != name {
			t.Errorf("%q: %q, want %q", agent, got, name)
		}
	}
}

func FuzzDeviceName(f *testing.F) {
	f.Add("curl/8.5.0")
	f.Add("Mozilla/5.0 (X11; Linux) Firefox/1")
	f.Add("\u0958" + strings.Repeat("\u0958", 119)) // one character that NFC writes as two
	f.Add("\xff\x00\u2029")
	f.Fuzz(func(t *testing.T, agent string) {
		name := deviceName(agent)
		if name == "" || utf8.RuneCountInString(name) > maru.MaxDevice || strings.ContainsFunc(name, unicode.IsControl) {
			t.Errorf("%q: %q", agent, name)
		}
		if err := maru.CheckText("device", name, maru.MaxDevice); err != nil {
			t.Errorf("%q: a home would refuse %q: %v", agent, name, err)
		}
	})
}

func TestSecretsPrintAsPlaceholders(t *testing.T) {
	p := secret("MARKER")
	text, err := json.Marshal(struct{ P secret }{p})
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "p", p, "in", struct{ P secret }{p})
	for _, s := range []string{string(text), logged.String(), fmt.Sprintf("%v %+v %#v %s %q %x %d", p, p, p, p, p, p, p), fmt.Sprint(struct{ P secret }{p})} {
		if strings.Contains(s, "MARKER") || strings.Contains(s, "4d41524b") || strings.Contains(s, "77 65") || !strings.Contains(s, hidden) {
			t.Errorf("printed as %s", s)
		}
	}
}
