package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/auth"
	"maru/record"
)

func loginOf(id, password string) string {
	b, _ := json.Marshal(map[string]string{"userId": id, "userPw": password})
	return string(b)
}

func TestFailedLoginByteForByte(t *testing.T) {
	r := newRig(t)
	r.home.add("a", "12345678")
	const failed = `{"requestUserID":"aa","isAccept":false,"user":{"userId":null,"userPw":null,"email":null,"userName":null,"userStatus":null,"joinDate":null,"loginDate":null,"logoutDate":null}}`
	w := r.do("POST", "/api/login", loginOf("aa", "12345678"))
	want(t, w, 401, failed)
	if w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Error("content type", w.Header().Get("Content-Type"))
	}
	want(t, r.do("POST", "/api/login", loginOf("a", "wrong")), 401, strings.Replace(failed, `"aa"`, `"a"`, 1))
}

func TestLoginAnswerByteForByte(t *testing.T) {
	r := newRig(t)
	r.home.add("a", "12345678")
	u := r.home.users["a"]
	u.Email, u.UserName, u.UserStatus = "a@naver.com", "user_A", "안녕하세요!<&>"
	w := r.do("POST", "/api/login", loginOf("A", "12345678"))
	want(t, w, 200)
	const answer = `{"requestUserID":"A","isAccept":true,"user":{"userId":"a","userPw":null,"email":"a@naver.com","userName":"user_A","userStatus":"안녕하세요!<&>","joinDate":[2022,12,17],"loginDate":[2022,12,17],"logoutDate":[2022,12,17]},"token":"`
	rest, found := strings.CutPrefix(w.Body.String(), answer)
	token, expires, _ := strings.Cut(rest, `","expiresAt":"`)
	at, err := time.Parse(time.RFC3339, strings.TrimSuffix(expires, `"}`))
	if !found || err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if left := time.Until(at); left < 59*time.Minute || left > time.Hour {
		t.Errorf("expires in %s", left)
	}
	want(t, r.do("GET", "/api/me", "", bearerToken(token)), 200)
}

// TestWhoExistsDoesNotShow: an unknown user, a wrong password and what can be
// neither are answered alike, headers included.
func TestWhoExistsDoesNotShow(t *testing.T) {
	r := newRig(t, func(c *Config, _ *HomesConfig) { c.FailedLogins.N = -1 })
	r.home.add("alice", "12345678")
	var first http.Header
	for _, c := range []struct{ id, password string }{
		{"alice", "wrong password"}, {"nobody", "12345678"}, {"not possible!", "12345678"}, {strings.Repeat("x", 500), "12345678"},
		{"", "12345678"}, {"alice", ""}, {"alice", strings.Repeat("p", 1025)}, {"<script>&", "x"}, {"한글", "x"},
	} {
		w := r.do("POST", "/api/login", loginOf(c.id, c.password))
		want(t, w, 401)
		answer := parse[record.LoginAnswer](t, w)
		if answer != (record.LoginAnswer{RequestUserID: c.id}) {
			t.Errorf("%q: %s", c.id, w.Body)
		}
		h := w.Header().Clone()
		h.Del("X-Request-Id")
		h.Del("Content-Length") // follows from the id that was given
		if first == nil {
			first = h
		}
		if fmt.Sprint(h) != fmt.Sprint(first) {
			t.Errorf("%q: headers %v, others %v", c.id, h, first)
		}
	}
}

// TestImpossibleIDsCostAsMuch: where no home verifies, the gateway does.
func TestImpossibleIDsCostAsMuch(t *testing.T) {
	r := newRig(t)
	jobs := func() uint64 { // a job that was answered counts as running or done
		s := r.server.cfg.Pool.Stats()
		return s.Done + uint64(s.Running)
	}
	for _, c := range []struct{ id, password string }{{"not possible!", "12345678"}, {"alice", ""}} {
		before := jobs()
		want(t, r.do("POST", "/api/login", loginOf(c.id, c.password)), 401)
		if jobs() != before+1 {
			t.Errorf("%q: no password was checked", c.id)
		}
	}
	if r.home.produced() != 0 {
		t.Error("a home was asked")
	}
}

func TestBusyPoolIsToldApartFromFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		release := make(chan struct{})
		for {
			if err := r.server.cfg.Pool.Submit(t.Context(), func(error) { <-release }); err != nil {
				break
			}
		}
		for _, target := range []string{"/api/login", "/api/users"} {
			id := "not possible!"
			if target == "/api/users" {
				id = "carol"
			}
			w := r.do("POST", target, loginOf(id, "a long pass phrase"))
			wantProblem(t, w, maru.CodeTooMany)
			if w.Header().Get("Retry-After") != "1" {
				t.Error("no Retry-After")
			}
		}
		close(release)
	})
}

func TestPasswordsNeverReachTheLog(t *testing.T) {
	r := newRig(t)
	r.home.add("alice", "MARKER-password")
	want(t, r.do("POST", "/api/login", loginOf("alice", "MARKER-password")), 200)
	want(t, r.do("POST", "/api/users", `{"userId":"bob","userPw":"MARKER-password"}`), 201)
	if r.home.contains("MARKER") {
		t.Error("a readable password was produced")
	}
}

// Homes take a request for as old as it says: one that was kept and is put on the
// topic again later must show its age.
func TestLoginClaimsTellWhenTheyWereSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.home.add("alice", "12345678")
		time.Sleep(time.Hour)
		want(t, r.do("POST", "/api/login", loginOf("alice", "12345678")), 200)
		rec := r.home.records[len(r.home.records)-1]
		payload, err := r.home.claims.Verify("alice", string(rec.Header(record.HeaderID)), string(rec.Header(record.HeaderClaims)))
		if err != nil {
			t.Fatal(err)
		}
		if claims, err := parseClaims(payload); err != nil || claims.SignedAt != time.Now().UnixMilli() {
			t.Errorf("claims %+v, %v", claims, err)
		}
	})
}

func TestLockedAccount(t *testing.T) {
	r := newRig(t)
	r.home.add("alice", "12345678")
	known := header("Maru-Device", deviceToken(t, r, "alice"))
	for range testLockAfter {
		want(t, r.do("POST", "/api/login", loginOf("alice", "wrong")), 401)
	}
	w := r.do("POST", "/api/login", loginOf("alice", "12345678"))
	wantProblem(t, w, maru.CodeTooMany)
	if got := w.Header().Get("Retry-After"); got != "91" {
		t.Errorf("Retry-After %q, want 90.5 s rounded up", got)
	}
	old, err := r.server.tokens.SignDevice(auth.DeviceToken{User: "alice", Device: "d", IssuedAt: time.Now().Add(-deviceAge - time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for name, device := range map[string]string{"of another user": deviceToken(t, r, "bob"), "too old": old, "garbage": "xyz"} {
		t.Log(name)
		wantProblem(t, r.do("POST", "/api/login", loginOf("alice", "12345678"), header("Maru-Device", device)), maru.CodeTooMany)
	}
	want(t, r.do("POST", "/api/login", loginOf("alice", "12345678"), known), 200)
}

func TestDeviceTokenOfALoginIsKnownAtTheNext(t *testing.T) {
	r := newRig(t)
	r.home.add("alice", "12345678")
	first := r.do("POST", "/api/login", loginOf("alice", "12345678"))
	device := first.Header().Get("Maru-Device")
	cookies := r.do("POST", "/api/login?cookie=1", loginOf("alice", "12345678")).Result().Cookies()
	r.home.users["alice"].failures = testLockAfter
	again := r.do("POST", "/api/login", loginOf("alice", "12345678"), header("Maru-Device", device))
	want(t, again, 200)
	a, _ := r.server.tokens.ParseDevice(device)
	b, err := r.server.tokens.ParseDevice(again.Header().Get("Maru-Device"))
	if err != nil || a.Device != b.Device {
		t.Errorf("the device was %+v and became %+v, %v", a, b, err)
	}
	i := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == "maru-device" })
	want(t, r.do("POST", "/api/login", loginOf("alice", "12345678"), func(q *http.Request) { q.AddCookie(cookies[i]) }), 200)
}

func cookieNamed(w *httptest.ResponseRecorder, name string) *http.Cookie {
	for _, c := range w.Result().Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func TestCookieLogin(t *testing.T) {
	r := newRig(t, func(c *Config, _ *HomesConfig) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	r.home.add("alice", "12345678")
	for _, c := range []struct {
		name          string
		way           []with
		session       string
		device        string
		secure        bool
		notUnderstood string // the other name, which must not count
	}{
		{"plain", nil, "maru", "maru-device", false, "__Host-maru"},
		{"behind a proxy", []with{from("10.1.2.3:1"), header("X-Forwarded-Proto", "https")}, "__Host-maru", "__Secure-maru-device", true, "maru"},
		{"lying about TLS", []with{from("192.0.2.9:1"), header("X-Forwarded-Proto", "https")}, "maru", "maru-device", false, "__Host-maru"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := r.do("POST", "/api/login?cookie=1", loginOf("alice", "12345678"), c.way...)
			want(t, w, 200)
			if strings.Contains(w.Body.String(), "token") || w.Header().Get("Maru-Device") != "" {
				t.Errorf("scripts can read a token: %s %v", w.Body, w.Header())
			}
			session, device := cookieNamed(w, c.session), cookieNamed(w, c.device)
			if session == nil || device == nil {
				t.Fatalf("cookies %v", w.Result().Cookies())
			}
			if !session.HttpOnly || session.SameSite != http.SameSiteStrictMode || session.Path != "/" || session.Secure != c.secure || session.Domain != "" || time.Until(session.Expires) < 50*time.Minute {
				t.Errorf("session cookie %+v", session)
			}
			if !device.HttpOnly || device.SameSite != http.SameSiteStrictMode || device.Path != "/api/login" || device.Secure != c.secure || device.MaxAge != 365*24*3600 {
				t.Errorf("device cookie %+v", device)
			}
			asCookie := append([]with{header("Cookie", c.session+"="+session.Value)}, c.way...)
			want(t, r.do("GET", "/api/me", "", asCookie...), 200)
			wrong := append([]with{header("Cookie", c.notUnderstood+"="+session.Value)}, c.way...)
			wantProblem(t, r.do("GET", "/api/me", "", wrong...), maru.CodeUnauthenticated)
			out := r.do("POST", "/api/logout", "", asCookie...)
			want(t, out, 204)
			if gone := cookieNamed(out, c.session); gone == nil || gone.MaxAge >= 0 || gone.Value != "" {
				t.Errorf("logout leaves the cookie: %+v", gone)
			}
			ended := r.do("GET", "/api/me", "", asCookie...)
			wantProblem(t, ended, maru.CodeUnauthenticated)
			if gone := cookieNamed(ended, c.session); gone == nil || gone.MaxAge >= 0 {
				t.Error("the cookie of an ended session stays")
			}
		})
	}
	wantProblem(t, r.do("POST", "/api/login?cookie=maybe", loginOf("alice", "12345678")), maru.CodeInvalid, "cookie")
	wantProblem(t, r.do("POST", "/api/login?cookie=%zz", loginOf("alice", "12345678")), maru.CodeInvalid)
}

func TestLogout(t *testing.T) {
	r := newRig(t)
	one := r.user("alice")
	login := func() string {
		w := r.do("POST", "/api/login", loginOf("alice", "correct horse alice"))
		want(t, w, 200)
		return parse[loginBody](t, w).Token
	}
	two, three := login(), login()
	want(t, r.do("POST", "/api/logout", "", bearerToken(two)), 204)
	wantProblem(t, r.do("GET", "/api/me", "", bearerToken(two)), maru.CodeUnauthenticated)
	want(t, r.do("GET", "/api/me", "", bearerToken(one)), 200)
	wantProblem(t, r.do("POST", "/api/logout?all=x", "", bearerToken(one)), maru.CodeInvalid, "all")
	want(t, r.do("POST", "/api/logout?all=true", "", bearerToken(one)), 204)
	wantProblem(t, r.do("GET", "/api/me", "", bearerToken(one)), maru.CodeUnauthenticated)
	wantProblem(t, r.do("GET", "/api/me", "", bearerToken(three)), maru.CodeUnauthenticated)
}

func TestLogoutAgainWithItsKey(t *testing.T) {
	r := newRig(t)
	token, key := bearerToken(r.user("alice")), header("Idempotency-Key", "k")
	want(t, r.do("POST", "/api/logout", "", token, key), 204)
	want(t, r.do("POST", "/api/logout", "", token, key), 204) // the same command, though its session is over
	wantProblem(t, r.do("POST", "/api/logout?all=true", "", token, key), maru.CodeUnauthenticated)
	wantProblem(t, r.do("POST", "/api/logout", "", token), maru.CodeUnauthenticated)
}

func TestFailedLoginsAreLimitedByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.home.add("alice", "12345678")
		fail := func(addr string) *httptest.ResponseRecorder {
			return r.do("POST", "/api/login", loginOf("nobody", "x"), from(addr))
		}
		for range 10 {
			want(t, r.do("POST", "/api/login", loginOf("alice", "12345678"), from("198.51.100.1:6")), 200) // counts nothing
			want(t, fail("198.51.100.1:5"), 401)
		}
		w := fail("198.51.100.1:7")
		wantProblem(t, w, maru.CodeTooMany)
		if got := w.Header().Get("Retry-After"); got != "6" {
			t.Errorf("Retry-After %q, want 6 s for ten a minute", got)
		}
		before := r.home.produced()
		wantProblem(t, r.do("POST", "/api/login", loginOf("alice", "12345678"), from("198.51.100.1:8")), maru.CodeTooMany)
		wantProblem(t, r.do("POST", "/api/login", loginOf("alice", "12345678"), from("198.51.100.1:8"), header("X-Forwarded-For", "203.0.113.7")), maru.CodeTooMany)
		if r.home.produced() != before {
			t.Error("a home was asked")
		}
		want(t, fail("198.51.100.2:5"), 401)
		time.Sleep(6 * time.Second)
		want(t, fail("198.51.100.1:5"), 401)
	})
}

// A home without room for a check has seen no guess: only a lock counts.
func TestBusyHomesCostNoAttempts(t *testing.T) {
	r := newRig(t, func(c *Config, _ *HomesConfig) { c.FailedLogins = Rate{N: 2, Per: time.Hour} })
	r.home.add("alice", "12345678")
	retryAfter := int64(1000)
	r.home.override = func(record.Command) (record.Reply, bool) {
		return record.Reply{Code: maru.CodeTooMany, RetryAfterMS: retryAfter}, true
	}
	try := func() string {
		w := r.do("POST", "/api/login", loginOf("alice", "12345678"))
		wantProblem(t, w, maru.CodeTooMany)
		return w.Header().Get("Retry-After")
	}
	for range 5 {
		if got := try(); got != "1" {
			t.Fatalf("Retry-After %q of a busy home", got)
		}
	}
	retryAfter = 60_000
	for range 2 {
		if got := try(); got != "60" {
			t.Fatalf("Retry-After %q of a locked account", got)
		}
	}
	if got := try(); got == "60" {
		t.Error("attempts at a locked account cost nothing")
	}
}

func TestWrongCurrentPasswordsAreLimited(t *testing.T) {
	r := newRig(t, func(c *Config, _ *HomesConfig) { c.FailedLogins = Rate{N: 2, Per: time.Hour} })
	token := bearerToken(r.user("alice"))
	for range 2 {
		w := r.do("PUT", "/api/me/password", `{"userPw":"a wrong guess","newPw":"battery staple"}`, token)
		wantProblem(t, w, maru.CodeInvalidPassword)
	}
	w := r.do("PUT", "/api/me/password", `{"userPw":"correct horse alice","newPw":"battery staple"}`, token)
	wantProblem(t, w, maru.CodeTooMany)
}

func TestLoginWithAnIdempotencyKey(t *testing.T) {
	r := newRig(t)
	r.home.add("alice", "12345678")
	key := header("Idempotency-Key", "k 1")
	one := parse[loginBody](t, r.do("POST", "/api/login", loginOf("alice", "12345678"), key))
	two := parse[loginBody](t, r.do("POST", "/api/login", loginOf("alice", "12345678"), key))
	if one.Answer() != two.Answer() || one.ExpiresAt != two.ExpiresAt || len(r.home.users["alice"].sessions) != 2 { // the one of add, and this
		t.Errorf("the repetition opened a session: %+v", r.home.users["alice"].sessions)
	}
	// The key does not stand for the password: with another it is another attempt.
	want(t, r.do("POST", "/api/login", loginOf("alice", "guess"), key), 401)
	want(t, r.do("POST", "/api/login", loginOf("nobody", "12345678"), key), 401)
}

// Answer is what two answers to one login have in common; the user is told by name.
func (b loginBody) Answer() string { return b.RequestUserID + *b.User.UserID }

func TestAcceptedLoginWithoutSessionIsAnError(t *testing.T) {
	r := newRig(t)
	r.home.override = func(record.Command) (record.Reply, bool) {
		return ok(record.LoginResultBody{Answer: record.LoginAnswer{IsAccept: true}}), true
	}
	wantProblem(t, r.do("POST", "/api/login", loginOf("alice", "12345678")), maru.CodeInternal)
}
