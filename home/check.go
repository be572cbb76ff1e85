package home

import (
	"context"
	"runtime"
	"sync"

	"maru/auth"
)

// Password is a password to be checked: sealed by a gateway or, from other
// programs, plain.
type Password struct {
	User      string
	Sealed    string // sealed for User and the command SealedFor
	SealedFor string
	Plain     []byte
	Hash      string // empty: nobody has this id; costs as much as a wrong password
	Version   int64  // of the credential that Hash is
	GivesWay  bool   // counts as busy when half of the pool's queue is taken: the rest is for others
}

// Verdict is the result of a check.
type Verdict uint8

// Verdicts.
const (
	Wrong Verdict = iota
	Right
	Busy       // too many wait: not looked at
	Unreadable // sealed for another user, command or cluster
)

// Checker checks passwords beside the fold, for all slots of a process. It opens
// sealed passwords and looks among the remembered ones on a few goroutines of its
// own, and hashes on the bounded pool, whose queue being full is an answer.
type Checker struct {
	hasher   *auth.Hasher
	pool     *auth.Pool
	sealer   *auth.Sealer
	claims   *auth.Claims
	memory   *auth.Remembered
	requests chan check
	ended    chan struct{} // closed by Close
	stop     sync.Once
	wg       sync.WaitGroup
}

type check struct {
	ctx  context.Context
	p    Password
	done func(Verdict)
}

// NewChecker returns a checker; workers 0 means one for each processor. Close ends it.
func NewChecker(hasher *auth.Hasher, pool *auth.Pool, sealer *auth.Sealer, claims *auth.Claims, memory *auth.Remembered, workers int) *Checker {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	c := &Checker{hasher: hasher, pool: pool, sealer: sealer, claims: claims, memory: memory, requests: make(chan check, 4096), ended: make(chan struct{})}
	for range workers {
		c.wg.Go(func() {
			for {
				select {
				case <-c.ended:
					return
				case r := <-c.requests:
					c.open(r)
				}
			}
		})
	}
	return c
}

// Close ends the checker's goroutines; what waits is not checked. It is for the time
// when the contexts of all checks have ended. When ctx ends first, a check still
// waits for room in the producer's buffer, and ends when the producer closes.
func (c *Checker) Close(ctx context.Context) error {
	c.stop.Do(func() { close(c.ended) })
	return await(ctx, &c.wg)
}

// Check has p checked and calls done once, on another goroutine; not at all when
// ctx ends before. It does not block.
func (c *Checker) Check(ctx context.Context, p Password, done func(Verdict)) {
	select {
	case c.requests <- check{ctx, p, done}:
	default:
		go done(Busy) // a goroutine of its own: the caller may hold what done needs
	}
}

func (c *Checker) open(r check) {
	if r.ctx.Err() != nil {
		return
	}
	p := &r.p
	plain := p.Plain
	if p.Sealed != "" {
		var err error
		if plain, err = c.sealer.Open(p.User, p.SealedFor, p.Sealed); err != nil {
			r.done(Unreadable)
			return
		}
	}
	if c.memory.Check(p.User, uint64(p.Version), plain) && p.Hash != "" {
		clear(plain)
		r.done(Right)
		return
	}
	if stats := c.pool.Stats(); p.GivesWay && stats.Waiting >= stats.QueueLimit/2 {
		clear(plain)
		r.done(Busy)
		return
	}
	err := c.pool.Submit(r.ctx, func(err error) {
		defer clear(plain)
		verdict := Busy
		if err == nil {
			verdict = c.verify(p, plain)
		}
		if r.ctx.Err() == nil { // it may have ended long before the pool hears of it
			r.done(verdict)
		}
	})
	if err != nil {
		clear(plain)
		if r.ctx.Err() == nil {
			r.done(Busy)
		}
	}
}

// verify takes the same time for a user that exists and one that does not.
func (c *Checker) verify(p *Password, plain []byte) Verdict {
	hash := p.Hash
	if hash == "" {
		hash = c.hasher.Dummy()
	}
	ok, err := c.hasher.Verify(hash, plain)
	if err != nil || !ok || p.Hash == "" {
		return Wrong
	}
	c.memory.Add(p.User, uint64(p.Version), plain)
	return Right
}
