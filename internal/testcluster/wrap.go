package testcluster

import (
	"context"
	"errors"
	"slices"
	"sync"

	"maru"
	"maru/home"
)

// faultyLog is the log of a home with faults.
type faultyLog struct {
	home.Log
	mu     sync.Mutex
	refuse func(*maru.LogRecord) bool // true: refused for good, as by a broker's access list
	hold   func(*maru.LogRecord) bool // true: never sent, never answered
}

func (l *faultyLog) set(refuse, hold func(*maru.LogRecord) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse, l.hold = refuse, hold
}

func (l *faultyLog) Produce(r maru.LogRecord, done func(int64, error)) {
	l.mu.Lock()
	refused := l.refuse != nil && l.refuse(&r)
	held := l.hold != nil && l.hold(&r)
	l.mu.Unlock()
	switch {
	case refused:
		go done(-1, errors.New("the broker refused the record"))
	case held:
	default:
		l.Log.Produce(r, done)
	}
}

// unfencedLoads is a store whose loads do not check the epoch.
type unfencedLoads struct {
	home.Store
	c *Cluster
}

func (s unfencedLoads) LoadUsers(ctx context.Context, slot int32, _ int64, ids []string) ([]maru.UserRow, error) {
	rows, err := s.c.sql.Slots(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rows, func(r maru.SlotRow) bool { return r.Slot == slot })
	return s.Store.LoadUsers(ctx, slot, rows[i].Epoch, ids)
}

// dropOnce returns a node.Seams.Fetch that loses the nth record of commands.
func dropOnce(topic string, nth int) func([]maru.LogRecord) []maru.LogRecord {
	var mu sync.Mutex
	seen := 0
	return func(recs []maru.LogRecord) []maru.LogRecord {
		mu.Lock()
		defer mu.Unlock()
		if len(recs) == 0 || recs[0].Topic != topic {
			return recs
		}
		for i := range recs {
			if seen++; seen == nth {
				return slices.Delete(slices.Clone(recs), i, i+1)
			}
		}
		return recs
	}
}
