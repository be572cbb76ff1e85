package fold

import (
	"testing"

	"maru"
	"maru/record"
)

// BenchmarkApply measures commands that are the bulk of what a slot applies.
func BenchmarkApply(b *testing.B) {
	w := newWorld(b)
	w.register("alice")
	s, n := w.login("alice"), w.home("alice")
	b.Run("ask me", func(b *testing.B) {
		c := w.command(record.Ask, "alice", s)
		c.Ask = &record.AskBody{What: record.AskMe}
		b.ReportAllocs()
		for i := range b.N {
			if e := n.Apply(Input{Offset: int64(i), Time: w.now, Command: &c}); len(e.Outputs) != 1 {
				b.Fatal(e)
			}
		}
	})
	b.Run("login.checked", func(b *testing.B) {
		c := w.attempt("alice", "pw")
		b.ReportAllocs()
		for i := range b.N {
			c.ID = w.id()
			w.now += 500 // some 1,800 outcomes within the window
			if e := n.Apply(Input{Offset: int64(i), Time: w.now, Command: &c}); len(e.Outputs) != 2 {
				b.Fatal(e)
			}
		}
	})
	b.Run("register", func(b *testing.B) {
		c := w.registration("alice", "pw")
		b.ReportAllocs()
		for i := range b.N {
			n.Users["alice"] = &User{ID: "alice"}
			if e := n.Apply(Input{Offset: int64(i), Time: w.now, Command: &c}); len(e.Changed) != 1 {
				b.Fatal(e)
			}
		}
	})
	b.Run("row full of outcomes", func(b *testing.B) {
		u := &User{ID: "alice", Registered: true}
		r := record.MustEncode(record.UserResult{User: record.User{UserID: "alice", UserName: "Alice"}, Rev: 1})
		for u.held < n.Rules.OutcomesBytes {
			u.remember(Outcome{ID: maru.NewCommandID(), At: w.now, Result: r})
		}
		b.ReportAllocs()
		for range b.N {
			b.SetBytes(int64(len(n.Row(u).State)))
		}
	})
}
