package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// cheap are the least parameters argon2 takes, for tests that are not about cost.
var cheap = Params{MemoryKiB: 8, Time: 1, Threads: 1}

func newHasher(t testing.TB, p Params) *Hasher {
	t.Helper()
	h, err := NewHasher(p)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The encodings are those that test.c of the argon2 reference implementation
// (P-H-C/phc-winner-argon2) expects for version 0x13.
func TestVerifyReferenceHashes(t *testing.T) {
	h := newHasher(t, cheap)
	for _, c := range []struct{ password, encoded string }{
		{"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
		{"password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"},
		{"password", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"},
		{"differentpassword", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94"},
	} {
		if ok, err := h.Verify(c.encoded, []byte(c.password)); !ok || err != nil {
			t.Errorf("Verify(%s, %q) = %v, %v", c.encoded, c.password, ok, err)
		}
		if ok, err := h.Verify(c.encoded, []byte(c.password+"x")); ok || err != nil {
			t.Errorf("Verify(%s) of a wrong password = %v, %v", c.encoded, ok, err)
		}
	}
}

func TestHashThenVerify(t *testing.T) {
	h := newHasher(t, cheap)
	longest := strings.Repeat("p", MaxPasswordBytes)
	for _, c := range []struct {
		name, made, tried string
		ok                bool
	}{
		{"same", "correct horse", "correct horse", true},
		{"case counts", "correct horse", "Correct horse", false},
		{"space counts", "correct horse", "correct horse ", false},
		{"one byte", "x", "x", true},
		{"longest", longest, longest, true},
		{"no truncation", longest, longest[:len(longest)-1] + "q", false},
		{"NUL does not end it", "a\x00b", "a\x00c", false},
		{"syllables and letters", "비밀번호", "비밀번호", true},
		{"composed and combining", "caf\u00e9", "cafe\u0301", true},
		{"no compatibility folding", "\uff41", "a", false},
		{"bytes that are no UTF-8", "\xff\xfe", "\xff\xfe", true},
		{"different bytes that are no UTF-8", "\xff\xfe", "\xfe\xff", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			encoded, err := h.Hash([]byte(c.made))
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := h.Verify(encoded, []byte(c.tried)); ok != c.ok || err != nil {
				t.Errorf("Verify = %v, %v; want %v", ok, err, c.ok)
			}
		})
	}
}

func TestPasswordBounds(t *testing.T) {
	h := newHasher(t, cheap)
	for _, password := range []string{"", strings.Repeat("x", MaxPasswordBytes+1)} {
		if _, err := h.Hash([]byte(password)); !errors.Is(err, ErrPasswordLength) {
			t.Errorf("Hash of %d bytes: %v", len(password), err)
		}
		if _, err := h.Verify(h.Dummy(), []byte(password)); !errors.Is(err, ErrPasswordLength) {
			t.Errorf("Verify of %d bytes: %v", len(password), err)
		}
	}
}

func TestCallersPasswordIsLeftAlone(t *testing.T) {
	h := newHasher(t, cheap)
	for _, text := range []string{"ascii password", "cafe\u0301"} {
		password := []byte(text)
		encoded, err := h.Hash(password)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Verify(encoded, password); err != nil {
			t.Fatal(err)
		}
		if string(password) != text {
			t.Errorf("%q became %q", text, password)
		}
	}
}

func TestCanonicalCopyIsWiped(t *testing.T) {
	nfc, wipe, err := canonical([]byte("cafe\u0301"))
	if err != nil || string(nfc) != "caf\u00e9" {
		t.Fatalf("canonical = %q, %v", nfc, err)
	}
	wipe()
	if slices.ContainsFunc(nfc, func(b byte) bool { return b != 0 }) {
		t.Errorf("left behind %q", nfc)
	}
}

func TestHashesAreSalted(t *testing.T) {
	h := newHasher(t, cheap)
	a, _ := h.Hash([]byte("same"))
	b, _ := h.Hash([]byte("same"))
	if a == b {
		t.Error("two hashes of one password are equal")
	}
}

func TestNeedsRehash(t *testing.T) {
	h := newHasher(t, Params{MemoryKiB: 16, Time: 2, Threads: 1})
	own, err := h.Hash([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, encoded string
		want          bool
	}{
		{"own", own, false},
		{"dummy", h.Dummy(), false},
		{"less memory", strings.Replace(own, "m=16", "m=8", 1), true},
		{"fewer passes", strings.Replace(own, "t=2", "t=1", 1), true},
		{"more memory than now", strings.Replace(own, "m=16", "m=32", 1), true},
		{"short salt", "$argon2id$v=19$m=16,t=2,p=1$c29tZXNhbHQ$" + own[strings.LastIndexByte(own, '$')+1:], true},
		{"unreadable", "x", true},
	} {
		if got := h.NeedsRehash(c.encoded); got != c.want {
			t.Errorf("%s: NeedsRehash = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestParamsValidate(t *testing.T) {
	if err := DefaultParams().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	for _, p := range []Params{
		{}, {MemoryKiB: 19456, Time: 0, Threads: 1}, {MemoryKiB: 19456, Time: 2, Threads: 0},
		{MemoryKiB: 7, Time: 1, Threads: 1}, {MemoryKiB: 15, Time: 1, Threads: 2},
		{MemoryKiB: maxMemoryKiB + 1, Time: 1, Threads: 1}, {MemoryKiB: 8, Time: maxTime + 1, Threads: 1},
		{MemoryKiB: 1024, Time: 1, Threads: maxThreads + 1}, {MemoryKiB: maxMemoryKiB, Time: 5, Threads: 1},
	} {
		if _, err := NewHasher(p); err == nil {
			t.Errorf("NewHasher(%+v) accepted", p)
		}
	}
}

// An unknown user's login verifies the dummy. Its cost is a function of what stands in
// its encoding, so equal parameters and lengths are equal work; the measurement below
// only shows that nothing else differs.
func TestDummyCostsWhatAHashCosts(t *testing.T) {
	h := newHasher(t, DefaultParams())
	stored, err := h.Hash([]byte("real password"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := parsePHC(stored)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parsePHC(h.Dummy())
	if err != nil {
		t.Fatalf("the dummy is not valid and would cost nothing: %v", err)
	}
	if a.params != b.params || len(a.salt) != len(b.salt) || len(a.hash) != len(b.hash) {
		t.Errorf("stored %s and dummy %s differ in cost", stored, h.Dummy())
	}
	if ok, err := h.Verify(h.Dummy(), []byte("real password")); ok || err != nil {
		t.Errorf("Verify(dummy) = %v, %v", ok, err)
	}
}

// Medians of interleaved runs. A difference in kind, such as a dummy that fails to parse,
// is a factor of a hundred in every round; a busy machine is not, so one round within
// bounds decides.
func TestDummyTakesAsLongAsAWrongPassword(t *testing.T) {
	h := newHasher(t, Params{MemoryKiB: 1024, Time: 1, Threads: 1})
	stored, err := h.Hash([]byte("real password"))
	if err != nil {
		t.Fatal(err)
	}
	timed := func(encoded string) time.Duration {
		start := time.Now()
		if ok, err := h.Verify(encoded, []byte("wrong password")); ok || err != nil {
			t.Fatalf("Verify = %v, %v", ok, err)
		}
		return time.Since(start)
	}
	var ratios []float64
	for range 8 {
		var known, unknown []time.Duration
		for range 25 {
			known = append(known, timed(stored))
			unknown = append(unknown, timed(h.Dummy()))
		}
		ratio := float64(median(unknown)) / float64(median(known))
		if ratio > 1/1.2 && ratio < 1.2 {
			return
		}
		ratios = append(ratios, ratio)
	}
	t.Errorf("unknown user against wrong password, medians of 8 rounds: %.2f", ratios)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
