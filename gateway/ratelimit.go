package gateway

import (
	"container/list"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"maru"
)

// Rate allows N events at once and N more in each Per.
type Rate struct {
	N   int
	Per time.Duration
}

// String returns the rate as people say it.
func (r Rate) String() string { return fmt.Sprintf("%d per %s", r.N, r.Per) }

const (
	// wideFactor is how much more a whole network may do than one address of it.
	wideFactor = 10
	// maxDebt bounds, in multiples of N, what attempts that were under way at
	// the same time may overdraw a rate.
	maxDebt = 60
	// limiterEntries bounds the table: when it is full, the entry that was not
	// touched for longest goes. About 300 bytes each.
	limiterEntries = 1 << 15
)

// limiter counts events by client network: failed logins, registrations. Each
// event counts for the address (IPv4) or the /64 (IPv6, which one subscriber has
// to himself), and with a wider limit for the /24 or /48 around it, against bot
// nets in one place.
//
// Looking and spending are two steps, because an attempt is known to have failed
// only at its end. Many attempts at once may thus overdraw the rate, and are in
// debt for as long as that many one after the other would have taken. That is the
// address's own debt: beyond its own rate it spends nothing of its neighbours'.
//
// mu owns everything; no call blocks.
type limiter struct {
	mu      sync.Mutex
	max     int
	buckets map[bucketKey]*list.Element
	order   *list.List // of *bucket, last used first
}

// bucketKey tells buckets apart: what is limited, and for whom.
type bucketKey struct {
	what string
	net  netip.Prefix
}

type bucket struct {
	key     bucketKey
	limiter *rate.Limiter
}

func newLimiter(max int) *limiter {
	return &limiter{max: max, buckets: make(map[bucketKey]*list.Element), order: list.New()}
}

// allow refuses with TOO_MANY, and when to come back, while addr has no event
// left. A rate with N < 1 limits nothing.
func (l *limiter) allow(what string, r Rate, addr netip.Addr, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.of(what, r, addr) {
		if left := b.TokensAt(now); left < 1 {
			return &maru.Error{
				Code: maru.CodeTooMany, Message: "too many attempts from your network; wait before the next one",
				RetryAfter: time.Duration((1 - left) / float64(b.Limit()) * float64(time.Second)),
			}
		}
	}
	return nil
}

// spend counts one event of addr.
func (l *limiter) spend(what string, r Rate, addr netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.of(what, r, addr) { // the narrow one first
		left := b.TokensAt(now)
		if left > float64(-maxDebt*b.Burst()) {
			b.ReserveN(now, 1)
		}
		if left < 1 {
			return
		}
	}
}

// of returns the buckets of addr, that of its network last; mu is held.
func (l *limiter) of(what string, r Rate, addr netip.Addr) []*rate.Limiter {
	if r.N < 1 {
		return nil
	}
	narrow, wide := 32, 24
	if addr.Is6() {
		narrow, wide = 64, 48
	}
	return []*rate.Limiter{l.bucket(what, r, addr, narrow), l.bucket(what, Rate{r.N * wideFactor, r.Per}, addr, wide)}
}

func (l *limiter) bucket(what string, r Rate, addr netip.Addr, bits int) *rate.Limiter {
	net, _ := addr.Prefix(bits) // the zero prefix for an invalid address: all such share a bucket
	key := bucketKey{what, net}
	if e, ok := l.buckets[key]; ok {
		l.order.MoveToFront(e)
		return e.Value.(*bucket).limiter
	}
	if l.order.Len() >= l.max {
		oldest := l.order.Back()
		l.order.Remove(oldest)
		delete(l.buckets, oldest.Value.(*bucket).key)
	}
	b := &bucket{key, rate.NewLimiter(rate.Every(r.Per/time.Duration(r.N)), r.N)}
	l.buckets[key] = l.order.PushFront(b)
	return b.limiter
}
