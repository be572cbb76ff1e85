package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"maru"
	"maru/record"
)

// TestHostileBodies sends each bad body to each route that takes one. None may
// reach a home.
func TestHostileBodies(t *testing.T) {
	big := strings.Repeat("x", maxBody)
	deep := strings.Repeat("[", 10_000)
	bodies := []struct {
		name string
		body string
		code maru.Code
	}{
		{"5 MB", `{"userId":"` + strings.Repeat("x", 5<<20) + `"}`, maru.CodeTooLarge},
		{"one byte too many", `{"userId":"` + big[:maxBody-12] + `"}`, maru.CodeTooLarge},
		{"deep lists", `{"userName":` + deep, maru.CodeInvalid},
		{"deep objects", strings.Repeat(`{"userName":`, 5000), maru.CodeInvalid},
		{"no object", `[]`, maru.CodeInvalid},
		{"text", `"userId"`, maru.CodeInvalid},
		{"null", `null`, maru.CodeInvalid},
		{"blank", "  \r\n\t", maru.CodeInvalid},
		{"cut", `{"userId":"al`, maru.CodeInvalid},
		{"twice", `{"userId":"alice","userId":"bob"}`, maru.CodeInvalid},
		{"twice in disguise", `{"alias":"a","\u0061lias":"b"}`, maru.CodeInvalid},
		{"unknown field", `{"isAdmin":true}`, maru.CodeInvalid},
		{"other case", `{"USERID":"alice","userpw":"x","ALIAS":"","username":"","NEWPW":""}`, maru.CodeInvalid},
		{"number", `{"userId":1,"userPw":1,"userName":1,"alias":1}`, maru.CodeInvalid},
		{"object", `{"userId":{},"userPw":{},"userName":{},"alias":{}}`, maru.CodeInvalid},
		{"null fields", `{"userId":null,"userPw":null,"userName":null,"alias":null}`, maru.CodeInvalid},
		{"NUL", "{\"userName\":\"a\x00b\"}", maru.CodeInvalid},
		{"NUL escape", `{"userId":"alice\u0000","userPw":"xxxxxxxxxx","alias":"\u0000"}`, maru.CodeInvalid},
		{"broken UTF-8", "{\"userName\":\"\xff\xfe\"}", maru.CodeInvalid},
		{"broken name", "{\"\xff\":\"\"}", maru.CodeInvalid},
		{"half a pair", `{"userName":"\ud800"}`, maru.CodeInvalid},
		{"trailing object", `{} {}`, maru.CodeInvalid},
		{"trailing text", `{}x`, maru.CodeInvalid},
		{"BOM", "\ufeff{}", maru.CodeInvalid},
		{"comment", `{/**/}`, maru.CodeInvalid},
	}
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		if s.body == "" {
			t.Log("takes no body")
			return
		}
		for _, c := range bodies {
			w := r.do(rt.method, s.target, c.body, bearerToken(token))
			if w.Code != meanings[c.code].status {
				t.Errorf("%s: status %d, %s", c.name, w.Code, w.Body)
				continue
			}
			wantProblem(t, w, c.code)
			// The length is not announced.
			w = r.do(rt.method, s.target, c.body, bearerToken(token), func(q *http.Request) { q.ContentLength = -1 })
			wantProblem(t, w, c.code)
		}
		w := r.do(rt.method, s.target, s.body, bearerToken(token), func(q *http.Request) { q.Body = io.NopCloser(brokenReader{}) })
		wantProblem(t, w, maru.CodeInvalid)
		if n := r.home.produced(); n != 0 {
			t.Errorf("%d records reached homes", n)
		}
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestUnknownPathsAreNotFound(t *testing.T) {
	r := newRig(t)
	token := bearerToken(r.user("alice"))
	for _, path := range []string{
		"/", "/api", "/api/", "/api/nothing", "/api/me/", "/api//me", "/api/./me", "/api/users/../me", "/api/x/..", "//evil.example/api/me",
		"/api/users/alice/", "/api/users/alice/x", "/API/me", "/api/me%2f", "/healthz/", "/api/users/%2f", "/api/friends/%2f", "/api/me;x", "/..", "/api/login/.",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			w := r.do(method, path, "", token)
			wantProblem(t, w, maru.CodeNotFound)
			if w.Header().Get("Location") != "" {
				t.Errorf("%s redirects", path)
			}
		}
	}
}

// TestHostileIDsInPaths: an id that nobody can have is refused like one that
// nobody has, and no home is asked about it.
func TestHostileIDsInPaths(t *testing.T) {
	eachRoute(t, func(t *testing.T, r *rig, rt route, s sample, token string) {
		prefix, _, found := strings.Cut(rt.pattern, "{")
		if !found {
			t.Log("has no id")
			return
		}
		unknown := "nobody"
		if strings.Contains(rt.pattern, "sessions") {
			unknown = maru.NewCommandID().Session()
		}
		plain := r.do(rt.method, prefix+unknown, "", bearerToken(token))
		for _, id := range []string{
			"..%2f", "%2e%2e", "..%2fme", "%00", "a%00b", "a%0d%0aSet-Cookie:x=y", "%20", "a%20b", "%ff", "..%5c..%5c", "a%2fb",
			"-a", ".a", "%EC%95%88", "%F0%9F%98%80", "a%3Fb", "a%23", strings.Repeat("a", 33), strings.Repeat("a", 8000),
			"'%20OR%201=1--", "%3Cscript%3E", "*", "$(id)", "a+b",
		} {
			w := r.do(rt.method, prefix+id, "", bearerToken(token))
			if rt.pattern == "/api/friends/{userId}" && rt.method == "DELETE" {
				wantProblem(t, w, maru.CodeCannotFindUser) // while removing somebody who is no friend, but may exist, is no error
			} else if w.Code != plain.Code || w.Body.String() != plain.Body.String() {
				t.Errorf("%s: %d %s, for an unknown one %d %s", id, w.Code, w.Body, plain.Code, plain.Body)
			}
		}
		for _, rec := range r.home.records {
			cmd, err := record.ParseCommand(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			asked := cmd.Kind == record.Ask && cmd.Ask.What == record.AskMe // whether the session lives
			if !asked && !strings.Contains(string(rec.Value), unknown) {
				t.Errorf("a home was asked %s", rec.Value)
			}
		}
	})
}
