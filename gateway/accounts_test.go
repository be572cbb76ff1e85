package gateway

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"maru"
	"maru/record"
)

func TestRegistration(t *testing.T) {
	r := newRig(t)
	w := r.do("POST", "/api/users", `{"userId":"Carol.1","userPw":"a long pass phrase","email":"c@example.org","userName":"Ca\u0308rol"}`)
	want(t, w, 201, `{"userId":"carol.1","userName":"Cärol","userStatus":"","email":"c@example.org","joinDate":[2026,11,22]}`)
	if w.Header().Get("Location") != "/api/users/carol.1" {
		t.Error("Location", w.Header().Get("Location"))
	}
	want(t, r.do("POST", "/api/login", loginOf("CAROL.1", "a long pass phrase")), 200)
	wantProblem(t, r.do("POST", "/api/users", `{"userId":"CAROL.1","userPw":"another pass phrase"}`), maru.CodeDuplicate)
}

func TestRegistrationRefusals(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct{ body, field string }{
		{`{}`, "userId"},
		{`{"userId":"","userPw":"a long pass phrase"}`, "userId"},
		{`{"userId":"-a","userPw":"a long pass phrase"}`, "userId"},
		{`{"userId":"a b","userPw":"a long pass phrase"}`, "userId"},
		{`{"userId":"\u212a","userPw":"a long pass phrase"}`, "userId"}, // the Kelvin sign folds to k
		{`{"userId":"` + strings.Repeat("a", 33) + `","userPw":"a long pass phrase"}`, "userId"},
		{`{"userId":"carol"}`, "userPw"},
		{`{"userId":"carol","userPw":"1234567"}`, "userPw"},
		{`{"userId":"carol","userPw":"password1"}`, "userPw"},
		{`{"userId":"carol-carol","userPw":"Carol-Carol"}`, "userPw"},
		{`{"userId":"carol","userPw":"` + strings.Repeat("p", 1025) + `"}`, "userPw"},
		{`{"userId":"carol","userPw":["a long pass phrase"]}`, "userPw"},
		{`{"userId":"carol","userPw":"a long pass phrase","email":"nobody"}`, "email"},
		{`{"userId":"carol","userPw":"a long pass phrase","email":"a@b\r\nBcc: x"}`, "email"},
		{`{"userId":"carol","userPw":"a long pass phrase","userName":"` + strings.Repeat("n", 61) + `"}`, "userName"},
		{`{"userId":"carol","userPw":"a long pass phrase","userName":"two\nlines"}`, "userName"},
		{`{"userId":"carol","userPw":"a long pass phrase","userStatus":"x"}`, "userStatus"},
		{`{"userId":"carol","userPw":"a long pass phrase","admin":true}`, "admin"},
	} {
		wantProblem(t, r.do("POST", "/api/users", c.body), maru.CodeInvalid, c.field)
	}
	if r.home.produced() != 0 {
		t.Error("a home was asked")
	}
}

func TestRegistrationsAreLimitedByAddress(t *testing.T) {
	r := newRig(t, func(c *Config, _ *HomesConfig) { c.Registrations = Rate{N: 2, Per: time.Hour} })
	register := func(i int, addr string) *httptest.ResponseRecorder {
		return r.do("POST", "/api/users", fmt.Sprintf(`{"userId":"u%d","userPw":"a long pass phrase"}`, i), from(addr))
	}
	wantProblem(t, r.do("POST", "/api/users", `{"userId":"x","userPw":"short"}`, from("[2001:db8::1]:1")), maru.CodeInvalid) // counts nothing
	want(t, register(1, "[2001:db8::1]:1"), 201)
	want(t, register(2, "[2001:db8::ffff:2]:1"), 201)
	wantProblem(t, register(3, "[2001:db8::3]:1"), maru.CodeTooMany)
	want(t, register(4, "[2001:db8:0:1::1]:1"), 201)
}

func TestProfile(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	want(t, r.do("GET", "/api/me", "", token), 200, `{"userId":"alice","userName":"name of alice","userStatus":"","email":"alice@example.org","joinDate":[2022,12,17],"admin":true,"addedBy":3}`)
	w := r.do("PATCH", "/api/me", `{"userStatus":"a <b>\u1112\u1161\u11ab","email":""}`, token)
	want(t, w, 200, `{"userId":"alice","userName":"name of alice","userStatus":"a <b>한","joinDate":[2022,12,17],"admin":true,"addedBy":3}`)
	for body, field := range map[string]string{
		`{}`:                      "",
		`{"userId":"bob"}`:        "userId",
		`{"userName":null}`:       "userName",
		`{"userName":"\u0007"}`:   "userName",
		`{"userName":"a\u2028b"}`: "userName",
		`{"email":"@"}`:           "email",
		`{"userStatus":{"a":1}}`:  "userStatus",
		`{"userStatus":"` + strings.Repeat("x", 201) + `"}`: "userStatus",
	} {
		wantProblem(t, r.do("PATCH", "/api/me", body, token), maru.CodeInvalid, field)
	}
}

func TestPasswordChange(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	change := func(old, next string) *httptest.ResponseRecorder {
		return r.do("PUT", "/api/me/password", fmt.Sprintf(`{"userPw":%q,"newPw":%q}`, old, next), token)
	}
	wantProblem(t, change("wrong one", "battery staple"), maru.CodeInvalidPassword)
	wantProblem(t, change("", "battery staple"), maru.CodeInvalid, "userPw")
	wantProblem(t, change(strings.Repeat("p", 1025), "battery staple"), maru.CodeInvalid, "userPw")
	wantProblem(t, change("correct horse alice", "short"), maru.CodeInvalid, "newPw")
	wantProblem(t, change("correct horse alice", ""), maru.CodeInvalid, "newPw")
	want(t, change("correct horse alice", "battery staple"), 204)
	want(t, r.do("POST", "/api/login", loginOf("alice", "correct horse alice")), 401)
	want(t, r.do("POST", "/api/login", loginOf("alice", "battery staple")), 200)
}

func TestSessions(t *testing.T) {
	r := newRig(t)
	session := r.home.add("alice", "correct horse alice")
	token := bearerToken(r.token("alice", session))
	want(t, r.do("GET", "/api/me/sessions", "", token), 200, `{"sessions":[{"id":"`+session+
		`","device":"a test","createdAt":"2023-11-14T22:13:20.123Z","seenAt":"2023-11-14T22:13:21.000Z","expiresAt":"2030-03-17T17:46:40.000Z","current":true}]}`)
	w := r.do("POST", "/api/login", loginOf("alice", "correct horse alice"),
		header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"))
	want(t, w, 200)
	list := parse[sessionsBody](t, r.do("GET", "/api/me/sessions", "", token)).Sessions
	if len(list) != 2 || list[1].Device != "Firefox on Linux" || list[1].Current {
		t.Fatalf("sessions %+v", list)
	}
	other := bearerToken(parse[loginBody](t, w).Token)
	want(t, r.do("GET", "/api/me", "", other), 200)
	want(t, r.do("DELETE", "/api/me/sessions/"+list[1].ID, "", token), 204)
	wantProblem(t, r.do("GET", "/api/me", "", other), maru.CodeUnauthenticated)
	wantProblem(t, r.do("DELETE", "/api/me/sessions/"+list[1].ID, "", token), maru.CodeNotFound)
	wantProblem(t, r.do("DELETE", "/api/me/sessions/x", "", token), maru.CodeNotFound)
}

const publicBob = `{"userId":"bob","userName":"name of bob","userStatus":"","joinDate":[2022,12,17]}`

func TestPublicProfilesShowNothingPrivate(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	r.user("bob")
	want(t, r.do("GET", "/api/users/BOB", "", token), 200, publicBob)
	wantProblem(t, r.do("GET", "/api/users/nobody", "", token), maru.CodeCannotFindUser)
	own := r.do("GET", "/api/users/alice", "", token)
	want(t, own, 200)
	if strings.Contains(own.Body.String(), "email") {
		t.Error("one's own public profile is the public one")
	}
}

func TestProfilesByIDs(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	var many []string
	for i := range 200 {
		id := fmt.Sprintf("user%d", i)
		r.home.users[id] = &testUser{User: record.User{UserID: id}}
		many = append(many, id)
	}
	r.user("bob")
	want(t, r.do("GET", "/api/users?ids=nobody,BOB,bob,-,%00,", "", token), 200, `{"users":[`+publicBob+`]}`)
	want(t, r.do("GET", "/api/users?ids=-", "", token), 200, `{"users":[]}`)
	before := r.home.produced()
	users := parse[usersBody](t, r.do("GET", "/api/users?ids="+strings.Join(many, ","), "", token)).Users
	for i, u := range users {
		if u.UserID != many[i] {
			t.Fatalf("place %d has %s", i, u.UserID)
		}
	}
	if asked := r.home.produced() - before; len(users) != 200 || asked != testPartitions+1 {
		t.Errorf("%d users by %d questions, want one for each slot and one for the session", len(users), asked)
	}
	for _, query := range []string{"", "?ids=", "?q=bob", "?ids=" + strings.Join(many, ",") + ",x", "?ids=" + strings.Repeat(",", 100_000)} {
		wantProblem(t, r.do("GET", "/api/users"+query, "", token), maru.CodeInvalid, "ids")
	}
	wantProblem(t, r.do("GET", "/api/users?ids=%zz", "", token), maru.CodeInvalid)
}

// TestEndedSessionCountsBeforeWhatOtherHomesSay, for the routes that ask those.
func TestEndedSessionCountsBeforeWhatOtherHomesSay(t *testing.T) {
	r := newRig(t)
	ended := bearerToken(r.token("alice", maru.NewCommandID().Session()))
	r.home.override = func(cmd record.Command) (record.Reply, bool) {
		return refused(maru.CodeInternal), cmd.Ask != nil && cmd.Ask.What == record.AskUsers
	}
	for _, target := range []string{"/api/users/bob", "/api/users/-", "/api/users?ids=bob", "/api/friends"} {
		wantProblem(t, r.do("GET", target, "", ended), maru.CodeUnauthenticated)
	}
}

func TestFriends(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	r.user("bob")
	r.user("carol")
	r.user("gone")
	want(t, r.do("GET", "/api/friends", "", token), 200, `{"friends":[]}`)
	want(t, r.do("PUT", "/api/friends/Bob", "", token), 204)
	want(t, r.do("PUT", "/api/friends/bob", `{"alias":"Bobby"}`, token), 204)
	want(t, r.do("PUT", "/api/friends/bob", `{}`, token), 204)
	want(t, r.do("PUT", "/api/friends/carol", "", token), 204)
	want(t, r.do("PUT", "/api/friends/gone", "", token), 204)
	delete(r.home.users, "gone")
	const at = `"addedAt":"2023-11-14T22:13:20.000Z"`
	bob := `{"userId":"bob","alias":"Bobby",` + at + `,"user":` + publicBob + `}`
	carol := `{"userId":"carol",` + at + `,"user":` + strings.ReplaceAll(publicBob, "bob", "carol") + `}`
	gone := `{"userId":"gone",` + at + `,"user":null}`
	want(t, r.do("GET", "/api/friends", "", token), 200, `{"friends":[`+bob+`,`+carol+`,`+gone+`]}`)
	want(t, r.do("GET", "/api/friends?limit=2", "", token), 200, `{"friends":[`+bob+`,`+carol+`],"cursor":"carol"}`)
	want(t, r.do("GET", "/api/friends?limit=2&cursor=carol", "", token), 200, `{"friends":[`+gone+`]}`)
	want(t, r.do("DELETE", "/api/friends/BOB", "", token), 204)
	want(t, r.do("GET", "/api/friends?limit=1", "", token), 200, `{"friends":[`+carol+`],"cursor":"carol"}`)
	wantProblem(t, r.do("PUT", "/api/friends/nobody", "", token), maru.CodeCannotFindUser)
	wantProblem(t, r.do("PUT", "/api/friends/carol", `{"alias":"a\tb"}`, token), maru.CodeInvalid, "alias")
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=201": "limit", "limit=x": "limit", "limit=-1": "limit", "limit=99999999999999999999": "limit",
		"cursor=-": "cursor", "cursor=%00": "cursor", "cursor=Bob": "cursor",
	} {
		wantProblem(t, r.do("GET", "/api/friends?"+query, "", token), maru.CodeInvalid, field)
	}
}

func TestReadyzShowsEachCheck(t *testing.T) {
	r := newRig(t, func(c *Config, _ *HomesConfig) {
		c.Checks = []Check{
			{Name: "kafka", Ready: func() error { return nil }},
			{Name: "disk", Ready: func() error { return fmt.Errorf("no space left") }},
		}
	})
	want(t, r.do("GET", "/readyz", ""), 503, `{"ready":false,"checks":{"delivery":{"ok":true},"disk":{"ok":false,"reason":"no space left"},"kafka":{"ok":true}}}`)
	want(t, r.do("GET", "/healthz", ""), 200, `{"status":"ok"}`)
	want(t, newRig(t).do("GET", "/readyz", ""), 200, `{"ready":true,"checks":{"delivery":{"ok":true}}}`)
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	r.do("GET", "/api/me", "", bearerToken(r.user("alice")))
	r.do("BREW", "/evil/%22label", "")
	w := r.do("GET", "/metrics", "")
	want(t, w, 200)
	for _, line := range []string{
		`maru_http_requests_total{method="GET",route="/api/me",status="200"} 1`,
		`maru_http_requests_total{method="other",route="other",status="404"} 1`,
		`maru_gateway_command_seconds_count 1`, `maru_gateway_commands_waiting 0`, `maru_gateway_ready 1`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

// TestNoSecretInTheLog runs whole flows with marked secrets, well and badly, and
// looks for them in what was logged.
func TestNoSecretInTheLog(t *testing.T) {
	r := newRig(t)
	mark := "MARKER-pass-phrase"
	body := func(v map[string]string) string { b, _ := json.Marshal(v); return string(b) }
	want(t, r.do("POST", "/api/users", body(map[string]string{"userId": "alice", "userPw": mark, "userName": "MARKER-name"})), 201)
	w := r.do("POST", "/api/login?cookie=1&secret=MARKER-query", loginOf("alice", mark), header("User-Agent", "x\x1bMARKER-agent"))
	want(t, w, 200)
	session := cookieNamed(w, "maru").Value
	token := header("Cookie", "maru="+session)
	r.do("POST", "/api/login", loginOf("alice", mark+"!"))
	r.do("POST", "/api/login", `{"userPw":"`+mark+`","x":1}`)
	r.do("POST", "/api/login", `{"userPw":"`+mark+`","userId":["`+mark+`"]}`)
	r.do("POST", "/api/login", `{"`+mark+`":1}`)
	r.do("PATCH", "/api/me", `{"userStatus":"MARKER-status\n"}`, token)
	r.do("PUT", "/api/me/password", body(map[string]string{"userPw": mark + "?", "newPw": "MARKER-new"}), token, header("Idempotency-Key", "MARKER-key"))
	r.do("GET", "/api/me", "", header("Authorization", "Bearer MARKER-bearer"))
	r.do("GET", "/api/MARKER-path?MARKER-query=1", "")
	r.do("GET", "/api/friends?cursor=MARKER-cursor", "", token)
	r.home.override = func(record.Command) (record.Reply, bool) { return refused(maru.CodeInternal), true } // logs warnings
	want(t, r.do("PATCH", "/api/me", `{"userName":"MARKER-name"}`, token), 500)
	want(t, r.do("POST", "/api/login", loginOf("alice", mark)), 500)
	want(t, r.do("PUT", "/api/me/password", body(map[string]string{"userPw": mark, "newPw": "MARKER-new"}), token), 500)
	logs := r.logs.String()
	if !strings.Contains(logs, `"level":"WARN"`) || !strings.Contains(logs, `"route":"/api/login"`) {
		t.Fatalf("the log does not have what it should: %s", logs)
	}
	for _, text := range []string{"MARKER", session, session[:20]} {
		if i := strings.Index(logs, text); i >= 0 {
			t.Errorf("the log has %q: …%s…", text, logs[max(0, i-200):min(len(logs), i+100)])
		}
	}
}
