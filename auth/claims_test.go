package auth

import (
	"bytes"
	"errors"
	"testing"
)

func TestClaims(t *testing.T) {
	claims := NewClaims(fixed(t))
	payload := []byte(`{"reply":"g1"}`)
	if got, err := claims.Sign("alice", "c1", payload); got != knownClaims || err != nil {
		t.Errorf("Sign = %s, %v", got, err)
	}
	for _, c := range []struct {
		name, user, command string
		ok                  bool
	}{
		{"own", "alice", "c1", true},
		{"another user", "bob", "c1", false},
		{"another command", "alice", "c2", false},
		{"border moved", "alicec", "1", false},
		{"swapped", "c1", "alice", false},
		{"nobody", "", "", false},
	} {
		got, err := claims.Verify(c.user, c.command, knownClaims)
		if c.ok && (err != nil || !bytes.Equal(got, payload)) || !c.ok && (!errors.Is(err, ErrClaims) || got != nil) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	if _, err := NewClaims(NewSecret()).Verify("alice", "c1", knownClaims); !errors.Is(err, ErrClaims) {
		t.Errorf("another cluster: %v", err)
	}
}

func TestClaimsBounds(t *testing.T) {
	claims := NewClaims(fixed(t))
	for _, n := range []int{0, 1, MaxClaimsBytes} {
		text, err := claims.Sign("u", "c", make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := claims.Verify("u", "c", text); err != nil || len(got) != n {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
	}
	if _, err := claims.Sign("u", "c", make([]byte, MaxClaimsBytes+1)); err == nil {
		t.Error("signed more than the bound")
	}
	if _, err := claims.Verify("u", "c", claims.signer.sign(make([]byte, MaxClaimsBytes+1), "u", "c")); !errors.Is(err, ErrClaims) {
		t.Errorf("verified more than the bound: %v", err)
	}
}

func FuzzClaims(f *testing.F) {
	claims := NewClaims(fixed(f))
	f.Add("alice", "c1", []byte("x"), knownClaims)
	f.Add("", "", []byte(nil), "")
	f.Fuzz(func(t *testing.T, user, command string, payload []byte, text string) {
		if _, err := claims.Verify(user, command, text); err == nil && text != knownClaims {
			t.Fatalf("accepted forged %q", text)
		}
		signed, err := claims.Sign(user, command, payload)
		if err != nil {
			return
		}
		if got, err := claims.Verify(user, command, signed); err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("came back as %q, %v", got, err)
		}
		if _, err := claims.Verify(user+"x", command, signed); err == nil {
			t.Fatal("accepted for another user")
		}
	})
}

func TestDeriveID(t *testing.T) {
	key := fixed(t).Derive(LabelCommandID)
	want := [16]byte{0x7b, 0xe9, 0xfc, 0xbc, 0x64, 0x29, 0x99, 0x07, 0xde, 0xa4, 0xc8, 0x52, 0xf2, 0x88, 0x83, 0x24}
	if got := DeriveID(key, "alice", "key-1"); got != want {
		t.Errorf("DeriveID = %x", got)
	}
	seen := map[[16]byte][]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}, {"c", "ab"},
		{"\x00\x00\x00\x01a"}, {"a\x00\x00\x00\x01b"}, {"a", "b"}} {
		id := DeriveID(key, parts...)
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q have one id", other, parts)
		}
		seen[id] = parts
	}
	if DeriveID([32]byte{}, "alice", "key-1") == want {
		t.Error("the key makes no difference")
	}
}
