package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"maru"
)

// text is a field that reads itself, as passwords do.
type text []byte

func (p *text) UnmarshalText(b []byte) error { *p = bytes.Clone(b); return nil }

type inner struct {
	Name string `json:"name"`
}

type target struct {
	ID     string   `json:"id"`
	Secret text     `json:"secret"`
	Maybe  *string  `json:"maybe"`
	Flag   bool     `json:"flag"`
	Count  int      `json:"count"`
	List   []string `json:"list"`
	Inner  inner    `json:"inner"`
}

func TestAccepted(t *testing.T) {
	hello := "hello"
	for body, want := range map[string]target{
		`{}`:            {},
		" \r\n\t{ } \n": {},
		`{"id":"a","secret":"pass","maybe":"hello","flag":true,"count":3,"list":["a","b"],"inner":{"name":"n"}}`: {
			ID: "a", Secret: text("pass"), Maybe: &hello, Flag: true, Count: 3, List: []string{"a", "b"}, Inner: inner{"n"},
		},
		`{"\u0069d":"\ud83d\ude00 \\u0000 \"\u00e9"}`: {ID: "😀 \\u0000 \"é"},
		`{"id":"\\\\ud800"}`:                          {ID: `\\ud800`},
	} {
		var got target
		if err := Unmarshal([]byte(body), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for body, field := range map[string]string{
		``:                                       "",
		`null`:                                   "",
		`[]`:                                     "",
		`"id"`:                                   "",
		`{`:                                      "",
		`{"id"}`:                                 "",
		`{"id":}`:                                "",
		`{"id":"a",}`:                            "",
		`{id:"a"}`:                               "",
		`{'id':'a'}`:                             "",
		`{"id":"a"`:                              "",
		`{"id":"a"}}`:                            "",
		`{"id":"a"}{}`:                           "",
		`{"id":"a" "maybe":"b"}`:                 "",
		`{"id":01}`:                              "",
		`{"id":NaN}`:                             "",
		"{\"id\":\"a\nb\"}":                      "",
		`{"id":"\x41"}`:                          "",
		`{"id":"\u00"}`:                          "",
		"\ufeff{}":                               "",
		"{\"id\":\"\xc3\"}":                      "",
		"{\"id\":\"\x00\"}":                      "",
		`{"id":"\u0000"}`:                        "",
		`{"id":"\ud83d"}`:                        "",
		`{"id":"\ud83d\u0041"}`:                  "",
		`{"id":"\ude00\ud83d"}`:                  "",
		`{"id":"\ud83dx\ude00"}`:                 "",
		`{"count":1e999}`:                        "",
		`{"id":null}`:                            "id",
		`{"list":[null]}`:                        "list",
		`{"inner":{"name":null}}`:                "inner",
		`{"id":"a","id":"a"}`:                    "id",
		`{"id":"a","\u0069d":"b"}`:               "id",
		`{"inner":{"name":"a","name":""}}`:       "name",
		`{"ID":"a"}`:                             "ID",
		`{"":"a"}`:                               "",
		`{"nope":1}`:                             "nope",
		`{"id":1}`:                               "id",
		`{"id":["a"]}`:                           "id",
		`{"secret":7}`:                           "secret",
		`{"flag":"true"}`:                        "flag",
		`{"count":1.5}`:                          "count",
		`{"list":"a"}`:                           "list",
		`{"inner":[]}`:                           "inner",
		`{"inner":{"nope":1}}`:                   "",
		`{"` + strings.Repeat("n", 500) + `":1}`: strings.Repeat("n", maxName),
		`{"list":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`: "list",
		`{"list":` + strings.Repeat("[", 30_000):                                         "list",
		strings.Repeat(`{"inner":`, 6_000):                                               "inner",
	} {
		var got target
		err := Unmarshal([]byte(body), &got)
		e := (*maru.Error)(nil)
		if !errors.As(err, &e) || e.Code != maru.CodeInvalid || e.Field != field || e.Message == "" {
			t.Errorf("%.80q: error %v, want INVALID with field %.80q", body, err, field)
		}
	}
}

// TestRefusalsDoNotQuote: a refusal may end in a log, and the body may hold a password.
func TestRefusalsDoNotQuote(t *testing.T) {
	for _, body := range []string{
		`{"secret":"MARKER","flag":"MARKER"}`, `{"secret":"MARKER"`, `{"secret":"MARKER"}MARKER`, `{"secret":["MARKER"]}`, `{"secret":MARKER}`,
		`{"inner":{"MARKER":1}}`, `{"count":"MARKER"}`,
	} {
		var got target
		if err := Unmarshal([]byte(body), &got); err == nil || strings.Contains(err.Error(), "MARKER") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzUnmarshal compares with encoding/json: what passes means the same there, and
// keeps its promises about texts.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"id":"a","maybe":"b"}`, `{"id":"\ud83d\ude00"}`, `{"id":"\u0000"}`, `{"list":["a",{}]}`, `{"id":"a","id":"b"}`,
		`{"inner":{"name":"x"}}`, `[`, `{"a":[[[[`, "{\"\xff\":1}", `{"count":-0}`, `{"id":"\\"}`, `{"x":}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, other target
		if err := Unmarshal(bytes.Clone(body), &got); err != nil {
			e := (*maru.Error)(nil)
			if !errors.As(err, &e) || e.Code != maru.CodeInvalid || !utf8.ValidString(e.Field) || len(e.Field) > maxName {
				t.Fatalf("%q: error %v", body, err)
			}
			return
		}
		if err := json.Unmarshal(body, &other); err != nil || !reflect.DeepEqual(got, other) {
			t.Fatalf("%q is %+v here and %+v to encoding/json (%v)", body, got, other, err)
		}
		all := got.ID + string(got.Secret) + got.Inner.Name + strings.Join(got.List, "")
		if got.Maybe != nil {
			all += *got.Maybe
		}
		if !utf8.ValidString(all) || strings.ContainsRune(all, 0) {
			t.Fatalf("%q gives %q", body, all)
		}
	})
}
