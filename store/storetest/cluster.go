package storetest

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"maru"
	"maru/store"
)

func metaFirstWriterWins(t *testing.T, dsn string) {
	stores := []*store.Store{open(t, dsn, nil), open(t, dsn, nil)}
	if v, found, err := stores[0].Meta(t.Context(), "partitions"); v != "" || found || err != nil {
		t.Errorf("before: %q, %v, %v", v, found, err)
	}
	const n = 16
	var stored [n]string
	var created [n]bool
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			var err error
			stored[i], created[i], err = stores[i%2].EnsureMeta(t.Context(), "partitions", fmt.Sprint(i))
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	winners := 0
	for i := range n {
		if created[i] {
			winners++
			if stored[i] != fmt.Sprint(i) {
				t.Errorf("the winner %d got %q", i, stored[i])
			}
		}
		if stored[i] != stored[0] {
			t.Errorf("%q and %q were both told", stored[i], stored[0])
		}
	}
	if winners != 1 {
		t.Errorf("%d winners, want 1", winners)
	}
	if err := stores[0].SetMeta(t.Context(), "partitions", "마루'"); err != nil {
		t.Fatal(err)
	}
	if err := stores[0].SetMeta(t.Context(), "other", ""); err != nil {
		t.Fatal(err)
	}
	if v, found, err := stores[1].Meta(t.Context(), "partitions"); v != "마루'" || !found || err != nil {
		t.Errorf("after: %q, %v, %v", v, found, err)
	}
	if v, found, err := stores[1].Meta(t.Context(), "other"); v != "" || !found || err != nil {
		t.Errorf("an empty value: %q, %v, %v", v, found, err)
	}
}

func homes(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	for _, h := range []store.HomeRow{{Name: "c", RulesMax: 1, SeenAt: 10}, {Name: "a", RulesMax: 2, SeenAt: 20}, {Name: "b", RulesMax: 3, SeenAt: 30}, {Name: "c", RulesMax: 4, SeenAt: 40}} {
		if err := s.AnnounceHome(t.Context(), h.Name, h.RulesMax, h.SeenAt); err != nil {
			t.Fatal(err)
		}
	}
	live := func(since int64, want ...store.HomeRow) {
		t.Helper()
		if got, err := s.LiveHomes(t.Context(), since); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("live since %d are %v (%v), want %v", since, got, err, want)
		}
	}
	a, b, c := store.HomeRow{Name: "a", RulesMax: 2, SeenAt: 20}, store.HomeRow{Name: "b", RulesMax: 3, SeenAt: 30}, store.HomeRow{Name: "c", RulesMax: 4, SeenAt: 40}
	live(0, a, b, c)
	live(30, b, c)
	live(41)
	for range 2 {
		if err := s.ForgetHome(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	live(0, a, c)
}

func closedStore(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	c := claim(t, s, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	definite(t, s.Ping(t.Context()))
	definite(t, s.Checkpoint(t.Context(), &maru.Checkpoint{Epoch: c.Epoch, Next: 1}))
	if _, err := s.LoadUsers(t.Context(), 0, c.Epoch, []string{"a"}); err == nil {
		t.Error("a closed store loads")
	}
}
