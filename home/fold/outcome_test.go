package fold

import (
	"strings"
	"testing"

	"maru"
	"maru/record"
)

func TestOutcomesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.rules(record.RulesBody{OutcomesMax: 3, WindowMS: 10_000})
	w.register("alice")
	s := w.login("alice")
	update := func() record.Reply {
		c := w.command(record.Update, "alice", s)
		c.Update = &record.UpdateBody{Name: new("x")}
		w.now += 1000
		return w.call(c)
	}
	w.ok(update())
	r := update()
	if r.Code != maru.CodeTooMany || r.RetryAfterMS != 8_000 {
		t.Errorf("the fourth change: %+v, want to come back in 8 s", r)
	}
	w.refused(w.call(w.change("alice", s, "pw", "pw2")), maru.CodeTooMany)
	w.refused(w.call(w.attempt("alice", "pw")), maru.CodeTooMany)
	w.now += r.RetryAfterMS
	w.ok(update())
}

// A user who changes a long profile again and again: the row stays small, what is
// remembered is answered byte for byte, and there is room again when the client is
// told so.
func TestOutcomesAreBoundedByTheirBytes(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	long := record.UpdateBody{
		Name: new(strings.Repeat("\U0001F600", maru.MaxUserName)), Status: new(strings.Repeat("\U0001F600", maru.MaxUserStatus)),
		Email: new(strings.Repeat("e", maru.MaxEmail-2) + "@a"),
	}
	var sent []record.Command
	var refused record.Reply
	for refused.Code == "" {
		c := w.command(record.Update, "alice", s)
		c.Update = &long
		w.now += 100
		if refused = w.call(c); len(sent) > 1000 {
			t.Fatal("any number of changes is taken")
		}
		sent = append(sent, c)
	}
	limit, n := w.home("alice").Rules.OutcomesBytes, w.home("alice")
	if row := len(n.Row(w.user("alice")).State); refused.Code != maru.CodeTooMany || row > limit+4096 || row < limit/2 {
		t.Fatalf("after %d changes a row of %d bytes: %+v", len(sent), row, refused)
	}
	for _, c := range sent[:len(sent)-1] {
		first := w.replies[c.ID][0]
		if again := w.call(c); again.Code != "" || string(again.Result) != string(first.Result) {
			t.Fatalf("again: %s, first %s", again.Result, first.Result)
		}
	}
	again := sent[len(sent)-1]
	w.now += refused.RetryAfterMS - 1
	w.refused(w.call(again), maru.CodeTooMany)
	w.now++
	w.ok(w.call(again))
}

// What waits will have an outcome, and has its room.
func TestWaitersCountAsOutcomes(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	w.rules(record.RulesBody{OutcomesBytes: 2000})
	n := 0
	for ; n < maxWaiters; n++ {
		c := w.add("alice", s, bob, nil)
		w.send(c)
		if r := w.replies[c.ID]; len(r) == 1 {
			if r[0].Code != maru.CodeTooMany || r[0].RetryAfterMS <= 0 {
				t.Errorf("%+v", r[0])
			}
			break
		}
	}
	if n == 0 || n == maxWaiters {
		t.Errorf("%d wait beside a bound of 2,000 bytes", n)
	}
}

// The count of bytes goes with every change, and is the same in a user that was
// loaded; and it is no less than what the row really takes.
func TestBytesOfOutcomesAreCounted(t *testing.T) {
	seeds(t, 3, func(t *testing.T, seed uint64) {
		d := newDriver(t, seed)
		d.jumps = true
		most := 0
		d.check = func(w *world, slot int32, e *Effect) {
			n := w.nodes[slot]
			for _, id := range e.Changed {
				u, sum := n.Users[id], 0
				for i := range u.Outcomes {
					sum += u.Outcomes[i].size()
				}
				loaded := New(slot, slots, gateways)
				if err := loaded.Restore(n.Row(u)); err != nil {
					t.Fatal(err)
				}
				if u.held != sum || loaded.Users[id].held != sum {
					t.Fatalf("%s: %d bytes are counted, %d when loaded, want %d", id, u.held, loaded.Users[id].held, sum)
				}
				if row := len(record.MustEncode(u.Outcomes)); row > sum+len("null") {
					t.Fatalf("%s: %d bytes are counted, the row has %d", id, sum, row)
				}
				most = max(most, sum)
			}
		}
		d.run(600)
		if most < 500 {
			t.Fatalf("no more than %d bytes were counted", most)
		}
	})
}
