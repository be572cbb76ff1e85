package soak

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// town is the people who use a cluster, and what they found wrong. Its methods are
// safe for concurrent use unless they say otherwise.
type town struct {
	t        testing.TB
	gateways []string // as http://host:port; fixed
	client   *http.Client
	patience time.Duration // longer than any fault of the test
	seed     uint64

	stop  chan struct{} // closed: everybody finishes what is under way
	lives sync.WaitGroup

	answers, changes atomic.Int64

	mu       sync.Mutex // owns what follows
	people   []*person  // registered
	wrong    []string
	more     int
	statuses map[int]int // of tries, 0: no answer
	slowest  time.Duration
	last     time.Time // of a change that was accepted
}

// newTown founds a town of n people, who are registered and signed in when it
// returns.
func newTown(t testing.TB, n int, gateways ...string) *town {
	t.Helper()
	w := &town{
		t: t, gateways: gateways, patience: time.Minute, seed: *seed, stop: make(chan struct{}), statuses: map[int]int{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 2 * time.Second}},
	}
	if w.seed == 0 {
		w.seed = rand.Uint64()
	}
	t.Logf("-soak.seed=%d", w.seed)
	t.Cleanup(w.client.CloseIdleConnections)
	var arrivals sync.WaitGroup
	for i := range n {
		p := w.newPerson(fmt.Sprintf("user%02d", i), uint64(i))
		arrivals.Go(func() { w.arrive(p) })
	}
	arrivals.Wait()
	w.mustHold()
	return w
}

func (w *town) newPerson(id string, n uint64) *person {
	return &person{
		town: w, id: id, password: "the password of " + id, rand: rand.New(rand.NewPCG(w.seed, n)), turn: int(n),
		book: ledger{told: account{Friends: map[string]string{}}},
	}
}

// arrive makes somebody new one of the people.
func (w *town) arrive(p *person) {
	w.mu.Lock()
	w.people = append(w.people, p) // now: a registration under way counts
	w.mu.Unlock()
	if p.register() {
		p.login()
	}
}

// everybody returns the people so far, registered or about to be.
func (w *town) everybody() []*person {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.people)
}

// live lets all people do things until settle, and somebody new arrive now and
// then.
func (w *town) live() {
	old := w.everybody()
	for i, p := range old {
		w.lives.Go(func() {
			for acts := 1; w.open(); acts++ {
				p.act(old)
				time.Sleep(time.Duration(p.rand.IntN(20)) * time.Millisecond)
				if acts%busyActs == 0 {
					n := uint64(1_000_000*(i+1) + acts)
					p = w.newPerson(fmt.Sprintf("successor%d", n), n)
					w.arrive(p)
				}
			}
		})
	}
	w.lives.Go(func() {
		for i := len(old); w.open(); i++ {
			w.arrive(w.newPerson(fmt.Sprintf("newcomer%05d", i), uint64(i)))
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// busyActs is after how many things somebody else goes on: a user may not change
// more within 15 minutes than the home can remember outcomes for.
const busyActs = 200

func (w *town) open() bool {
	select {
	case <-w.stop:
		return false
	default:
		return true
	}
}

// settle ends live: whoever waits for an answer gets it first.
func (w *town) settle() {
	close(w.stop)
	w.lives.Wait()
}

// copyAt returns the town as it is now, with the people looking at another server.
func (w *town) copyAt(url string) *town {
	c := &town{t: w.t, gateways: []string{url}, client: w.client, patience: w.patience, seed: w.seed, stop: make(chan struct{}), statuses: map[int]int{}}
	for _, p := range w.everybody() {
		twin := c.newPerson(p.id, 0)
		twin.book = p.ledger()
		c.people = append(c.people, twin)
	}
	return c
}

// inspect lets some of the people look at their accounts.
func (w *town) inspect(limit int) {
	for _, p := range w.everybody() {
		if must := p.ledger(); must.told.Registered && must.token != "" && limit > 0 {
			p.look()
			limit--
		}
	}
}

// gateway returns where to try next.
func (w *town) gateway(turn int) string { return w.gateways[turn%len(w.gateways)] }

func (w *town) answered() { w.answers.Add(1) }

func (w *town) changed() {
	w.changes.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
}

// lastChange returns when a change was accepted last.
func (w *town) lastChange() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *town) tried(status int, took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		status = 0
	}
	w.statuses[status]++
	w.slowest = max(w.slowest, took)
}

// tries returns how many tries had a status.
func (w *town) tries(status int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.statuses[status]
}

// tell notes that something is wrong.
func (w *town) tell(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wrong) < 20 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	} else {
		w.more++
	}
}

// mustHold reports what people found wrong.
func (w *town) mustHold() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.wrong {
		w.t.Error(s)
	}
	if w.more > 0 {
		w.t.Errorf("and %d more", w.more)
	}
	w.wrong, w.more = nil, 0
}

// figures are for the log of a test.
func (w *town) figures() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d people, %d answers, %d accepted changes; tries by status %v, slowest %v",
		len(w.people), w.answers.Load(), w.changes.Load(), w.statuses, w.slowest.Round(time.Millisecond))
}

// percentiles writes the distribution of some times.
func percentiles(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(all))
	at := func(q float64) time.Duration { // nearest rank
		return s[int(math.Ceil(q*float64(len(s))))-1].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %v, p99 %v, max %v (n=%d)", at(0.5), at(0.99), at(1), len(s))
}
