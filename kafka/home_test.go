package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"maru"
)

// store is what SQL holds of the slots, shared by the homes of a test.
type store struct {
	mu   sync.Mutex // guards rows, for the time of an access
	rows map[int32]*row
}

type row struct {
	epoch, next, login int64
	generation         int32
	owner              string
	applied            []string // of commands, in order, as checkpointed
}

func newStore() *store { return &store{rows: map[int32]*row{}} }

func (s *store) row(n int32) *row {
	if s.rows[n] == nil {
		s.rows[n] = &row{login: Unset}
	}
	return s.rows[n]
}

func (s *store) view(n int32) row {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := *s.row(n)
	r.applied = slices.Clone(r.applied)
	return r
}

func (s *store) edit(n int32, fn func(*row)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.row(n))
}

// home is a Handler that applies records to lists and checkpoints them at once.
type home struct {
	t     testing.TB
	name  string
	store *store
	slots *Slots
	ready chan struct{} // closed when slots is set
	// beforeClaim, when set, runs first in Claim; an error is Claim's.
	beforeClaim func(ctx context.Context, l Lease, gen int32, force bool) error
	onRelease   func(ls []Lease, planned bool)
	onRecords   func(l Lease, recs []maru.LogRecord)

	mu       sync.Mutex // guards what follows, for the time of an access
	held     map[int32]*holding
	dropped  map[Lease]bool
	served   map[int32]int // how often Serve was called
	released []string
	claims   []string
	logins   []string // values, in the order handed on
	commands []string
	fatals   []error
}

type holding struct {
	lease  Lease
	epoch  int64
	next   int64
	login  int64
	served bool
	ends   map[string]int64
}

func newHome(t testing.TB, name string, st *store) *home {
	return &home{t: t, name: name, store: st, ready: make(chan struct{}), held: map[int32]*holding{}, dropped: map[Lease]bool{}, served: map[int32]int{}}
}

func (h *home) Claim(ctx context.Context, l Lease, gen int32, force bool) (Positions, error) {
	<-h.ready
	if h.beforeClaim != nil {
		if err := h.beforeClaim(ctx, l, gen, force); err != nil {
			return Positions{}, err
		}
	}
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	r := h.store.row(l.Slot)
	if gen < r.generation && !force {
		return Positions{}, maru.ErrStaleGeneration
	}
	r.epoch, r.generation, r.owner = r.epoch+1, gen, h.name
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[l.Slot] != nil {
		h.t.Errorf("%s: slot %d claimed while it is held", h.name, l.Slot)
	}
	h.held[l.Slot] = &holding{lease: l, epoch: r.epoch, next: r.next, login: r.login}
	h.claims = append(h.claims, fmt.Sprintf("%d gen %d force %v", l.Slot, gen, force))
	return Positions{Commands: r.next, Login: r.login}, nil
}

func (h *home) Serve(l Lease, at Positions, ends map[string]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dropped[l] {
		return
	}
	x := h.held[l.Slot]
	if x == nil || x.lease != l || x.served {
		h.t.Errorf("%s: Serve of %v, which is not a fresh claim", h.name, l)
		return
	}
	if at.Commands != x.next || at.Login < 0 {
		h.t.Errorf("%s: Serve of slot %d from %+v", h.name, l.Slot, at)
	}
	x.served, x.ends = true, maps.Clone(ends)
	h.served[l.Slot]++
}

func (h *home) Records(l Lease, recs []maru.LogRecord) {
	if h.onRecords != nil {
		h.onRecords(l, recs)
	}
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dropped[l] {
		return
	}
	x := h.held[l.Slot]
	if x == nil || x.lease != l || !x.served {
		h.t.Errorf("%s: records for %v, which is not served", h.name, l)
		return
	}
	r := h.store.row(l.Slot)
	if r.epoch != x.epoch {
		delete(h.held, l.Slot)
		h.dropped[l] = true
		h.slots.Drop(l, maru.ErrFenced)
		return
	}
	for _, rec := range recs {
		if rec.Partition != l.Slot {
			h.t.Errorf("%s: a record of partition %d for slot %d", h.name, rec.Partition, l.Slot)
		}
		if rec.Topic == loginTopic {
			h.logins = append(h.logins, string(rec.Value))
			r.login = rec.Offset + 1
			continue
		}
		if rec.Offset != x.next {
			h.t.Errorf("%s: slot %d got offset %d, the next is %d", h.name, l.Slot, rec.Offset, x.next)
		}
		x.next = rec.Offset + 1
		r.next = x.next
		r.applied = append(r.applied, string(rec.Value))
		h.commands = append(h.commands, string(rec.Value))
	}
}

func (h *home) Release(ls []Lease, planned bool) {
	if h.onRelease != nil {
		h.onRelease(ls, planned)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range ls {
		if x := h.held[l.Slot]; x != nil && x.lease == l {
			delete(h.held, l.Slot)
			h.released = append(h.released, fmt.Sprintf("%d planned %v", l.Slot, planned))
		} else if !h.dropped[l] {
			h.t.Errorf("%s: Release of %v, which is not held", h.name, l)
		}
	}
}

// owns returns the slots that are served by this home, by the store's fence too.
func (h *home) owns() []int32 {
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	var ns []int32
	for n, x := range h.held {
		if x.served && h.store.row(n).epoch == x.epoch {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns
}

func (h *home) failures() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.fatals)
}

// start runs the home's slots over link.
func (h *home) start(l *link, partitions int32, opts ...func(*SlotsConfig)) {
	h.t.Helper()
	cfg := SlotsConfig{Conn: l.conn(h.t), Group: "chatServerGroup", Commands: commandsTopic, Login: loginTopic, Partitions: partitions,
		LoginFromStart: true, Handler: h, Logger: testLogger(h.t, h.name),
		Fatal: func(err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.fatals = append(h.fatals, err)
		}}
	for _, o := range opts {
		o(&cfg)
	}
	var err error
	if h.slots, err = StartSlots(cfg); err != nil {
		h.t.Fatal(err)
	}
	close(h.ready)
}

func (h *home) stop() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.slots.Stop(ctx); err != nil {
		h.t.Errorf("%s: stop: %v", h.name, err)
	}
}

var errTest = errors.New("a fault of the test")

// record is what a home has seen, copied.
type record struct {
	claims, released []string
	served           map[int32]int
	held             int
}

func (h *home) seen() record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return record{slices.Clone(h.claims), slices.Clone(h.released), maps.Clone(h.served), len(h.held)}
}

// forget is what a handler does before it drops a lease.
func (h *home) forget(n int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.held[n]; x != nil {
		h.dropped[x.lease] = true
		delete(h.held, n)
	}
}

func (h *home) loginsSeen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.logins)
}

func (h *home) endsOf(n int32) map[string]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[n].ends
}
