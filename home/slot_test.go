package home

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/record"
)

func TestFencedLoadPublishesNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		r.store.mu.Lock()
		r.store.claim.Epoch++ // another home has claimed the slot
		r.store.mu.Unlock()
		id := r.register("a")
		synctest.Wait()
		if why := r.dropped(); !errors.Is(why, maru.ErrFenced) {
			t.Fatalf("dropped for %v", why)
		}
		if len(r.replies(id)) != 0 {
			t.Error("answered from a state that is not ours")
		}
	})
}

func TestLoadIsTriedUntilSQLIsBack(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		var away atomic.Bool
		away.Store(true)
		r.store.before = func(_ context.Context, call string, _ *maru.Checkpoint) error {
			if away.Load() && call == "load" {
				return errSQL
			}
			return nil
		}
		id := r.register("a")
		r.sleep(10 * time.Second)
		if len(r.replies(id)) != 0 || r.dropped() != nil {
			t.Fatal("went on without SQL")
		}
		away.Store(false)
		r.sleep(2 * time.Second)
		if all := r.replies(id); len(all) != 1 || all[0].Code != "" {
			t.Errorf("replies %+v", all)
		}
	})
}

func TestGapDropsTheSlot(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		synctest.Wait()
		again := r.log.read(topics.Commands, mySlot)
		r.home.Records(r.lease, again) // polled before an earlier claim was given up
		synctest.Wait()
		if n := len(r.log.read(topics.Delivery, 0)); n != 1 || r.dropped() != nil {
			t.Fatalf("an old record was applied again: %d replies", n)
		}
		ahead := again[0]
		ahead.Offset = 2
		r.home.Records(r.lease, []maru.LogRecord{ahead})
		synctest.Wait()
		if why := r.dropped(); !errors.Is(why, errGap) {
			t.Errorf("dropped for %v", why)
		}
	})
}

func TestRecordsOfAnotherLeaseAreIgnored(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		old := r.lease
		r.claim()
		r.log.feed = nil
		id := r.register("a")
		r.home.Records(old, r.log.read(topics.Commands, mySlot))
		r.home.Serve(old, 0, 0)
		r.home.Release([]Lease{old}, false)
		synctest.Wait()
		if len(r.replies(id)) != 0 {
			t.Error("applied for a lease that has ended")
		}
		if held, live := r.home.Live(); held != 1 || live != 1 {
			t.Errorf("%d slots held, %d live", held, live)
		}
	})
}

func TestUnreadableRecordsAreSkipped(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		for _, v := range []string{"", "garbage", "[]", `{"v":99}`, `{"v":1,"kind":"unheard of"}`} {
			r.log.append(maru.LogRecord{Topic: topics.Commands, Partition: mySlot, Value: []byte(v)}, nil)
		}
		id := r.register("a")
		r.sleep(time.Second)
		if next, _, _ := r.store.saved(); len(r.replies(id)) != 1 || next != 6 {
			t.Errorf("saved up to %d, replies %+v", next, r.replies(id))
		}
	})
}

func TestApplyingStopsWhileTooMuchIsUnsaved(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxUnsaved, c.MaxQueued = 10, 1000 }, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		var away atomic.Bool
		away.Store(true)
		r.store.before = func(_ context.Context, call string, _ *maru.Checkpoint) error {
			if away.Load() && call == "checkpoint" {
				return errSQL
			}
			return nil
		}
		const all = 5000
		ask := record.Command{Kind: record.Ask, Reply: &record.Address{Gateway: "g"}, Ask: &record.AskBody{What: record.AskUsers}}
		for range all {
			ask.ID = r.id()
			r.put(ask)
		}
		r.sleep(time.Minute)
		applied := len(r.log.read(topics.Delivery, 0))
		if applied >= 10+batchSize {
			t.Errorf("%d records applied though 10 may be unsaved", applied)
		}
		if !r.paused[topics.Commands] || r.paused[topics.LoginRequest] || r.pauses != 1 {
			t.Errorf("paused %v, %d times", r.paused, r.pauses)
		}
		away.Store(false)
		r.sleep(time.Minute)
		next, _, _ := r.store.saved()
		if n := len(r.log.read(topics.Delivery, 0)); n != all || next != all || r.paused[topics.Commands] {
			t.Errorf("%d applied, saved up to %d, paused %v", n, next, r.paused)
		}
	})
}

// Pausing and resuming are calls to somebody else, made without a lock: the last of
// them must be the one that fits the queue, or the slot is never fed again.
func TestPauseIsNeverTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &slowFeeder{}
		r := newRig(t, func(c *Config) { c.MaxQueued = 100 })
		r.home.slots = f
		r.claim()
		defer r.close()
		synctest.Wait()
		var recs []maru.LogRecord
		for i := range 200 {
			recs = append(recs, maru.LogRecord{Topic: topics.Commands, Partition: mySlot, Offset: int64(i), Value: []byte("skip")})
		}
		r.home.Records(r.lease, recs)
		r.sleep(time.Minute)
		f.mu.Lock()
		defer f.mu.Unlock()
		if want := []bool{true, false}; !slices.Equal(f.calls, want) {
			t.Errorf("the feeder was paused (true) and resumed (false) in the order %v", f.calls)
		}
	})
}

// slowFeeder takes longer to pause than a slot takes to empty its queue.
type slowFeeder struct {
	mu    sync.Mutex
	calls []bool
}

func (f *slowFeeder) Drop(Lease, error)        {}
func (f *slowFeeder) CommitLogin(int32, int64) {}
func (f *slowFeeder) Resume(Lease, string)     { f.note(false) }
func (f *slowFeeder) Pause(Lease, string) {
	time.Sleep(time.Second)
	f.note(true)
}

func (f *slowFeeder) note(paused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, paused)
}

func TestWorkBesideTheFoldWaitsUntilLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) {
			c.Rules = func() record.RulesBody { return record.RulesBody{Zone: "Asia/Seoul"} }
		})
		defer r.close()
		where := r.id()
		r.put(record.Command{Kind: record.Where, ID: where, User: "a", Reply: &record.Address{Gateway: "g", Partition: 1}})
		r.request("a", `{"userId":"a","userPw":"x"}`)
		r.claimUpTo(func() int64 { return 3 }) // the end that was listed; two records are still to come
		r.sleep(time.Second)
		if len(r.replies(where)) != 0 || r.kinds()[record.LoginChecked] != 0 || r.kinds()[record.Rules] != 0 {
			t.Fatalf("began before the end of the log: %v", r.kinds())
		}
		if held, live := r.home.Live(); held != 1 || live != 0 {
			t.Errorf("%d slots held, %d live", held, live)
		}
		r.register("a")
		synctest.Wait()
		if len(r.replies(where)) != 0 {
			t.Fatal("began one record too early")
		}
		r.register(mine(0))
		r.sleep(time.Second)
		all := r.replies(where)
		if len(all) != 1 || r.kinds()[record.LoginChecked] != 1 || r.kinds()[record.Rules] != 1 {
			t.Fatalf("once live: %v, %+v", r.kinds(), all)
		}
		if got := decode[record.WhereResult](t, all[0].Result); got.Home != "h1" || got.Epoch != 1 || got.UserID != "a" || !got.Resident || got.Since == 0 {
			t.Errorf("where: %+v", got)
		}
	})
}

func TestRulesAreWrittenOnlyWhenTheyDiffer(t *testing.T) {
	want := record.RulesBody{Version: 1, Zone: "Asia/Seoul", FailMax: 7}
	inBubble(t, func(c *Config) { c.Rules = func() record.RulesBody { return want } }, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		if n := r.kinds()[record.Rules]; n != 1 {
			t.Fatalf("%d records of rules", n)
		}
		r.home.Release([]Lease{r.lease}, true)
		r.claim()
		r.sleep(time.Second)
		if n := r.kinds()[record.Rules]; n != 1 {
			t.Errorf("%d records of rules though nothing differs", n)
		}
		if c := r.store.written[len(r.store.written)-1]; !strings.Contains(string(c.Aux), "Asia/Seoul") || c.RulesVersion != 1 {
			t.Errorf("checkpoint %+v", c)
		}
	})
}

func TestHomesLeaveWhatTheyCannotRead(t *testing.T) {
	for name, spoil := range map[string]func(r *rig){
		"rules of a newer version": func(r *rig) {
			r.put(record.Command{Kind: record.Rules, Rules: &record.RulesBody{Version: 99}})
		},
		"a row nobody wrote": func(r *rig) {
			r.store.users["a"] = maru.UserRow{UserID: "a", State: []byte("garbage")}
			r.register("a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				r.sleep(time.Second)
				before := len(r.log.read(topics.Delivery, 0))
				spoil(r)
				id := r.register(mine(0))
				r.sleep(time.Second)
				if len(r.deaths()) != 1 || len(r.replies(id)) != 0 || len(r.log.read(topics.Delivery, 0)) != before {
					t.Errorf("fatal %v, replies %+v", r.deaths(), r.replies(id))
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.close()
		r.store.claim.Aux = []byte("garbage")
		if _, err := r.home.Claim(t.Context(), Lease{Serial: 1}, 1, false); err == nil || len(r.deaths()) != 1 {
			t.Errorf("a checkpoint that cannot be read: %v, fatal %v", err, r.deaths())
		}
		r.store.before = func(context.Context, string, *maru.Checkpoint) error { return maru.ErrStaleGeneration }
		if _, err := r.home.Claim(t.Context(), Lease{Serial: 2}, 1, false); !errors.Is(err, maru.ErrStaleGeneration) || len(r.deaths()) != 1 {
			t.Errorf("a stale claim: %v, fatal %v", err, r.deaths())
		}
	})
}

func TestResidents(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.register(mine(0))
		synctest.Wait()
		all, err := r.home.Residents(t.Context())
		if err != nil || len(all) != 1 || !slices.Equal(all[0].Users, []string{"a", mine(0)}) || all[0].Epoch != 1 || all[0].Next != 2 || !all[0].Live {
			t.Errorf("residents %+v, %v", all, err)
		}
		r.home.Release([]Lease{r.lease}, false)
		if all, err := r.home.Residents(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("after the release: %+v, %v", all, err)
		}
	})
}

func TestUnplannedReleaseWritesNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.sleep(time.Second)
		r.register("a")
		synctest.Wait()
		r.home.Release([]Lease{r.lease}, false)
		r.sleep(time.Second)
		if next, _, _ := r.store.saved(); next != 0 {
			t.Errorf("saved up to %d: the slot may be another's already", next)
		}
	})
}
