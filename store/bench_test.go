package store_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"maru"
	"maru/store"
	"maru/store/storetest"
)

func BenchmarkSQLite(b *testing.B) { benchmark(b, filepath.Join(b.TempDir(), "maru.db")) }

// benchmark measures what a slot does all the time: write dirty users, each of
// about 700 bytes, over existing rows, and load absent ones.
func benchmark(b *testing.B, dsn string) {
	s, err := store.Open(b.Context(), store.Config{DSN: dsn})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c, err := s.Claim(b.Context(), maru.ClaimRequest{Owner: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	cp := &maru.Checkpoint{Epoch: c.Epoch}
	var ids []string
	for i := range 1000 {
		u := storetest.User(fmt.Sprintf("user-%d", i))
		u.State = make([]byte, 300)
		cp.Users, ids = append(cp.Users, u), append(ids, u.UserID)
		for f := range 3 {
			cp.Friends = append(cp.Friends, maru.FriendRow{UserID: u.UserID, FriendID: fmt.Sprint("friend-", f)})
		}
	}
	if err := s.Checkpoint(b.Context(), cp); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("checkpoint/", n), func(b *testing.B) {
			part := &maru.Checkpoint{Epoch: c.Epoch, Users: cp.Users[:n]}
			for b.Loop() {
				cp.Next++
				part.Next = cp.Next
				for i := range part.Users {
					part.Users[i].Rev = cp.Next
				}
				if err := s.Checkpoint(b.Context(), part); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/user")
		})
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint("load/", n), func(b *testing.B) {
			for b.Loop() {
				users, err := s.LoadUsers(b.Context(), 0, c.Epoch, ids[:n])
				if err != nil || len(users) != n {
					b.Fatal(len(users), err)
				}
			}
		})
	}
	b.Run("claim", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Claim(b.Context(), maru.ClaimRequest{Slot: 1, Owner: "bench"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
