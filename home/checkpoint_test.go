package home

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/record"
)

func TestCheckpointWaitsForAcks(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.log.hold = true
		id := r.register("a")
		r.sleep(5 * time.Second)
		if next, _, n := r.store.saved(); n > 1 || next != 0 {
			t.Fatalf("saved up to %d in %d checkpoints, though the answer may be lost", next, n)
		}
		if len(r.replies(id)) != 1 {
			t.Fatal("the answer waits for SQL")
		}
		r.log.release()
		synctest.Wait()
		next, _, _ := r.store.saved()
		if row := r.store.users["a"]; next != 1 || !row.Registered || row.Hash != maru.KeyHash("a") {
			t.Errorf("saved up to %d: %+v", next, row)
		}
	})
}

func TestApplyingGoesOnWhileACheckpointIsWritten(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		open := make(chan struct{})
		r.store.before = func(_ context.Context, call string, _ *maru.Checkpoint) error {
			if call == "checkpoint" {
				<-open
			}
			return nil
		}
		r.register("a")
		r.sleep(time.Second)
		id := r.register(mine(0))
		synctest.Wait()
		if len(r.replies(id)) != 1 {
			t.Error("applying waits for SQL")
		}
		close(open)
		r.sleep(time.Second)
		if next, _, _ := r.store.saved(); next != 2 || len(r.store.written[0].Users) != 1 && len(r.store.written[1].Users) != 1 {
			t.Errorf("saved up to %d in %+v", next, r.store.written)
		}
	})
}

// The replay publishes what was refused: nothing is lost, and nothing is done twice.
func TestRefusedOutputDropsTheSlot(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		refuse := errors.New("too large, says Kafka")
		r.log.produce = func(rec *maru.LogRecord) error {
			if rec.Topic == topics.Delivery {
				return refuse
			}
			return nil
		}
		id := r.register("a")
		r.sleep(time.Second)
		if why := r.dropped(); !errors.Is(why, errRefused) || !errors.Is(why, refuse) {
			t.Fatalf("dropped for %v", why)
		}
		if next, _, _ := r.store.saved(); next != 0 {
			t.Fatalf("saved up to %d", next)
		}
		r.log.produce = nil
		r.claim()
		r.sleep(time.Second)
		if all := r.replies(id); len(all) != 1 || all[0].Code != "" {
			t.Errorf("replies %+v", all)
		}
		if next, _, _ := r.store.saved(); next != 1 || r.dropped() != nil {
			t.Errorf("saved up to %d", next)
		}
	})
}

func TestDefiniteErrorTriesTheSameCheckpointAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		var tried []*maru.Checkpoint
		r.store.before = func(_ context.Context, call string, c *maru.Checkpoint) error {
			if call != "checkpoint" {
				return nil
			}
			if tried = append(tried, c); len(tried) <= 4 {
				return errSQL
			}
			return nil
		}
		r.register("a")
		r.sleep(150 * time.Millisecond)
		r.register(mine(0))
		r.sleep(5 * time.Second)
		if len(tried) != 6 {
			t.Fatalf("%d attempts", len(tried))
		}
		for _, c := range tried[1:5] {
			if c != tried[0] {
				t.Errorf("another checkpoint was written before the first: next %d, %d", c.Next, tried[0].Next)
			}
		}
		if next, _, _ := r.store.saved(); next != 2 || tried[5].Next != 2 || r.dropped() != nil {
			t.Errorf("saved up to %d", next)
		}
	})
}

func TestCheckpointsThatEndTheClaim(t *testing.T) {
	for name, failure := range map[string]error{"unknown outcome": maru.ErrOutcomeUnknown, "fenced": maru.ErrFenced} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				r.sleep(time.Second)
				var attempts atomic.Int32
				r.store.before = func(_ context.Context, call string, _ *maru.Checkpoint) error {
					if call == "checkpoint" {
						attempts.Add(1)
						return errors.Join(errors.New("wrapped"), failure)
					}
					return nil
				}
				r.register("a")
				r.sleep(5 * time.Second)
				if why := r.dropped(); !errors.Is(why, failure) || attempts.Load() != 1 {
					t.Fatalf("dropped for %v after %d attempts", why, attempts.Load())
				}
				before := len(r.log.read(topics.Delivery, 0))
				r.register(mine(0))
				r.sleep(time.Second)
				if after := len(r.log.read(topics.Delivery, 0)); after != before {
					t.Error("a slot that was dropped goes on answering")
				}
				r.store.before = nil
				r.claim()
				r.sleep(time.Second)
				if next, _, _ := r.store.saved(); next != 2 || len(r.store.users) != 2 {
					t.Errorf("after the next claim: %d, %d users", next, len(r.store.users))
				}
			})
		})
	}
}

func TestEvictionSparesWhatSQLDoesNotHave(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxResident = 1 }, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		open := make(chan struct{})
		r.store.before = func(_ context.Context, call string, _ *maru.Checkpoint) error {
			if call == "checkpoint" {
				<-open
			}
			return nil
		}
		r.register("a") // frozen: its checkpoint is being written
		r.sleep(time.Second)
		r.register(mine(0))                                                                                                        // dirty
		r.put(record.Command{Kind: record.Ask, ID: r.id(), Ask: &record.AskBody{What: record.AskUsers, Users: []string{mine(1)}}}) // clean
		synctest.Wait()
		if got := r.residents(); len(got) != 2 || got[0] != "a" || got[1] != mine(0) {
			t.Errorf("resident are %v, want the frozen and the dirty one", got)
		}
		close(open)
		r.sleep(time.Second)
		if got := r.residents(); len(got) != 0 {
			t.Errorf("resident are %v though SQL has them", got)
		}
		loads := len(r.store.loads)
		id := r.register("a")
		synctest.Wait()
		if all := r.replies(id); len(r.store.loads) != loads+1 || len(all) != 1 || all[0].Code != maru.CodeDuplicate {
			t.Errorf("after %d loads: %+v", len(r.store.loads)-loads, all)
		}
	})
}

func TestEvictionForgetsTheLeastRecentlyUsed(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxResident = 3 * 1000 }, func(t *testing.T, r *rig) {
		for i := range 6 {
			r.register(mine(i))
			r.register("a") // in use all the time
			r.sleep(time.Second)
		}
		got := r.residents()
		if len(got) < 2 || len(got) >= 7 {
			t.Fatalf("resident are %v", got)
		}
		want := []string{"a"}
		for i := range len(got) - 1 {
			want = append(want, mine(5-i))
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("resident are %v, want %v", got, want)
		}
		n := 0
		for _, ids := range r.store.loads {
			if slices.Contains(ids, "a") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("a user in use all the time was loaded %d times", n)
		}
	})
}

func TestPlannedReleaseLeavesNothingToReplay(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		for i := range 20 {
			r.register(mine(i))
		}
		synctest.Wait()
		start := time.Now()
		r.home.Release([]Lease{r.lease}, true)
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("took %v of virtual time", took)
		}
		if next, _, _ := r.store.saved(); next != 20 {
			t.Errorf("the successor replays from %d of 20", next)
		}
		if held, _ := r.home.Live(); held != 0 {
			t.Errorf("%d slots held", held)
		}
		before := maps.Clone(r.store.users)
		r.claim()
		r.sleep(time.Second)
		if !sameRows(before, r.store.users) || r.dropped() != nil {
			t.Error("the successor found another state")
		}
	})
}

func TestPlannedReleaseGivesUpOnSQL(t *testing.T) {
	inBubble(t, func(c *Config) { c.ReleasePatience = 700 * time.Millisecond }, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		r.store.before = func(ctx context.Context, call string, _ *maru.Checkpoint) error {
			<-ctx.Done()
			return ctx.Err()
		}
		r.register("a")
		synctest.Wait()
		start := time.Now()
		r.home.Release([]Lease{r.lease}, true)
		if took := time.Since(start); took != 700*time.Millisecond {
			t.Errorf("gave up after %v", took)
		}
		r.store.before = nil
	})
}

// A slot that is taken away between its claim and its first record has nothing to
// write: whoever gets it must not wait for that.
func TestReleaseBeforeServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.close()
		r.lease = Lease{Slot: mySlot, Serial: 1}
		if _, err := r.home.Claim(t.Context(), r.lease, 1, false); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if all, err := r.home.Residents(ctx); err != nil || len(all) != 0 {
			t.Errorf("residents %v, %v", all, err)
		}
		r.home.Release([]Lease{r.lease}, true)
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// A slot that always has something to apply writes checkpoints all the same: else
// the replay after a crash would grow to its bound under load.
func TestCheckpointsUnderLoad(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		r.log.produce = func(*maru.LogRecord) error { // the log takes its time
			time.Sleep(time.Millisecond)
			return nil
		}
		_, _, before := r.store.saved()
		ask := record.Command{Kind: record.Ask, Reply: &record.Address{Gateway: "g"}, Ask: &record.AskBody{What: record.AskUsers}}
		for range 5000 {
			ask.ID = r.id()
			r.put(ask)
		}
		r.sleep(3 * time.Second)
		if next, _, n := r.store.saved(); n-before < 2 || next < 1500 {
			t.Errorf("after 3 s of work: %d checkpoints, up to %d", n-before, next)
		}
		r.sleep(3 * time.Second)
	})
}
