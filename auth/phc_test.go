package auth

import (
	"errors"
	"strings"
	"testing"
)

const goodPHC = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"

func badPHCs() map[string]string {
	change := func(old, new string) string { return strings.Replace(goodPHC, old, new, 1) }
	return map[string]string{
		"empty":                 "",
		"other algorithm":       change("argon2id", "argon2i"),
		"other version":         change("v=19", "v=16"),
		"no version":            change("v=19$", ""),
		"gigabytes":             change("m=256", "m=4194304"),
		"largest memory":        change("m=256", "m=4294967295"),
		"memory past 32 bits":   change("m=256", "m=4294967552"),
		"little memory":         change("m=256", "m=7"),
		"passes for hours":      change("t=2", "t=4294967295"),
		"no passes":             change("t=2", "t=0"),
		"memory times passes":   change("m=256,t=2", "m=262144,t=64"),
		"no threads":            change("p=1", "p=0"),
		"threads past 8 bits":   change("p=1", "p=257"),
		"leading zero":          change("m=256", "m=0256"),
		"plus":                  change("m=256", "m=+256"),
		"negative":              change("t=2", "t=-2"),
		"order":                 change("m=256,t=2", "t=2,m=256"),
		"missing parameter":     change(",p=1", ""),
		"further parameter":     change(",p=1", ",p=1,data=AAAA"),
		"no salt":               change("c29tZXNhbHQ", ""),
		"short salt":            change("c29tZXNhbHQ", "c29t"),
		"padding":               change("c29tZXNhbHQ", "c29tZXNhbHQ="),
		"line break in salt":    change("c29tZXNhbHQ", "c29t\nZXNhbHQ"),
		"spare bits":            change("c29tZXNhbHQ", "c29tZXNhbHR"),
		"short hash":            goodPHC[:len(goodPHC)-30],
		"no hash":               goodPHC[:strings.LastIndexByte(goodPHC, '$')+1],
		"missing field":         goodPHC[:strings.LastIndexByte(goodPHC, '$')],
		"further field":         goodPHC + "$",
		"long":                  goodPHC + strings.Repeat("A", 1<<20),
		"bcrypt":                "$2b$12$abcdefghijklmnopqrstuv1234567890abcdefghijklmnopqrstu",
		"NUL behind the prefix": "$argon2id$v=19$\x00",
	}
}

func TestParsePHCRefuses(t *testing.T) {
	h := newHasher(t, cheap)
	for name, s := range badPHCs() {
		if _, err := parsePHC(s); !errors.Is(err, ErrBadHash) {
			t.Errorf("%s: parsePHC = %v", name, err)
		}
		if ok, err := h.Verify(s, []byte("password")); ok || !errors.Is(err, ErrBadHash) {
			t.Errorf("%s: Verify = %v, %v", name, ok, err)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(goodPHC)
	for _, s := range badPHCs() {
		if len(s) < 1000 {
			f.Add(s)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			if !errors.Is(err, ErrBadHash) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if err := h.params.Validate(); err != nil {
			t.Fatalf("accepted %q: %v", s, err)
		}
		if again := h.String(); again != s {
			t.Fatalf("%q is written as %q", s, again)
		}
	})
}
