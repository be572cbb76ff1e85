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
		store: &fakeStore{users: map[string]maru.UserRow{}, friends: map[maru.FriendKey]maru.FriendRow{}, claim: maru.Claim{LoginNext: -1}},
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
	r.home.Close(context.Background())
	r.keys.pool.Close()
	r.check.Close(context.Background())
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
