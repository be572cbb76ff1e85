package home

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"maru"
	"maru/auth"
	"maru/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var topics = Topics{Commands: "commands", Delivery: "delivery", LoginRequest: "login-request", LoginResponse: "login-response"}

// fakeStore is the SQL of one slot in memory. before is asked ahead of every call
// and may block or refuse; it is set while nothing runs (see sleep). mu owns the rest.
type fakeStore struct {
	before func(ctx context.Context, call string, c *maru.Checkpoint) error

	mu      sync.Mutex
	claim   maru.Claim
	users   map[string]maru.UserRow
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
		if r, ok := f.users[id]; ok {
			rows = append(rows, r)
		}
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

// rig is one home with one slot of two, fed by the fakes. The tests' goroutine
// owns it; fed is owned by log.mu, the feeder's notes by mu.
type rig struct {
	t     *testing.T
	home  *Home
	store *fakeStore
	log   *fakeLog
	check *Checker
	keys  *keys
	lease Lease
	ids   uint64

	mu      sync.Mutex
	drops   []error
	paused  map[string]bool
	pauses  int
	commits []int64
	fatal   []error
}

// keys are the secrets that gateways and homes share.
type keys struct {
	sealer *auth.Sealer
	claims *auth.Claims
	hasher *auth.Hasher
	pool   *auth.Pool
}

const (
	mySlot = 0
	nSlots = 2
)

func newKeys(t testing.TB, p auth.Params, workers int) *keys {
	t.Helper()
	secret := auth.NewSecret()
	sealer, err := auth.NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	hasher, err := auth.NewHasher(p)
	if err != nil {
		t.Fatal(err)
	}
	return &keys{sealer: sealer, claims: auth.NewClaims(secret), hasher: hasher, pool: auth.NewPool(workers)}
}

var cheap = auth.Params{MemoryKiB: 8, Time: 1, Threads: 1}

// newRig returns a home that holds nothing yet.
func newRig(t *testing.T, change func(*Config)) *rig {
	r := &rig{
		t: t, paused: map[string]bool{},
		store: &fakeStore{users: map[string]maru.UserRow{}, claim: maru.Claim{LoginNext: -1}},
		log:   &fakeLog{topics: map[string]map[int32][]maru.LogRecord{}},
		keys:  newKeys(t, cheap, 2),
	}
	r.check = NewChecker(r.keys.hasher, r.keys.pool, r.keys.sealer, r.keys.claims, auth.NewRemembered(100), 1)
	cfg := Config{
		Name: "h1", Topics: topics, Partitions: nSlots, Delivery: 2, Store: r.store, Log: r.log, Checker: r.check,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		Fatal: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.fatal = append(r.fatal, err)
		},
	}
	if change != nil {
		change(&cfg)
	}
	r.home = New(cfg)
	r.home.Start(r)
	return r
}

// inBubble runs a test with a home that serves its slot, in virtual time.
func inBubble(t *testing.T, change func(*Config), test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, change)
		r.claim()
		defer r.close()
		test(t, r)
	})
}

// sleep lets virtual time pass, and returns when all others wait for something: the
// test may then read and change what they use.
func (r *rig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) close() {
	r.log.release()
	r.home.Release([]Lease{r.lease}, false)
	r.home.Close()
	r.keys.pool.Close()
	r.check.Close()
}

// claim takes the slot and feeds it from its checkpoint.
func (r *rig) claim() {
	r.t.Helper()
	r.claimUpTo(func() int64 { return int64(len(r.log.read(topics.Commands, mySlot))) })
}

func (r *rig) claimUpTo(end func() int64) {
	r.t.Helper()
	r.lease = Lease{Slot: mySlot, Serial: r.lease.Serial + 1}
	c, err := r.home.Claim(r.t.Context(), r.lease, 1, false)
	if err != nil {
		r.t.Fatal(err)
	}
	r.home.Serve(r.lease, end(), max(c.LoginNext, 0))
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	commands, requests := r.log.topics[topics.Commands][mySlot], r.log.topics[topics.LoginRequest][mySlot]
	r.home.Records(r.lease, slices.Clone(commands[c.Next:]))
	r.home.Records(r.lease, slices.Clone(requests[max(c.LoginNext, 0):]))
	lease := r.lease
	r.log.feed = func(rec maru.LogRecord) {
		if rec.Partition == mySlot && (rec.Topic == topics.Commands || rec.Topic == topics.LoginRequest) {
			r.home.Records(lease, []maru.LogRecord{rec})
		}
	}
}

func (r *rig) Drop(l Lease, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l == r.lease {
		r.drops = append(r.drops, why)
	}
}

func (r *rig) Pause(_ Lease, topic string)  { r.flow(topic, true) }
func (r *rig) Resume(_ Lease, topic string) { r.flow(topic, false) }

func (r *rig) flow(topic string, paused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused[topic] = paused
	if paused {
		r.pauses++
	}
}

func (r *rig) CommitLogin(_ int32, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits = append(r.commits, at)
}

// dropped returns why the slot was dropped, once; nil if it was not.
func (r *rig) dropped() error {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.drops) > 1 {
		r.t.Fatalf("dropped %d times: %v", len(r.drops), r.drops)
	}
	if len(r.drops) == 0 {
		return nil
	}
	why := r.drops[0]
	r.drops = nil
	return why
}

// deaths returns why the home wanted its process to end.
func (r *rig) deaths() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.fatal)
}

func (r *rig) id() (id maru.CommandID) {
	r.ids++
	binary.BigEndian.PutUint64(id[8:], r.ids)
	return id
}

func (r *rig) put(c record.Command) {
	c.V = record.Version
	r.log.append(maru.LogRecord{Topic: topics.Commands, Partition: mySlot, Key: []byte(c.User), Value: record.MustEncode(c)}, nil)
}

// register opens an account whose password is "pw of" the id.
func (r *rig) register(user string) maru.CommandID {
	r.t.Helper()
	hash, err := r.keys.hasher.Hash([]byte("pw of " + user))
	if err != nil {
		r.t.Fatal(err)
	}
	id := r.id()
	r.put(record.Command{Kind: record.Register, ID: id, User: user, Reply: &record.Address{Gateway: "g"}, Register: &record.RegisterBody{Password: hash}})
	return id
}

// mine returns the i-th user id of the slot.
func mine(i int) string {
	id := []byte("u")
	for n := 0; ; n++ {
		if c := string(append(id, []byte(itoa(int32(n)))...)); maru.SlotOf(c, nSlots) == mySlot {
			if i--; i < 0 {
				return c
			}
		}
	}
}

// replies returns what was delivered for a command.
func (r *rig) replies(id maru.CommandID) (all []record.Reply) {
	r.t.Helper()
	for p := range int32(2) {
		for _, rec := range r.log.read(topics.Delivery, p) {
			d, err := record.ParseDelivery(rec.Value)
			if err != nil {
				r.t.Fatal(err)
			}
			if d.Reply != nil && d.Reply.ID == id {
				all = append(all, *d.Reply)
			}
		}
	}
	return all
}

func (r *rig) residents() []string {
	r.t.Helper()
	all, err := r.home.Residents(r.t.Context())
	if err != nil || len(all) != 1 {
		r.t.Fatalf("residents %v, %v", all, err)
	}
	return all[0].Users
}

// kinds counts the commands in the slot's log by kind.
func (r *rig) kinds() map[record.Kind]int {
	n := map[record.Kind]int{}
	for _, rec := range r.log.read(topics.Commands, mySlot) {
		if c, err := record.ParseCommand(rec.Value); err == nil {
			n[c.Kind]++
		}
	}
	return n
}

var errSQL = errors.New("SQL is away")

func decode[T any](t *testing.T, b []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

func sameRows(a, b map[string]maru.UserRow) bool {
	return maps.EqualFunc(a, b, func(x, y maru.UserRow) bool { return x.UserID == y.UserID && bytes.Equal(x.State, y.State) })
}
