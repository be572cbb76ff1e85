package fold

import (
	"errors"
	"strings"
	"testing"

	"maru"
	"maru/record"
)

func (w *world) rule(b record.RulesBody) *Effect {
	return w.put(0, record.MustEncode(record.Command{V: record.Version, Kind: record.Rules, Rules: &b}))
}

func TestRulesOfDates(t *testing.T) {
	w := newWorld(t)
	w.rules(record.RulesBody{Zone: "Asia/Seoul"})
	r := w.call(w.registration("alice", "pw"))
	if got := decode[record.UserResult](t, r.Result).User.JoinDate; *got != (record.Date{2023, 11, 15}) {
		t.Errorf("joined on %v in Seoul", *got)
	}
	w.rules(record.RulesBody{Zone: "America/Los_Angeles"})
	s := w.login("alice")
	r = w.ask("alice", s, record.AskBody{What: record.AskMe})
	if got := decode[record.UserResult](t, r.Result).User.JoinDate; *got != (record.Date{2023, 11, 14}) {
		t.Errorf("joined on %v in Los Angeles", *got)
	}
}

func TestRulesThatAreSkipped(t *testing.T) {
	w := newWorld(t)
	before := w.nodes[0].Rules
	for _, zone := range []string{"Nowhere/City", "../etc/passwd", "Local", "\x00"} {
		if e := w.rule(record.RulesBody{Zone: zone, FailMax: 1}); !e.Skipped {
			t.Errorf("zone %q is not the same on every machine, but was applied", zone)
		}
	}
	if w.nodes[0].Rules != before {
		t.Errorf("rules changed to %+v", w.nodes[0].Rules)
	}
}

func TestRulesKeepWhatIsNotSet(t *testing.T) {
	w := newWorld(t)
	w.rule(record.RulesBody{FailMax: 9})
	w.rule(record.RulesBody{WindowMS: 5, FailMax: -1})
	r := w.nodes[0].Rules
	if r.FailMax != 9 || r.WindowMS != 5 || r.Version != 1 || r.Zone != "UTC" {
		t.Errorf("rules %+v", r)
	}
	if r.Differs(record.RulesBody{}) || r.Differs(record.RulesBody{FailMax: 9, Zone: "UTC"}) || !r.Differs(record.RulesBody{Zone: "Asia/Seoul"}) {
		t.Error("Differs")
	}
	if r.Differs(record.RulesBody{Zone: "Nowhere/City", FailMax: 1}) {
		t.Error("a record that would be skipped is said to change something: it would be written for ever")
	}
}

func TestRulesBeyondThisBinary(t *testing.T) {
	w := newWorld(t)
	before := w.nodes[0].Rules
	e := w.rule(record.RulesBody{Version: MaxVersion + 1, FailMax: 9})
	if e.TooNew != MaxVersion+1 || w.nodes[0].Rules != before {
		t.Errorf("effect %+v, rules %+v", e, w.nodes[0].Rules)
	}
}

func TestAux(t *testing.T) {
	w := newWorld(t)
	bob, s := w.pair()
	w.ok(w.call(w.add("alice", s, bob, nil)))
	w.rules(record.RulesBody{Zone: "Asia/Seoul", FailMax: 2})
	for _, n := range w.nodes {
		back := New(n.Slot, slots, gateways)
		if err := back.SetAux(n.Aux()); err != nil {
			t.Fatal(err)
		}
		if string(back.Aux()) != string(n.Aux()) || back.Rules.loc.String() != "Asia/Seoul" {
			t.Errorf("slot %d: %s is restored as %s", n.Slot, n.Aux(), back.Aux())
		}
	}
	fresh := New(0, slots, gateways)
	if err := fresh.SetAux(nil); err != nil || string(fresh.Aux()) != string(New(0, slots, gateways).Aux()) {
		t.Errorf("an empty log: %v", err)
	}
	good := string(w.nodes[0].Aux())
	for name, bad := range map[string]string{
		"text": "garbage", "other P": string(New(0, slots+1, gateways).Aux()), "zone": strings.Replace(good, "Asia/Seoul", "Nowhere/City", 1),
	} {
		if err := New(0, slots, gateways).SetAux([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	var tooNew *TooNewError
	err := New(3, slots, gateways).SetAux([]byte(strings.Replace(good, `"version":1`, `"version":2`, 1)))
	if !errors.As(err, &tooNew) || tooNew.Slot != 3 || tooNew.Version != 2 || !strings.Contains(err.Error(), "newer maru") {
		t.Errorf("newer rules: %v", err)
	}
}

func TestStreamsAreDense(t *testing.T) {
	w := newWorld(t)
	bob, _ := w.pair()
	n := w.home(bob)
	added := func(number int64) *Effect {
		return w.put(n.Slot, record.MustEncode(record.Command{
			V: record.Version, Kind: record.FriendAdded, User: bob, Friend: &record.FriendBody{Friend: "alice"},
			From: &record.Stream{Cause: record.Cause{Slot: w.home("alice").Slot}, N: number},
		}))
	}
	mark := &n.Marks[w.home("alice").Slot]
	for i, step := range []struct {
		number         int64
		duplicate, gap bool
		mark, addedBy  int64
	}{
		{1, false, false, 1, 1},
		{1, true, false, 1, 1},
		{0, true, false, 1, 1},
		{-5, true, false, 1, 1},
		{3, false, true, 1, 1}, // 2 is missing
		{4, false, true, 1, 1},
		{2, false, false, 2, 2}, // closed
		{3, false, false, 3, 3},
		{2, true, false, 3, 3},
		{4, false, false, 4, 4},
	} {
		e := added(step.number)
		if e.Duplicate != step.duplicate || e.Gap != step.gap || *mark != step.mark || w.user(bob).AddedBy != step.addedBy {
			t.Fatalf("%d: number %d: %+v, mark %d, added by %d", i, step.number, e, *mark, w.user(bob).AddedBy)
		}
		if (step.duplicate || step.gap) && len(e.Outputs)+len(e.Changed) != 0 {
			t.Fatalf("%d: refused with an effect: %+v", i, e)
		}
	}
}

func TestStreamsOfSlotsThatAreNot(t *testing.T) {
	w := newWorld(t)
	bob, _ := w.pair()
	n := w.home(bob)
	before := string(n.Aux())
	for _, from := range []int32{-1, slots, 1 << 30} {
		e := w.put(n.Slot, record.MustEncode(record.Command{
			V: record.Version, Kind: record.FriendAdded, User: bob, Friend: &record.FriendBody{Friend: "alice"},
			From: &record.Stream{Cause: record.Cause{Slot: from}, N: 1},
		}))
		if !e.Skipped || len(e.Outputs) != 0 {
			t.Errorf("from slot %d: %+v", from, e)
		}
	}
	if string(n.Aux()) != before {
		t.Error("marks changed")
	}
}

// What a stream carries counts as accepted even when it cannot be applied: the
// source will not send another under its number.
func TestStreamGoesOnBehindWhatCannotBeApplied(t *testing.T) {
	w := newWorld(t)
	bob, _ := w.pair()
	n := w.home(bob)
	c := record.Command{V: record.Version, Kind: record.FriendAdded, User: bob, From: &record.Stream{Cause: record.Cause{Slot: w.home("alice").Slot}, N: 1}}
	if e := w.put(n.Slot, record.MustEncode(c)); !e.Skipped {
		t.Errorf("without a body: %+v", e)
	}
	c.From.N, c.Friend = 2, &record.FriendBody{Friend: "alice"}
	if e := w.put(n.Slot, record.MustEncode(c)); e.Gap || len(e.Outputs) != 1 {
		t.Errorf("the next: %+v", e)
	}
}

// A source whose rules were raised first may send what the target does not know yet.
// Counted as accepted it would be lost.
func TestStreamRefusesKindsOfNewerRules(t *testing.T) {
	w := newWorld(t)
	bob, _ := w.pair()
	n, from := w.home(bob), w.home("alice").Slot
	put := func(kind record.Kind, number int64) *Effect {
		return w.put(n.Slot, record.MustEncode(record.Command{
			V: record.Version, Kind: kind, User: bob, Friend: &record.FriendBody{Friend: "alice"}, From: &record.Stream{Cause: record.Cause{Slot: from}, N: number},
		}))
	}
	if e := put("friend.of-version-2", 1); !e.Gap || e.Skipped || n.Marks[from] != 0 {
		t.Errorf("a kind of newer rules: %+v, mark %d", e, n.Marks[from])
	}
	if e := put(record.FriendAdded, 2); !e.Gap {
		t.Errorf("the next overtakes it: %+v", e)
	}
	if e := put(record.FriendAdded, 1); e.Gap || n.Marks[from] != 1 { // sent again, and known now
		t.Errorf("sent again: %+v, mark %d", e, n.Marks[from])
	}
	if e := put("friend.of-version-2", 1); !e.Duplicate {
		t.Errorf("accepted before: %+v", e)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	w := newWorld(t)
	w.register("alice")
	s := w.login("alice")
	start := w.now
	w.now -= 3_600_000
	c := w.command(record.Update, "alice", s)
	c.Update = &record.UpdateBody{Name: new("x")}
	w.ok(w.call(c))
	u, n := w.user("alice"), w.home("alice")
	if u.Clock != start || n.Clock != start || u.Outcomes[len(u.Outcomes)-1].At != start {
		t.Errorf("the user's clock is %d, the slot's %d, want %d", u.Clock, n.Clock, start)
	}
	if e := n.effects[len(n.effects)-1]; e.Outputs[0].Time != w.now {
		t.Errorf("an output carries the time %d of its record, want %d", e.Outputs[0].Time, w.now)
	}
	if r := n.Row(&User{ID: "x"}); r.Hash != maru.KeyHash("x") {
		t.Errorf("row %+v", r)
	}
}
