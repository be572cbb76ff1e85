package home

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"maru"
)

// fakeStore is the SQL of one slot in memory. before is asked ahead of every call
// and may block or refuse; it is set while nothing runs (see sleep). mu owns the rest.
type fakeStore struct {
	before func(ctx context.Context, call string, c *maru.Checkpoint) error

	mu      sync.Mutex
	claim   maru.Claim
	users   map[string]maru.UserRow
	friends map[maru.FriendKey]maru.FriendRow
	written []*maru.Checkpoint
	loads   [][]string
}

func (f *fakeStore) ask(ctx context.Context, call string, c *maru.Checkpoint) error {
	if f.before == nil {
		return nil
	}
	return f.before(ctx, call, c)
}

func (f *fakeStore) Claim(ctx context.Context, r maru.ClaimRequest) (maru.Claim, error) {
	if err := f.ask(ctx, "claim", nil); err != nil {
		return maru.Claim{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claim.Slot, f.claim.Generation = r.Slot, r.Generation
	f.claim.Epoch++
	return f.claim, nil
}

func (f *fakeStore) LoadUsers(ctx context.Context, _ int32, epoch int64, ids []string) (rows []maru.UserRow, err error) {
	if err := f.ask(ctx, "load", nil); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if epoch != f.claim.Epoch {
		return nil, maru.ErrFenced
	}
	f.loads = append(f.loads, ids)
	for _, id := range ids {
		r, ok := f.users[id]
		if !ok {
			continue
		}
		r.Friends = nil
		for _, friend := range f.friends {
			if friend.UserID == id {
				r.Friends = append(r.Friends, friend)
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (f *fakeStore) Checkpoint(ctx context.Context, c *maru.Checkpoint) error {
	if err := f.ask(ctx, "checkpoint", c); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.Epoch != f.claim.Epoch {
		return maru.ErrFenced
	}
	f.claim.Next, f.claim.LoginNext, f.claim.Aux = c.Next, c.LoginNext, c.Aux
	for _, r := range c.Users {
		f.users[r.UserID] = r
	}
	for _, r := range c.Friends {
		f.friends[maru.FriendKey{UserID: r.UserID, FriendID: r.FriendID}] = r
	}
	for _, k := range c.Unfriended {
		delete(f.friends, k)
	}
	maps.DeleteFunc(f.users, func(_ string, r maru.UserRow) bool { return !r.Registered && r.ExpiresAt <= c.Expired })
	f.written = append(f.written, c)
	return nil
}

func (f *fakeStore) saved() (next, loginNext int64, checkpoints int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.claim.Next, f.claim.LoginNext, len(f.written)
}

// ack is what the log tells a producer, kept back.
type ack struct {
	done   func(int64, error)
	offset int64
}

// fakeLog is Kafka in memory: what is produced is read back by who listens. mu
// owns all of it, and the order in which readers get records.
type fakeLog struct {
	produce func(r *maru.LogRecord) error // before; an error refuses the record for good

	mu     sync.Mutex
	topics map[string]map[int32][]maru.LogRecord
	hold   bool
	held   []ack
	feed   func(r maru.LogRecord)
}

func (l *fakeLog) Produce(r maru.LogRecord, done func(int64, error)) {
	if l.produce != nil {
		if err := l.produce(&r); err != nil {
			done(-1, err)
			return
		}
	}
	offset, hold := l.append(r, done)
	if !hold {
		done(offset, nil)
	}
}

func (l *fakeLog) append(r maru.LogRecord, done func(int64, error)) (offset int64, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.topics[r.Topic] == nil {
		l.topics[r.Topic] = map[int32][]maru.LogRecord{}
	}
	part := l.topics[r.Topic][r.Partition]
	r.Offset, r.Time = int64(len(part)), time.Now().UnixMilli()
	l.topics[r.Topic][r.Partition] = append(part, r)
	if l.hold && done != nil {
		l.held, held = append(l.held, ack{done, r.Offset}), true
	}
	if l.feed != nil {
		l.feed(r)
	}
	return r.Offset, held
}

// release acknowledges what was held back.
func (l *fakeLog) release() {
	l.mu.Lock()
	held := l.held
	l.hold, l.held = false, nil
	l.mu.Unlock()
	for _, a := range held {
		a.done(a.offset, nil)
	}
}

func (l *fakeLog) read(topic string, partition int32) []maru.LogRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.topics[topic][partition])
}
