package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

func newPolicy(t testing.TB, minBytes int, allowWeak bool) *Policy {
	t.Helper()
	p, err := NewPolicy(minBytes, allowWeak)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPolicy(t *testing.T) {
	for _, c := range []struct {
		name           string
		policy         *Policy
		user, password string
		want           error
	}{
		{"good", newPolicy(t, 0, false), "alice", "correct horse battery", nil},
		{"digits alone are allowed", newPolicy(t, 0, false), "alice", "90184627351", nil},
		{"eight bytes", newPolicy(t, 0, false), "alice", "kq7z!mwx", nil},
		{"seven bytes", newPolicy(t, 0, false), "alice", "kq7z!mw", ErrPasswordShort},
		{"three syllables are nine bytes", newPolicy(t, 0, false), "alice", "가나다", nil},
		{"eight bytes as given, seven in NFC", newPolicy(t, 0, false), "alice", "ce\u0301zaf!", nil},
		{"empty", newPolicy(t, 0, false), "alice", "", ErrPasswordLength},
		{"longest", newPolicy(t, 0, false), "alice", strings.Repeat("kq", 512), nil},
		{"too long", newPolicy(t, 0, false), "alice", strings.Repeat("k", 1025), ErrPasswordLength},
		{"common", newPolicy(t, 0, false), "alice", "12345678", ErrPasswordCommon},
		{"common in capitals", newPolicy(t, 0, false), "alice", "PassWord", ErrPasswordCommon},
		{"common and short", newPolicy(t, 4, false), "alice", "qwerty", ErrPasswordCommon},
		{"user id", newPolicy(t, 0, false), "alice.liddell", "alice.liddell", ErrPasswordIsUser},
		{"user id in capitals", newPolicy(t, 0, false), "alice.liddell", "Alice.Liddell", ErrPasswordIsUser},
		{"user id and more", newPolicy(t, 0, false), "alice.liddell", "alice.liddell!", nil},
		{"higher minimum", newPolicy(t, 12, false), "alice", "kq7z!mwxabc", ErrPasswordShort},
		{"weak", newPolicy(t, 0, true), "a", "1234", nil},
		{"weak in spite of a minimum", newPolicy(t, 12, true), "a", "a", nil},
		{"weak and empty", newPolicy(t, 0, true), "a", "", ErrPasswordLength},
		{"weak and too long", newPolicy(t, 0, true), "a", strings.Repeat("k", 1025), ErrPasswordLength},
	} {
		if err := c.policy.Check(c.user, []byte(c.password)); !errors.Is(err, c.want) {
			t.Errorf("%s: Check = %v, want %v", c.name, err, c.want)
		} else if err != nil && len(c.password) > 4 && strings.Contains(err.Error(), c.password) {
			t.Errorf("%s: the refusal quotes the password: %v", c.name, err)
		}
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	for _, n := range []int{-1, MaxPasswordBytes + 1} {
		for _, weak := range []bool{false, true} {
			if _, err := NewPolicy(n, weak); err == nil {
				t.Errorf("NewPolicy(%d, %v) accepted", n, weak)
			}
		}
	}
}

// The list comes from another module: these are the properties that maru relies on.
func TestCommonPasswords(t *testing.T) {
	common, err := commonPasswords()
	if err != nil {
		t.Fatal(err)
	}
	long := 0
	for password := range common {
		if password != strings.ToLower(password) || password == "" {
			t.Errorf("%q can never match", password)
		}
		if len(password) >= DefaultMinBytes {
			long++
		}
	}
	if len(common) < 3000 || long < 1000 {
		t.Errorf("%d passwords, %d of them long enough for the default minimum", len(common), long)
	}
	for _, password := range []string{"password", "12345678", "iloveyou", "qwertyuiop"} {
		if _, ok := common[password]; !ok {
			t.Errorf("%s is missing", password)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	p := newPolicy(f, 0, false)
	f.Add("alice", []byte("correct horse"))
	f.Add("\u212aate", []byte("kate\xff\u1161\u11a8"))
	f.Fuzz(func(t *testing.T, user string, password []byte) {
		given := slices.Clone(password)
		err := p.Check(user, password)
		if !slices.Equal(given, password) {
			t.Fatalf("%q became %q", given, password)
		}
		if err == nil && (len(password) < 8 || len(password) > 1024 || strings.EqualFold(user, norm.NFC.String(string(password)))) {
			t.Fatalf("accepted %q for %q", password, user)
		}
	})
}
