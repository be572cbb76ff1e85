package auth

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestRemembered(t *testing.T) {
	r := NewRemembered(10)
	password := []byte("correct horse")
	if r.Check("alice", 1, password) {
		t.Error("hit before anything was added")
	}
	r.Add("alice", 1, password)
	for _, c := range []struct {
		name     string
		user     string
		version  uint64
		password string
		want     bool
	}{
		{"same", "alice", 1, "correct horse", true},
		{"wrong password", "alice", 1, "correct horsf", false},
		{"longer", "alice", 1, "correct horse ", false},
		{"changed credential", "alice", 2, "correct horse", false},
		{"another user", "bob", 1, "correct horse", false},
		{"empty", "alice", 1, "", false},
		{"too long", "alice", 1, strings.Repeat("x", MaxPasswordBytes+1), false},
	} {
		if got := r.Check(c.user, c.version, []byte(c.password)); got != c.want {
			t.Errorf("%s: Check = %v", c.name, got)
		}
	}
	r.Add("alice", 2, []byte("caf\u00e9 au lait"))
	if r.Check("alice", 1, password) || !r.Check("alice", 2, []byte("cafe\u0301 au lait")) || r.Len() != 1 {
		t.Error("a newer password does not replace the older one")
	}
	r.Forget("alice")
	r.Forget("nobody")
	if r.Check("alice", 2, []byte("caf\u00e9 au lait")) || r.Len() != 0 {
		t.Error("hit after Forget")
	}
	r.Add("alice", 1, nil)
	if r.Len() != 0 {
		t.Error("remembered what cannot be a password")
	}
}

// A tag is worth nothing in another process, and two tags do not tell that two users have
// one password.
func TestRememberedTagsDiffer(t *testing.T) {
	r := NewRemembered(1)
	tag, _ := r.tag("alice", 1, []byte("password"))
	if other, _ := NewRemembered(1).tag("alice", 1, []byte("password")); tag == other {
		t.Error("two processes have one key")
	}
	if other, _ := r.tag("bob", 1, []byte("password")); tag == other {
		t.Error("two users have one tag")
	}
}

func TestRememberedDropsTheLeastRecentlyUsed(t *testing.T) {
	r := NewRemembered(3)
	password := []byte("password")
	for _, user := range []string{"a", "b", "c"} {
		r.Add(user, 1, password)
	}
	r.Check("a", 1, password)
	r.Check("b", 1, []byte("wrong")) // guessing keeps nobody in
	r.Add("d", 1, password)
	got := fmt.Sprint(r.Check("a", 1, password), r.Check("b", 1, password), r.Check("c", 1, password), r.Check("d", 1, password))
	if got != "true false true true" || r.Len() != 3 {
		t.Errorf("a b c d = %s, %d entries", got, r.Len())
	}
	r.Add("a", 1, password) // the next to leave, were it not for this
	r.Add("e", 1, password)
	if !r.Check("a", 1, password) || r.Check("c", 1, password) || r.Len() != 3 {
		t.Error("adding again is not a use")
	}
}

func TestRememberedConcurrently(t *testing.T) {
	r := NewRemembered(8)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				user := fmt.Sprint("user", (g+i)%16)
				password := []byte("password of " + user)
				r.Add(user, uint64(g), password)
				if r.Check(user, uint64(g), []byte("wrong")) {
					t.Errorf("%s: wrong password hit", user)
				}
				r.Check(user, uint64(g), password)
				if i%7 == 0 {
					r.Forget(user)
				}
			}
		})
	}
	wg.Wait()
	if n := r.Len(); n > 8 || n != r.order.Len() {
		t.Errorf("%d entries, %d in order", n, r.order.Len())
	}
}
