package maru

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCheckText(t *testing.T) {
	for _, s := range []string{"", "user_A", "안녕하세요!", "a b", "👩‍👩‍👧", strings.Repeat("가", 10)} {
		if err := CheckText("f", s, 10); err != nil {
			t.Errorf("CheckText(%q): %v", s, err)
		}
	}
	for _, s := range []string{
		"a\x00b", "a\nb", "a\rb", "tab\t", "\x7f", "\u0085", "\u2028", "\u2029", "\xff", "a\xc3",
		strings.Repeat("가", 11), strings.Repeat("a", 11), strings.Repeat("\xff", 50),
	} {
		err := CheckText("f", s, 10)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Code != CodeInvalid || e.Field != "f" || e.Message == "" {
			t.Errorf("CheckText(%q) = %v; want INVALID of f", s, err)
		}
	}
}

func FuzzCheckText(f *testing.F) {
	for _, s := range []string{"", "a", "안녕", "\x00", "\xff", "\u2028", strings.Repeat("가", 61)} {
		f.Add(s, 60)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(0, limit%1000)
		if CheckText("f", s, limit) != nil {
			return
		}
		if !utf8.ValidString(s) || utf8.RuneCountInString(s) > limit || strings.ContainsFunc(s, unicode.IsControl) || strings.ContainsAny(s, "\n\r\u2028\u2029") {
			t.Fatalf("accepted %q with limit %d", s, limit)
		}
	})
}

func TestCheckEmail(t *testing.T) {
	for _, s := range []string{"", "a@naver.com", "a@b", "이름@예.한국", "a+b@c", "a@" + strings.Repeat("b", MaxEmail-2)} {
		if err := CheckEmail(s); err != nil {
			t.Errorf("CheckEmail(%q): %v", s, err)
		}
	}
	for _, s := range []string{
		"a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b ", "a@b\n", "a@\x00", "a\u00a0@b", "\xff@b", "a@\xff", "@@", "a@@b",
		"a@" + strings.Repeat("b", MaxEmail-1),
	} {
		err := CheckEmail(s)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Code != CodeInvalid || e.Field != "email" {
			t.Errorf("CheckEmail(%q) = %v; want INVALID of email", s, err)
		}
	}
}

func TestError(t *testing.T) {
	inner := &Error{Code: CodeUnavailable, Message: "come back", Err: io.ErrUnexpectedEOF}
	if got := inner.Error(); got != "UNAVAILABLE: come back: unexpected EOF" {
		t.Errorf("Error() = %q", got)
	}
	if !errors.Is(inner, io.ErrUnexpectedEOF) {
		t.Error("the cause is not in the chain")
	}
	if got := AsError(fmt.Errorf("outer: %w", inner)); got != inner {
		t.Errorf("AsError finds %v", got)
	}
	got := AsError(io.EOF)
	if got.Code != CodeInternal || !errors.Is(got, io.EOF) || strings.Contains(got.Message, "EOF") {
		t.Errorf("AsError(EOF) = %+v: the message is public and must not tell the cause", got)
	}
	if e := Invalid("f", "m"); e.Code != CodeInvalid || e.Field != "f" || e.Message != "m" || e.Error() != "INVALID: m" {
		t.Errorf("Invalid = %+v", e)
	}
}
