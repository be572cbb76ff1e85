package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fixed is a secret for tests that compare with known answers: the bytes 0 to 31.
func fixed(t testing.TB) *Secret {
	t.Helper()
	s, err := ParseSecret(hex.EncodeToString(counting(32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestParseSecret(t *testing.T) {
	b := counting(32)
	b[0], b[1], b[2] = 0xfb, 0xff, 0xfe // so that the two base64 alphabets differ
	want := newSecret(b).Check()
	for name, text := range map[string]string{
		"hex":               hex.EncodeToString(b),
		"upper hex":         strings.ToUpper(hex.EncodeToString(b)),
		"base64":            base64.StdEncoding.EncodeToString(b),
		"base64, no pad":    base64.RawStdEncoding.EncodeToString(b),
		"base64url":         base64.URLEncoding.EncodeToString(b),
		"base64url, no pad": base64.RawURLEncoding.EncodeToString(b),
		"space around":      " \t" + hex.EncodeToString(b) + "\r\n",
	} {
		s, err := ParseSecret(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s.Check() != want {
			t.Errorf("%s: another secret", name)
		}
	}
}

func TestParseSecretRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":       "",
		"space":       "  \n",
		"short hex":   hex.EncodeToString(counting(31)),
		"short":       base64.StdEncoding.EncodeToString(counting(31)),
		"a sentence":  "please do not guess this secret, it is important",
		"zeros":       strings.Repeat("0", 64),
		"one word":    strings.Repeat("deadbeef", 8),
		"huge":        strings.Repeat("ab", maxSecretText),
		"inner space": hex.EncodeToString(counting(16)) + " " + hex.EncodeToString(counting(16)),
	} {
		_, err := ParseSecret(text)
		if !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), "openssl rand") {
			t.Errorf("%s: %v", name, err)
		}
		if len(text) > 8 && err != nil && strings.Contains(err.Error(), strings.TrimSpace(text)[:8]) {
			t.Errorf("%s: the error quotes the secret: %v", name, err)
		}
	}
}

// Keys must not change between releases: tokens, sealed passwords and command ids of a
// running cluster depend on them. The values were computed with an HKDF written in
// another language.
func TestDeriveKnownAnswers(t *testing.T) {
	s := fixed(t)
	for label, want := range map[Label]string{
		LabelToken:     "8ad243c60bcfab07fd2a20306fe5bc0224a0ca8a0c7c18a8822336a890f9f5ae",
		LabelDevice:    "5bc3f2ae324d642b22a69ebe80888b12b9c162f84e02ca6d1334a531e2fd13e1",
		LabelSeal:      "b5ae848bf2bbc50344c2401bf249c4bdd3984a111b499bcc040e4cc4024d2c28",
		LabelClaims:    "3267290aefb88c8a55bff64368071ba00142fa7fcc1333f9bb5c1ae2b0b98b57",
		LabelCommandID: "45973dc1f9f40dfd43a37ca762e92d352d7c75da03f78ac930b7d546e211cf34",
	} {
		if got := s.Derive(label); hex.EncodeToString(got[:]) != want {
			t.Errorf("%s: %x", label, got)
		}
	}
	if got, want := s.Check(), "cc55ffe7feb4d69ca06e8b9063509c59"; got != want {
		t.Errorf("Check = %s", got)
	}
}

func TestCheckTellsSecretsApart(t *testing.T) {
	if a, b := NewSecret().Check(), NewSecret().Check(); a == b {
		t.Errorf("two secrets with check %s", a)
	}
}

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	made, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	again, err := LoadOrCreate(path)
	if err != nil || again.Check() != made.Check() {
		t.Errorf("second load: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

func TestLoadOrCreateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	checks := make([]string, 16)
	var wg sync.WaitGroup
	for i := range checks {
		wg.Go(func() {
			s, err := LoadOrCreate(path)
			if err != nil {
				t.Error(err)
				return
			}
			checks[i] = s.Check()
		})
	}
	wg.Wait()
	for _, c := range checks {
		if c != checks[0] {
			t.Fatalf("different secrets: %v", checks)
		}
	}
}

func TestLoadOrCreateRefuses(t *testing.T) {
	good := NewSecret().text()
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"group may read", good, 0o640, "chmod 600"},
		{"others may read", good, 0o604, "chmod 600"},
		{"others may write", good, 0o602, "chmod 600"},
		{"empty", "", 0o600, "openssl rand"},
		{"cut", good[:20], 0o600, "openssl rand"},
		{"binary", strings.Repeat("\x00", 32), 0o600, "openssl rand"},
		{"huge", strings.Repeat("A", 1<<20), 0o600, "openssl rand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreate(path)
			if !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("LoadOrCreate = %v", err)
			}
			if after, _ := os.ReadFile(path); string(after) != c.content {
				t.Error("the file was changed")
			}
		})
	}
	if _, err := LoadOrCreate(t.TempDir()); !errors.Is(err, ErrSecret) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := LoadOrCreate(filepath.Join(t.TempDir(), "no", "secret")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// A secret, and what holds keys made of it, must not turn up in any log or dump.
func TestSecretShowsNowhere(t *testing.T) {
	raw := []byte("secret marker of this test, long enough")
	text := base64.StdEncoding.EncodeToString(raw)
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := NewSealer(s)
	if err != nil {
		t.Fatal(err)
	}
	type config struct {
		Name   string
		Shown  *Secret
		hidden *Secret
		value  Secret
	}
	tokens, claims := NewTokens(s), NewClaims(s)
	if _, err := tokens.Sign(someToken()); err != nil { // so that their pools hold keyed states
		t.Fatal(err)
	}
	var log bytes.Buffer
	var out []string
	for _, v := range []any{s, *s, config{"n", s, s, *s}, &config{"n", s, s, *s}, []any{s}, map[string]*Secret{"k": s}, tokens, *claims, sealer, claims} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			out = append(out, fmt.Sprintf(verb, v))
		}
		j, _ := json.Marshal(v)
		x, _ := xml.Marshal(v)
		out = append(out, string(j), string(x))
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "v", v)
	}
	out = append(out, log.String())
	seal, token := s.Derive(LabelSeal), s.Derive(LabelToken)
	for _, b := range [][]byte{raw[:16], []byte(text[:20]), seal[:16], token[:16]} {
		for _, form := range []string{string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
			base64.StdEncoding.EncodeToString(b)[:20], strings.Trim(fmt.Sprint(b), "[]"), strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}")} {
			for _, o := range out {
				if strings.Contains(o, form) {
					t.Fatalf("%q shows in %q", form, o)
				}
			}
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add(hex.EncodeToString(counting(32)))
	f.Add(base64.StdEncoding.EncodeToString(counting(33)))
	f.Add("====")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSecret(text)
		if err != nil {
			if !errors.Is(err, ErrSecret) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := ParseSecret(s.text())
		if err != nil || again.Check() != s.Check() {
			t.Fatalf("%q does not survive being written: %v", text, err)
		}
	})
}
