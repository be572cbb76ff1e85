package home

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru/auth"
)

// checker is a Checker whose verdicts can be waited for.
type checker struct {
	*Checker
	keys *keys
	t    testing.TB
}

func newChecker(t testing.TB, p auth.Params, workers, remembered int) *checker {
	k := newKeys(t, p, workers)
	c := &checker{NewChecker(k.hasher, k.pool, k.sealer, k.claims, auth.NewRemembered(remembered), 1), k, t}
	t.Cleanup(func() { k.pool.Close(); c.Close(context.Background()) })
	return c
}

func (c *checker) verdict(p Password) Verdict {
	got := make(chan Verdict, 1)
	c.Check(context.Background(), p, func(v Verdict) { got <- v })
	return <-got
}

func (c *checker) hash(password string) string {
	h, err := c.keys.hasher.Hash([]byte(password))
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

func (c *checker) seal(user, command, password string) string {
	s, err := c.keys.sealer.Seal(user, command, []byte(password))
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func TestVerdicts(t *testing.T) {
	c := newChecker(t, cheap, 1, 10)
	hash := c.hash("pw")
	stranger := newChecker(t, cheap, 1, 10)
	for name, p := range map[string]struct {
		Password
		want Verdict
	}{
		"plain, right":    {Password{User: "a", Plain: []byte("pw"), Hash: hash, Version: 1}, Right},
		"plain, wrong":    {Password{User: "a", Plain: []byte("guess"), Hash: hash, Version: 1}, Wrong},
		"empty":           {Password{User: "a", Plain: []byte{}, Hash: hash, Version: 1}, Wrong},
		"too long":        {Password{User: "a", Plain: bytes.Repeat([]byte("x"), 5000), Hash: hash, Version: 1}, Wrong},
		"nobody":          {Password{User: "n", Plain: []byte("pw")}, Wrong},
		"damaged hash":    {Password{User: "a", Plain: []byte("pw"), Hash: "$argon2id$", Version: 9}, Wrong},
		"sealed, right":   {Password{User: "a", Sealed: c.seal("a", "1", "pw"), SealedFor: "1", Hash: hash, Version: 1}, Right},
		"sealed, wrong":   {Password{User: "a", Sealed: c.seal("a", "1", "guess"), SealedFor: "1", Hash: hash, Version: 1}, Wrong},
		"sealed, nobody":  {Password{User: "n", Sealed: c.seal("n", "1", "pw"), SealedFor: "1"}, Wrong},
		"other command":   {Password{User: "a", Sealed: c.seal("a", "1", "pw"), SealedFor: "2", Hash: hash, Version: 1}, Unreadable},
		"other user":      {Password{User: "a", Sealed: c.seal("b", "1", "pw"), SealedFor: "1", Hash: hash, Version: 1}, Unreadable},
		"other cluster":   {Password{User: "a", Sealed: stranger.seal("a", "1", "pw"), SealedFor: "1", Hash: hash, Version: 1}, Unreadable},
		"garbage, sealed": {Password{User: "a", Sealed: "garbage", SealedFor: "1", Hash: hash, Version: 1}, Unreadable},
		"sealed counts":   {Password{User: "a", Sealed: c.seal("a", "1", "guess"), SealedFor: "1", Plain: []byte("pw"), Hash: hash, Version: 1}, Wrong},
	} {
		if got := c.verdict(p.Password); got != p.want {
			t.Errorf("%s: verdict %d, want %d", name, got, p.want)
		}
	}
}

func TestPlainPasswordIsWiped(t *testing.T) {
	c := newChecker(t, cheap, 1, 10)
	for name, p := range map[string]Password{
		"right":      {User: "a", Hash: c.hash("pw"), Version: 1},
		"remembered": {User: "a", Hash: "not looked at", Version: 1},
		"nobody":     {User: "n"},
	} {
		p.Plain = []byte("pw")
		c.verdict(p)
		c.keys.pool.Do(context.Background(), func() {}) // behind the job that wipes
		if !slices.Equal(p.Plain, []byte{0, 0}) {
			t.Errorf("%s: %q is still in memory", name, p.Plain)
		}
	}
}

// A remembered password is of one version of the credential: another password set
// since then does not let it in.
func TestRememberedPasswords(t *testing.T) {
	c := newChecker(t, cheap, 1, 10)
	hash := c.hash("pw")
	check := func(version int64, hash string) Verdict {
		return c.verdict(Password{User: "a", Plain: []byte("pw"), Hash: hash, Version: version})
	}
	if check(1, hash) != Right || check(1, "unreadable") != Right {
		t.Error("a remembered password is hashed again")
	}
	if check(2, c.hash("other")) != Wrong || check(1, "") != Wrong {
		t.Error("a remembered password is right for another credential")
	}
}

func TestCheckerBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeys(t, cheap, 1)
		c := NewChecker(k.hasher, k.pool, k.sealer, k.claims, auth.NewRemembered(1), 1)
		gate := make(chan struct{})
		if err := k.pool.Submit(t.Context(), func(error) { <-gate }); err != nil {
			t.Fatal(err)
		}
		limit := k.pool.Stats().QueueLimit
		var mu sync.Mutex
		counts := map[Verdict]int{}
		note := func(v Verdict) {
			mu.Lock()
			defer mu.Unlock()
			counts[v]++
		}
		ctx, cancel := context.WithCancel(t.Context())
		const more = 5000 // than fit all queues
		for range more {
			c.Check(ctx, Password{User: "n", Plain: []byte("x")}, note)
		}
		synctest.Wait()
		if counts[Busy] != more-limit || len(counts) != 1 {
			t.Errorf("verdicts %v, want %d busy", counts, more-limit)
		}
		cancel() // the slot was given up: nobody wants to know
		close(gate)
		synctest.Wait()
		if counts[Wrong] != 0 || counts[Busy] != more-limit {
			t.Errorf("verdicts %v after the end", counts)
		}
		c.Check(ctx, Password{User: "n", Plain: []byte("x")}, note)
		k.pool.Close()
		c.Close(context.Background())
		if counts[Wrong] != 0 {
			t.Errorf("verdicts %v after the end", counts)
		}
	})
}

// With the real costs: who asks for an id that nobody has waits as long as one who
// does not know the password.
func TestNobodyCostsAsMuchAsAWrongPassword(t *testing.T) {
	c := newChecker(t, auth.DefaultParams(), 1, 1)
	hash := c.hash("pw")
	once := func(p Password) time.Duration {
		start := time.Now()
		p.Plain = []byte("guess")
		if c.verdict(p) != Wrong {
			t.Fatal("a guess is right")
		}
		return time.Since(start)
	}
	known, nobody := time.Hour, time.Hour
	for range 20 { // in turns, the fastest of each: others use the processors too
		known = min(known, once(Password{User: "a", Hash: hash, Version: 1}))
		nobody = min(nobody, once(Password{User: "n"}))
		if nobody > known*2/3 && nobody < known*3/2 {
			return
		}
	}
	t.Errorf("a wrong password takes %v, nobody's %v", known, nobody)
}
