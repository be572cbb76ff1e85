package record

import (
	"strings"
	"testing"
	"time"
)

// The two lines stand here as they stand in the contract: programs outside of
// this project compare bytes.
func TestLoginAnswersByteForByte(t *testing.T) {
	const failed = `{"requestUserID":"aa","isAccept":false,"user":{"userId":null,"userPw":null,"email":null,"userName":null,"userStatus":null,"joinDate":null,"loginDate":null,"logoutDate":null}}`
	const accepted = `{"requestUserID":"a","isAccept":true,"user":{"userId":"a","userPw":null,"email":"a@naver.com","userName":"user_A","userStatus":"안녕하세요!","joinDate":[2022,12,17],"loginDate":[2022,12,17],"logoutDate":[2022,12,17]}}`
	if got := string(MustEncode(LoginAnswer{RequestUserID: "aa"})); got != failed {
		t.Errorf("failed:\n got %s\nwant %s", got, failed)
	}
	day := &Date{2022, 12, 17}
	got := string(MustEncode(LoginAnswer{RequestUserID: "a", IsAccept: true, User: LoginUser{
		UserID: Text("a"), Email: Text("a@naver.com"), UserName: Text("user_A"), UserStatus: Text("안녕하세요!"),
		JoinDate: day, LoginDate: day, LogoutDate: day,
	}}))
	if got != accepted {
		t.Errorf("accepted:\n got %s\nwant %s", got, accepted)
	}
	golden(t, "login.failed", []byte(failed))
	golden(t, "login.accepted", []byte(accepted))
	if got := string(MustEncode(LoginAnswer{RequestUserID: "<a>&"})); !strings.HasPrefix(got, `{"requestUserID":"<a>&",`) {
		t.Errorf("escaped: %s", got)
	}
}

func TestDateOf(t *testing.T) {
	seoul := time.FixedZone("KST", 9*3600)
	ms := time.Date(2022, 12, 31, 15, 0, 0, 0, time.UTC).UnixMilli()
	if got := DateOf(ms, seoul); *got != (Date{2023, 1, 1}) {
		t.Errorf("in Seoul it is %v", *got)
	}
	if got := DateOf(ms-1, seoul); *got != (Date{2022, 12, 31}) {
		t.Errorf("one millisecond before midnight it is %v", *got)
	}
	if got := DateOf(ms, time.UTC); *got != (Date{2022, 12, 31}) {
		t.Errorf("in UTC it is %v", *got)
	}
	if DateOf(0, seoul) != nil {
		t.Error("an unknown time has a date")
	}
	if Text("") != nil || *Text("x") != "x" {
		t.Error("Text")
	}
}

func TestParseLoginRequest(t *testing.T) {
	exact := `{"userId":"a","userPw":"` + strings.Repeat("x", MaxLoginRequest-len(`{"userId":"a","userPw":""}`)) + `"}`
	for name, c := range map[string]struct {
		in     string
		user   string
		pw     *string
		sealed string
	}{
		"plain":          {`{"userId":"a","userPw":"1234"}`, "a", new("1234"), ""},
		"spaces":         {" \t\r\n{ \"userId\" : \"a\", \"userPw\":\"1234\" }\n", "a", new("1234"), ""},
		"null password":  {`{"userId":"a","userPw":null}`, "a", nil, ""},
		"no password":    {`{"userId":"a"}`, "a", nil, ""},
		"empty password": {`{"userId":"a","userPw":""}`, "a", new(""), ""},
		"sealed":         {`{"userId":"a","userPw":null,"sealedPw":"AQ"}`, "a", nil, "AQ"},
		"unknown fields": {`{"x":[{}],"userId":"a","userPw":"p","y":1}`, "a", new("p"), ""},
		"Spring's user":  {`{"userId":"a","userPw":"1234","email":null,"userName":null,"userStatus":null,"joinDate":[2022,12,17],"loginDate":null,"logoutDate":null,"@class":"java.lang.Runtime"}`, "a", new("1234"), ""},
		"last wins":      {`{"userId":"a","userId":"b","userPw":"1","userPw":"2"}`, "b", new("2"), ""},
		"korean":         {`{"userId":"가","userPw":"\uc548"}`, "가", new("안"), ""},
		"deep, bounded":  {`{"userId":"a","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "a", nil, ""},
		"16 KiB":         {exact, "a", new(exact[len(`{"userId":"a","userPw":"`) : len(exact)-2]), ""},
	} {
		r, err := ParseLoginRequest([]byte(c.in))
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case r.UserID != c.user || r.SealedPw != c.sealed || (r.UserPw == nil) != (c.pw == nil):
			t.Errorf("%s: %+v", name, r)
		case c.pw != nil && *r.UserPw != *c.pw:
			t.Errorf("%s: password %q", name, *r.UserPw)
		}
	}
}

func TestParseLoginRequestRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":          ``,
		"spaces":           "  \n",
		"text":             `hello`,
		"broken":           `{"userId":"a"`,
		"number":           `17`,
		"string":           `"a"`,
		"null":             `null`,
		"array":            `[{"userId":"a","userPw":"1"}]`,
		"id a number":      `{"userId":1,"userPw":"1"}`,
		"id an object":     `{"userId":{},"userPw":"1"}`,
		"password number":  `{"userId":"a","userPw":1234}`,
		"password list":    `{"userId":"a","userPw":["1"]}`,
		"sealed number":    `{"userId":"a","sealedPw":1}`,
		"no id":            `{"userPw":"1"}`,
		"empty id":         `{"userId":"","userPw":"1"}`,
		"null id":          `{"userId":null,"userPw":"1"}`,
		"trailing garbage": `{"userId":"a","userPw":"1"} x`,
		"two objects":      `{"userId":"a","userPw":"1"}{"userId":"b","userPw":"1"}`,
		"byte order mark":  "\ufeff" + `{"userId":"a","userPw":"1"}`,
		"single quotes":    `{'userId':'a'}`,
		"open nesting":     `{"userId":"a","x":` + strings.Repeat("[", 16000),
		"deep and no id":   `{"x":` + strings.Repeat(`[`, 8170) + strings.Repeat(`]`, 8170) + `}`,
		"16 KiB and one":   `{"userId":"a","userPw":"` + strings.Repeat("x", MaxLoginRequest) + `"}`,
		"nul":              "{\"userId\":\"a\x00\"}",
	} {
		if r, err := ParseLoginRequest([]byte(in)); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		} else if r != (LoginRequest{}) {
			t.Errorf("%s: refused, but returns %+v", name, r)
		} else if strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}
