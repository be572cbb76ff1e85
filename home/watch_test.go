package home

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"maru"
	"maru/record"
)

func TestWatchdogEndsAStuckProcess(t *testing.T) {
	var stuck chan struct{}
	inBubble(t, func(c *Config) {
		stuck = make(chan struct{})
		c.StuckAfter = 10 * time.Second
		c.Rules = func() record.RulesBody { // runs on the slot's goroutine
			<-stuck
			return record.RulesBody{}
		}
	}, func(t *testing.T, r *rig) {
		r.sleep(9 * time.Second)
		if len(r.deaths()) != 0 {
			t.Errorf("after 9 s: %v", r.deaths())
		}
		r.sleep(time.Minute)
		if len(r.deaths()) != 1 || !strings.Contains(fmt.Sprint(r.deaths()), "slot 0") {
			t.Errorf("stuck for a minute: %v", r.deaths())
		}
		close(stuck)
	})
}

func TestWatchdogBearsWaiting(t *testing.T) {
	inBubble(t, func(c *Config) {
		c.StuckAfter = 10 * time.Second
		c.Gate = func(_ context.Context, point string) bool {
			if point == "before-apply" {
				time.Sleep(5 * time.Second) // at work again, and not for too long
			}
			return true
		}
	}, func(t *testing.T, r *rig) {
		r.sleep(time.Hour) // idle
		r.store.before = func(_ context.Context, call string, _ *maru.Checkpoint) error {
			if call == "load" {
				time.Sleep(time.Hour)
			}
			return nil
		}
		r.log.produce = func(*maru.LogRecord) error {
			time.Sleep(time.Hour)
			return nil
		}
		id := r.register("a")
		r.sleep(3 * time.Hour)
		if len(r.replies(id)) != 1 {
			t.Error("SQL and Kafka took an hour each, and there is no answer")
		}
		if len(r.deaths()) != 0 {
			t.Errorf("waiting is taken for being stuck: %v", r.deaths())
		}
	})
}

// trimmer notes what a home wants deleted.
type trimmer struct {
	old   int64
	since int64
	calls []int64
	err   error
}

func (t *trimmer) OffsetAtTime(_ context.Context, topic string, partition int32, ms int64) (int64, error) {
	if topic != topics.Commands || partition != mySlot {
		return 0, fmt.Errorf("asked for %s/%d", topic, partition)
	}
	t.since = ms
	return t.old, t.err
}

func (t *trimmer) Trim(_ context.Context, _ string, _ int32, before int64) error {
	t.calls = append(t.calls, before)
	return nil
}

func TestTrim(t *testing.T) {
	tr := &trimmer{old: 2}
	inBubble(t, func(c *Config) { c.Trimmer, c.KeepLog, c.TrimEvery = tr, time.Hour, time.Minute }, func(t *testing.T, r *rig) {
		for i := range 4 {
			r.register(mine(i))
		}
		r.sleep(30 * time.Second)
		if len(tr.calls) != 0 {
			t.Fatalf("trimmed at once: %v", tr.calls)
		}
		next := func(i int) {
			r.sleep(time.Minute)
			r.register(mine(i))
			r.sleep(time.Second)
		}
		next(4)
		if len(tr.calls) != 1 || tr.calls[0] != 2 || tr.since < time.Now().Add(-time.Hour-2*time.Second).UnixMilli() || tr.since > time.Now().Add(-time.Hour).UnixMilli() {
			t.Errorf("trimmed %v, older than %v", tr.calls, time.UnixMilli(tr.since))
		}
		tr.old = 1000 // all is old: the checkpoint counts
		next(5)
		if len(tr.calls) != 2 || tr.calls[1] != 6 {
			t.Errorf("trimmed %v, the checkpoint is at 6", tr.calls)
		}
		tr.err = errSQL
		next(6)
		if len(tr.calls) != 2 || r.dropped() != nil {
			t.Errorf("trimmed %v though the offset is not known", tr.calls)
		}
	})
}
