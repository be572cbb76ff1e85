package gateway

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/auth"
	"maru/record"
)

// sample is a request that succeeds on a fresh rig with the users alice and bob.
type sample struct {
	target string
	body   string
	status int
}

// samples has one request for each line of the route table.
var samples = map[string]sample{
	"POST /api/users":              {"/api/users", `{"userId":"carol","userPw":"a long pass phrase"}`, 201},
	"POST /api/login":              {"/api/login", `{"userId":"alice","userPw":"correct horse alice"}`, 200},
	"POST /api/logout":             {"/api/logout", "", 204},
	"GET /api/me":                  {"/api/me", "", 200},
	"PATCH /api/me":                {"/api/me", `{"userName":"Alice"}`, 200},
	"PUT /api/me/password":         {"/api/me/password", `{"userPw":"correct horse alice","newPw":"battery staple"}`, 204},
	"GET /api/me/sessions":         {"/api/me/sessions", "", 200},
	"DELETE /api/me/sessions/{id}": {"/api/me/sessions/SESSION", "", 204},
	"GET /api/users":               {"/api/users?ids=bob", "", 200},
	"GET /api/users/{userId}":      {"/api/users/bob", "", 200},
	"GET /api/friends":             {"/api/friends", "", 200},
	"PUT /api/friends/{userId}":    {"/api/friends/bob", `{"alias":"Bobby"}`, 204},
	"DELETE /api/friends/{userId}": {"/api/friends/bob", "", 204},
	"GET /healthz":                 {"/healthz", "", 200},
	"GET /readyz":                  {"/readyz", "", 200},
	"GET /metrics":                 {"/metrics", "", 200},
}

// eachRoute runs check for every line of the route table, with a fresh rig and the
// sample of the line.
func eachRoute(t *testing.T, check func(t *testing.T, r *rig, rt route, s sample, token string)) {
	for _, rt := range routeTable {
		name := rt.method + " " + rt.pattern
		s, ok := samples[name]
		if !ok {
			t.Errorf("route %s has no sample here: add one", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			session := r.home.add("alice", "correct horse alice")
			r.home.add("bob", "correct horse bob")
			s.target = strings.Replace(s.target, "SESSION", session, 1)
			check(t, r, rt, s, r.token("alice", session))
		})
	}
}

func changesState(rt route) bool { return rt.method != http.MethodGet }

func TestEveryRouteAnswersItsSample(t *testing.T) {
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		w := r.do(rt.method, s.target, s.body, bearerToken(token))
		want(t, w, s.status)
		for name, value := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: %q, want %q", name, got, value)
			}
		}
		if w.Header().Get("X-Request-Id") == "" {
			t.Error("no request id")
		}
		if rt.access != system && s.status != 204 && w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("content type %q", w.Header().Get("Content-Type"))
		}
	})
}

func TestSignedInRoutesWantALivingSession(t *testing.T) {
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		if rt.access != signedIn {
			t.Log("anybody may")
			return
		}
		session := r.home.users["alice"].sessions[0].ID
		expired, err := r.server.tokens.Sign(auth.Token{User: "alice", Session: session, IssuedAt: time.Now().Add(-time.Hour), ExpiresAt: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := auth.NewTokens(auth.NewSecret()).Sign(auth.Token{User: "alice", Session: session, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		before := r.home.produced()
		for name, credential := range map[string]with{
			"none":        func(*http.Request) {},
			"garbage":     bearerToken("garbage"),
			"empty":       header("Authorization", "Bearer"),
			"basic":       header("Authorization", "Basic "+token),
			"expired":     bearerToken(expired),
			"foreign":     bearerToken(foreign),
			"no user":     bearerToken(r.token("not a user", session)),
			"no session":  bearerToken(r.token("alice", "zz")),
			"twice":       func(q *http.Request) { bearerToken(token)(q); bearerToken(token)(q) },
			"wrong first": func(q *http.Request) { bearerToken("x")(q); header("Cookie", "maru="+token)(q) },
			"device":      bearerToken(deviceToken(t, r, "alice")),
		} {
			t.Run(name, func(t *testing.T) {
				w := r.do(rt.method, s.target, s.body, credential)
				wantProblem(t, w, maru.CodeUnauthenticated)
				if w.Header().Get("WWW-Authenticate") != "Bearer" {
					t.Error("no WWW-Authenticate")
				}
			})
		}
		if r.home.produced() != before {
			t.Error("a home was asked on behalf of somebody who is not signed in")
		}
		t.Run("ended session", func(t *testing.T) {
			w := r.do(rt.method, s.target, s.body, bearerToken(r.token("alice", maru.NewCommandID().Session())))
			wantProblem(t, w, maru.CodeUnauthenticated)
		})
	})
}

func deviceToken(t *testing.T, r *rig, user string) string {
	text, err := r.server.tokens.SignDevice(auth.DeviceToken{User: user, Device: "d", IssuedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWrongMethodsAreRefused(t *testing.T) {
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"}
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		var allow []string
		for _, other := range routeTable {
			if other.pattern == rt.pattern {
				allow = append(allow, other.method)
				if other.method == "GET" {
					allow = append(allow, "HEAD")
				}
			}
		}
		slices.Sort(allow)
		path, _, _ := strings.Cut(s.target, "?")
		for _, m := range methods {
			if slices.Contains(allow, m) {
				continue
			}
			w := r.do(m, path, "", bearerToken(token))
			wantProblem(t, w, codeMethodNotAllowed)
			if got := w.Header().Get("Allow"); got != strings.Join(allow, ", ") {
				t.Errorf("%s: Allow %q, want %q", m, got, allow)
			}
		}
	})
}

func TestRoutesRefuseWhileNotReady(t *testing.T) {
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		r.homes.beat.mu.Lock()
		r.homes.beat.back = 0
		r.homes.beat.mu.Unlock()
		w := r.do(rt.method, s.target, s.body, bearerToken(token))
		switch {
		case rt.access != system:
			wantProblem(t, w, maru.CodeUnavailable)
			if w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if r.home.produced() != 0 {
				t.Error("a home was asked nevertheless")
			}
		case rt.pattern == "/readyz":
			want(t, w, 503, `{"ready":false,"checks":{"delivery":{"ok":false,"reason":"nothing has arrived from the delivery topic yet"}}}`)
		default:
			want(t, w, 200)
		}
	})
}

func TestRequestsFromOtherOriginsAreRefused(t *testing.T) {
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		cookie := header("Cookie", "maru="+token)
		for name, mark := range map[string]with{
			"cross-site":    header("Sec-Fetch-Site", "cross-site"),
			"same-site":     header("Sec-Fetch-Site", "same-site"),
			"evil origin":   header("Origin", "https://evil.example"),
			"null origin":   header("Origin", "null"),
			"suffix origin": header("Origin", "http://example.com.evil.example"),
			"other port":    header("Origin", "http://example.com:81"),
		} {
			t.Log(name)
			w := r.do(rt.method, s.target, s.body, cookie, mark)
			if changesState(rt) {
				wantProblem(t, w, maru.CodeForbidden)
			} else {
				want(t, w, s.status)
			}
		}
		w := r.do(rt.method, s.target, s.body, cookie, header("Sec-Fetch-Site", "same-origin"), header("Origin", "http://example.com"))
		want(t, w, s.status)
	})
}

func TestTrustedOriginMayChangeThings(t *testing.T) {
	r := newRig(t, func(c *Config, _ *HomesConfig) { c.TrustedOrigins = []string{"https://chat.example"} })
	body := `{"userId":"carol","userPw":"a long pass phrase"}`
	wantProblem(t, r.do("POST", "/api/users", body, header("Origin", "https://chat.example.evil")), maru.CodeForbidden)
	want(t, r.do("POST", "/api/users", body, header("Origin", "https://chat.example")), 201)
}

func TestBodiesMustBePlainJSON(t *testing.T) {
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		if rt.access == system {
			t.Log("takes no body")
			return
		}
		me := bearerToken(token)
		wantProblem(t, r.do(rt.method, s.target, s.body, me, header("Content-Encoding", "gzip")), codeUnsupportedType)
		if s.body == "" {
			return
		}
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
			"application/json; charset=euc-kr", "application/jsonp", "application/json;;", "text/json"} {
			w := r.do(rt.method, s.target, s.body, me, func(q *http.Request) { q.Header.Set("Content-Type", kind) })
			wantProblem(t, w, codeUnsupportedType)
		}
		want(t, r.do(rt.method, s.target, s.body, me, func(q *http.Request) {
			q.Header.Set("Content-Type", "Application/JSON; Charset=UTF-8")
		}), s.status)
	})
}

// TestEveryRefusalOfAHomeHasItsStatus lets homes refuse every command with every
// code there is, and with one that is not known yet.
func TestEveryRefusalOfAHomeHasItsStatus(t *testing.T) {
	codes := []maru.Code{
		maru.CodeInvalid, maru.CodeDuplicate, maru.CodeUnauthenticated, maru.CodeInvalidPassword, maru.CodeForbidden, maru.CodeNotFound,
		maru.CodeCannotFindUser, maru.CodeTooMany, maru.CodeLimit, maru.CodeTooLarge, maru.CodeUnavailable, maru.CodeInternal,
	}
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		if rt.access == system {
			t.Log("asks no home")
			return
		}
		for _, code := range codes {
			r.home.override = func(record.Command) (record.Reply, bool) {
				return record.Reply{Code: code, Field: "f", RetryAfterMS: 1500}, true
			}
			w := r.do(rt.method, s.target, s.body, bearerToken(token))
			wantProblem(t, w, code, "f")
			if got := w.Header().Get("Retry-After"); got != "2" {
				t.Errorf("%s: Retry-After %q, want 2", code, got)
			}
		}
		r.home.override = func(record.Command) (record.Reply, bool) { return refused("BRAND_NEW"), true }
		w := r.do(rt.method, s.target, s.body, bearerToken(token))
		if w.Code != 500 || strings.Contains(w.Body.String(), "BRAND_NEW") || !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
			t.Errorf("an unknown code gives %d %s", w.Code, w.Body)
		}
		r.home.override = func(record.Command) (record.Reply, bool) { return record.Reply{Result: []byte(`"odd"`)}, true }
		if w := r.do(rt.method, s.target, s.body, bearerToken(token)); w.Code != 500 && s.status != 204 {
			t.Errorf("a result that is none gives %d %s", w.Code, w.Body)
		}
	})
}

// TestSilentHomes: whatever the route, the client is told after 10 s that the
// outcome is unknown.
func TestSilentHomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rt := range routeTable {
			if rt.access == system {
				continue
			}
			s := samples[rt.method+" "+rt.pattern]
			r := newRig(t)
			session := r.home.add("alice", "correct horse alice")
			target := strings.Replace(s.target, "SESSION", session, 1)
			r.home.lose = func(maru.LogRecord, int) bool { return true }
			start := time.Now()
			w := r.do(rt.method, target, s.body, bearerToken(r.token("alice", session)))
			wantProblem(t, w, maru.CodeUnavailable)
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("%s %s: answered after %s", rt.method, rt.pattern, took)
			}
			if w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	})
}

func TestLostCommandsAreRepeatedWithoutTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rt := range routeTable {
			if rt.access == system {
				continue
			}
			s := samples[rt.method+" "+rt.pattern]
			r := newRig(t)
			session := r.home.add("alice", "correct horse alice")
			r.home.add("bob", "x")
			target := strings.Replace(s.target, "SESSION", session, 1)
			r.home.lose = func(_ maru.LogRecord, n int) bool { return n == 1 }
			want(t, r.do(rt.method, target, s.body, bearerToken(r.token("alice", session))), s.status)
		}
	})
}

func TestPanicCostsOneRequest(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	r.home.override = func(cmd record.Command) (record.Reply, bool) {
		if cmd.Kind == record.Update {
			panic("what the request had: MARKER-panic")
		}
		return record.Reply{}, false
	}
	w := r.do("PATCH", "/api/me", `{"userName":"x"}`, token)
	id := w.Header().Get("X-Request-Id")
	wantProblem(t, w, maru.CodeInternal)
	if logs := r.logs.String(); !strings.Contains(logs, id) || strings.Contains(logs, "MARKER-panic") {
		t.Errorf("the log is to have the request's id and not its content: %s", logs)
	}
	if strings.Contains(w.Body.String(), "MARKER") {
		t.Error("the panic shows in the answer")
	}
	want(t, r.do("GET", "/api/me", "", token), 200)
	if r.homes.Waiting() != 0 {
		t.Error("the call was not forgotten")
	}
}

func TestPanicInTheMiddleOfAnAnswerBreaksTheConnection(t *testing.T) {
	r := newRig(t)
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("net/http is told %v", p)
		}
	}()
	w := &responseWriter{ResponseWriter: httptest.NewRecorder()}
	w.Write([]byte("half"))
	r.server.panicked(w, &request{id: "x"}, "odd")
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	r := newRig(t)
	want(t, r.do("HEAD", "/api/me", "", bearerToken(r.user("alice"))), 200)
}
