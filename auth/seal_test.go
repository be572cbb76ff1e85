package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func newSealer(t testing.TB, s *Secret) *Sealer {
	t.Helper()
	sealer, err := NewSealer(s)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

func seal(t testing.TB, s *Sealer, user, command, password string) string {
	t.Helper()
	text, err := s.Seal(user, command, []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSealThenOpen(t *testing.T) {
	gateway, home := newSealer(t, fixed(t)), newSealer(t, fixed(t))
	for _, password := range []string{"x", "correct horse", "비밀번호", "\x00\xff", strings.Repeat("p", 61), strings.Repeat("p", 62), strings.Repeat("p", 63), strings.Repeat("p", MaxPasswordBytes)} {
		text := seal(t, gateway, "alice", "c1", password)
		if strings.Contains(text, password) && len(password) > 1 {
			t.Errorf("%q shows in %s", password, text)
		}
		if got, err := home.Open("alice", "c1", text); string(got) != password || err != nil {
			t.Errorf("Open = %q, %v; want %q", got, err, password)
		}
	}
}

func TestSealedIsBoundToUserAndCommand(t *testing.T) {
	s := newSealer(t, fixed(t))
	text := seal(t, s, "alice", "c1", "password")
	for _, c := range [][2]string{{"bob", "c1"}, {"alice", "c2"}, {"alicec", "1"}, {"c1", "alice"}, {"alice", ""}, {"", "c1"}, {"", ""}} {
		if got, err := s.Open(c[0], c[1], text); !errors.Is(err, ErrSealed) || got != nil {
			t.Errorf("opened for %q: %q, %v", c, got, err)
		}
	}
	if _, err := newSealer(t, NewSecret()).Open("alice", "c1", text); !errors.Is(err, ErrSealed) {
		t.Errorf("opened by another cluster: %v", err)
	}
	if again := seal(t, s, "alice", "c1", "password"); again == text {
		t.Error("two seals are equal and tell that the passwords are")
	}
}

func TestSealedLengthTellsLittle(t *testing.T) {
	s := newSealer(t, fixed(t))
	first := len(seal(t, s, "u", "c", "x"))
	for n := 1; n <= 62; n++ {
		if got := len(seal(t, s, "u", "c", strings.Repeat("x", n))); got != first {
			t.Fatalf("%d bytes are %d characters, one byte %d", n, got, first)
		}
	}
}

func TestSealBounds(t *testing.T) {
	s := newSealer(t, fixed(t))
	for _, n := range []int{0, MaxPasswordBytes + 1} {
		if _, err := s.Seal("u", "c", make([]byte, n)); !errors.Is(err, ErrPasswordLength) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	long := strings.Repeat("u", maxSealContext)
	if _, err := s.Seal(long, "c", []byte("password")); err == nil {
		t.Error("sealed for a user id without bounds")
	}
	if _, err := s.Open(long, "c", seal(t, s, "u", "c", "password")); !errors.Is(err, ErrSealed) {
		t.Errorf("opened for a user id without bounds: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	s := newSealer(t, fixed(t))
	text := seal(t, s, "u", "c", "password")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		// The top bit of an X25519 key is ignored (RFC 7748 section 5), yet both sides
		// hash the key as sent, so it counts too.
		for _, mask := range []byte{1, 0x80} {
			changed := bytes.Clone(raw)
			changed[i] ^= mask
			if _, err := s.Open("u", "c", base64.RawURLEncoding.EncodeToString(changed)); !errors.Is(err, ErrSealed) {
				t.Fatalf("byte %d does not count: %v", i, err)
			}
		}
	}
	lowOrder := append([]byte{sealVersion}, make([]byte, len(raw)-1)...)
	for name, text := range map[string]string{
		"empty": "", "not base64": "!!", "cut": text[:40], "padded": text + "=", "line end": text + "\n", "longer": text + "AAAA",
		"huge": strings.Repeat("A", 1<<20), "low order key": base64.RawURLEncoding.EncodeToString(lowOrder), "plain": "password",
	} {
		if got, err := s.Open("u", "c", text); !errors.Is(err, ErrSealed) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// Anyone with the public key may seal anything; what is inside is judged too.
func TestOpenRefusesOtherContent(t *testing.T) {
	s := newSealer(t, fixed(t))
	info, _ := sealInfo("u", "c")
	block := func(head ...byte) []byte { return append(head, make([]byte, sealBlock-len(head))...) }
	for name, plain := range map[string][]byte{
		"nothing": {}, "one byte": {0}, "no password": block(0, 0), "longer than it is": block(0, 200), "past the bound": block(0xff, 0xff),
		"no padding": {0, 1, 'x'}, "too much padding": make([]byte, 2*sealBlock),
		"too long": append([]byte{4, 1}, make([]byte, paddedLen(1025)-2)...),
	} {
		sealed, err := s.seal(info, plain)
		if err != nil {
			t.Fatal(err)
		}
		text := base64.RawURLEncoding.EncodeToString(append([]byte{sealVersion}, sealed...))
		if got, err := s.Open("u", "c", text); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := newSealer(f, fixed(f))
	genuine := seal(f, s, "u", "c", "password")
	f.Add("u", "c", genuine)
	f.Add("u", "c", genuine[:60])
	f.Add("", "", base64.RawURLEncoding.EncodeToString(append([]byte{sealVersion}, make([]byte, 200)...)))
	f.Fuzz(func(t *testing.T, user, command, text string) {
		got, err := s.Open(user, command, text)
		if err != nil {
			if !errors.Is(err, ErrSealed) || got != nil {
				t.Fatalf("Open = %q, %v", got, err)
			}
			return
		}
		if user != "u" || command != "c" || string(got) != "password" {
			t.Fatalf("opened %q for %q, %q: %q", text, user, command, got)
		}
	})
}

func FuzzSealRoundTrip(f *testing.F) {
	s := newSealer(f, fixed(f))
	f.Add("alice", "c1", []byte("password"))
	f.Fuzz(func(t *testing.T, user, command string, password []byte) {
		text, err := s.Seal(user, command, password)
		if err != nil {
			return
		}
		if got, err := s.Open(user, command, text); err != nil || !bytes.Equal(got, password) {
			t.Fatalf("%q came back as %q, %v", password, got, err)
		}
	})
}
