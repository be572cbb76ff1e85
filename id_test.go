package maru

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseUserID(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "Alice": "alice", "0": "0", "a.b_c-d": "a.b_c-d",
		strings.Repeat("Z", MaxUserID): strings.Repeat("z", MaxUserID),
	} {
		if got, err := ParseUserID(in); err != nil || got != want {
			t.Errorf("ParseUserID(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ".a", "_a", "-a", "a b", "a/b", "a\x00", "ä", "가", "a\n", " a", "a@b",
		strings.Repeat("a", MaxUserID+1),
		"\u212aim",  // the Kelvin sign, whose lower case is an ASCII k
		"a\u0130",   // a capital I with a dot: two runes in lower case
		"\xffalice", // not UTF-8
	} {
		got, err := ParseUserID(in)
		if e := (*Error)(nil); got != "" || !errors.As(err, &e) || e.Code != CodeInvalid || e.Field != "userId" {
			t.Errorf("ParseUserID(%q) = %q, %v; want INVALID of userId", in, got, err)
		}
	}
	if ValidUserID("Alice") {
		t.Error("an id that was not folded is valid as stored")
	}
}

func FuzzParseUserID(f *testing.F) {
	for _, s := range []string{"", "a", "Alice", "a.b_c-d", ".a", "\u212a", "\xff", strings.Repeat("a", 33)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseUserID(s)
		if err != nil {
			if id != "" || ValidUserID(s) {
				t.Fatalf("ParseUserID(%q) = %q, %v", s, id, err)
			}
			return
		}
		if !ValidUserID(id) || len(id) != len(s) || !strings.EqualFold(id, s) {
			t.Fatalf("ParseUserID(%q) = %q", s, id)
		}
		if again, err := ParseUserID(id); again != id || err != nil {
			t.Fatalf("folded %q is read as %q, %v", id, again, err)
		}
	})
}

func TestCommandID(t *testing.T) {
	a, b := NewCommandID(), NewCommandID()
	if a == b || a.IsZero() {
		t.Fatalf("new ids %s and %s", a, b)
	}
	if got, err := ParseCommandID(a.String()); got != a || err != nil {
		t.Errorf("%s is read as %s, %v", a, got, err)
	}
	if got, err := ParseCommandID(strings.ToUpper(a.String())); got != a || err != nil {
		t.Errorf("%s in capitals is read as %s, %v", a, got, err)
	}
	for _, s := range []string{"", "00", strings.Repeat("g", 32), strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("0", 31) + "x"} {
		if id, err := ParseCommandID(s); err == nil || !id.IsZero() {
			t.Errorf("ParseCommandID(%q) = %s, %v", s, id, err)
		}
	}
}

func TestCommandIDInJSON(t *testing.T) {
	type box struct {
		ID CommandID `json:"id,omitzero"`
	}
	in := box{NewCommandID()}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"id":"`+in.ID.String()+`"}` {
		t.Fatalf("%s, %v", b, err)
	}
	var out box
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("%s is read as %v, %v", b, out, err)
	}
	if b, _ := json.Marshal(box{}); string(b) != "{}" {
		t.Errorf("no id is written as %s", b)
	}
	if err := json.Unmarshal([]byte(`{"id":""}`), &out); err != nil || !out.ID.IsZero() {
		t.Errorf("an empty id is read as %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"id":"12"}`), &out); err == nil {
		t.Error("a short id was read")
	}
}

func FuzzParseCommandID(f *testing.F) {
	for _, s := range []string{"", "00", strings.Repeat("0", 32), strings.Repeat("Ff", 16), strings.Repeat("é", 16)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseCommandID(s)
		if err != nil {
			if !id.IsZero() {
				t.Fatalf("ParseCommandID(%q) = %s with %v", s, id, err)
			}
			return
		}
		if id.String() != strings.ToLower(s) {
			t.Fatalf("%q is written as %q", s, id)
		}
	})
}

func TestSessionOfCommand(t *testing.T) {
	a, b := CommandID{1}, CommandID{2}
	if again := a.Session(); again != a.Session() || again == b.Session() {
		t.Error("a session id is not a function of its command id")
	}
	if s := a.Session(); !ValidSessionID(s) || strings.Contains(s, a.String()[:8]) {
		t.Errorf("session id %q of %s", s, a)
	}
	for _, s := range []string{"", strings.Repeat("0", 23), strings.Repeat("0", 25), strings.Repeat("A", 24), strings.Repeat("g", 24)} {
		if ValidSessionID(s) {
			t.Errorf("%q is a session id", s)
		}
	}
}
