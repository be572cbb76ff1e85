package storetest

import (
	"slices"
	"sync"
	"testing"

	"maru"
	"maru/store"
)

func claimRaisesEpoch(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	first := claim(t, s, 3)
	if first.Epoch != 1 || first.Next != 0 || first.LoginNext != -1 || first.Generation != 1 || first.Slot != 3 || first.Aux != nil {
		t.Errorf("first claim is %+v, want epoch 1, next 0, login next -1, no aux", first)
	}
	write(t, s, &maru.Checkpoint{Slot: 3, Epoch: 1, Next: 42, LoginNext: 17, Aux: []byte{0, 255, 1}, RulesVersion: 2})

	second, err := s.Claim(t.Context(), maru.ClaimRequest{Slot: 3, Generation: 5, Owner: "home-2", Now: 99})
	if err != nil {
		t.Fatal(err)
	}
	if second.Epoch != 2 || second.Next != 42 || second.LoginNext != 17 || second.Generation != 5 || !slices.Equal(second.Aux, []byte{0, 255, 1}) {
		t.Errorf("second claim is %+v, want epoch 2 and the checkpoint", second)
	}
	want := maru.SlotRow{Slot: 3, Epoch: 2, Generation: 5, Owner: "home-2", ClaimedAt: 99, Next: 42, LoginNext: 17, RulesVersion: 2}
	if got := slotRow(t, s, 3); got != want {
		t.Errorf("slot is %+v, want %+v", got, want)
	}
	if other := claim(t, s, 4); other.Epoch != 1 {
		t.Errorf("another slot's epoch is %d, want 1", other.Epoch)
	}
	rows, err := s.Slots(t.Context())
	if err != nil || len(rows) != 2 || rows[0].Slot != 3 || rows[1].Slot != 4 || rows[1].LoginNext != -1 {
		t.Errorf("slots are %+v (%v), want 3 and 4 in order", rows, err)
	}
}

func highestRules(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	want := func(version int) {
		t.Helper()
		if got, err := s.MaxRulesVersion(t.Context()); got != version || err != nil {
			t.Errorf("the highest version is %d (%v), want %d", got, err, version)
		}
	}
	want(0)
	for slot, version := range []int{2, 7, 3} {
		c := claim(t, s, int32(slot))
		write(t, s, &maru.Checkpoint{Slot: int32(slot), Epoch: c.Epoch, Next: 1, RulesVersion: version})
	}
	want(7)
}

func claimOrderedByGeneration(t *testing.T, dsn string) {
	s := open(t, dsn, nil)
	ctx := t.Context()
	for _, step := range []struct {
		generation int32
		force      bool
		epoch      int64 // 0: refused
	}{
		{generation: 7, epoch: 1},
		{generation: 6},
		{generation: 7, epoch: 2}, // equal: twins of one generation are told apart by the epoch
		{generation: 9, epoch: 3},
		{generation: 8},
		{generation: 2, force: true, epoch: 4}, // the group was made anew
		{generation: 3, epoch: 5},              // and counts from there
	} {
		c, err := s.Claim(ctx, maru.ClaimRequest{Slot: 0, Generation: step.generation, Force: step.force, Owner: "home"})
		if step.epoch == 0 {
			wantErr(t, err, maru.ErrStaleGeneration)
			continue
		}
		if err != nil || c.Epoch != step.epoch || c.Generation != step.generation {
			t.Fatalf("claim %+v is %+v (%v)", step, c, err)
		}
	}
}

func concurrentClaimsAreGapless(t *testing.T, dsn string) {
	stores := []*store.Store{open(t, dsn, nil), open(t, dsn, nil)}
	const n = 32
	epochs := make([]int64, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c, err := stores[i%2].Claim(t.Context(), maru.ClaimRequest{Slot: 1, Generation: 1, Owner: "home"})
			if err != nil {
				t.Errorf("claim %d: %v", i, err)
			}
			epochs[i] = c.Epoch
		})
	}
	all.Wait()
	slices.Sort(epochs)
	for i, e := range epochs {
		if e != int64(i+1) {
			t.Fatalf("epochs are %v, want 1 to %d", epochs, n)
		}
	}
}
