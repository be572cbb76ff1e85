package auth

import (
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
)

// Refusals of a [Pool].
var (
	ErrBusy       = errors.New("too many passwords are being checked: try again in a moment")
	ErrPoolClosed = errors.New("password checking has been shut down")
)

// poolQueue is how many jobs may wait. With it a full queue is a few seconds of work on
// small machines: what would wait longer is better refused at once.
const poolQueue = 64

// Pool runs password work on a bounded number of goroutines, so that a flood of logins
// takes a bounded amount of memory and leaves processors for messages. Jobs start in the
// order of their arrival. Goroutines exist only while there is work.
//
// All fields below mu are owned by it. It is held for list operations only, never while a
// job or a callback runs.
type Pool struct {
	workers int

	mu      sync.Mutex
	stats   PoolStats // Running is at most workers; Waiting is kept in the list
	waiting list.List // of *poolJob; not empty only while all workers run
	closed  bool
	alive   sync.WaitGroup // goroutines that run a job or report its end; Add only under mu
}

type poolJob struct {
	run  func(error)
	slot *list.Element // nil once the job has left the queue
	stop func() bool   // ends the watch on the job's context
}

// PoolStats is what a pool is doing and has done. Running is the number of hashes in
// memory at this moment.
type PoolStats struct {
	Workers, QueueLimit        int
	Running, Waiting           int
	Done, Refused, Interrupted uint64 // since the start: finished, turned away full, cancelled while waiting
}

// NewPool returns a pool with that many workers; 0 or less means GOMAXPROCS.
func NewPool(workers int) *Pool {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Pool{workers: workers}
}

// Submit hands job to the pool and never blocks. When it returns nil, job is called
// exactly once on another goroutine: with nil when it is its turn, or with an error and
// instead of doing its work when ctx ended first or the pool was closed. A job that has
// started is not interrupted. Submit returns [ErrBusy] when the queue is full,
// [ErrPoolClosed], or the error of ctx.
func (p *Pool) Submit(ctx context.Context, job func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrPoolClosed
	case p.stats.Running < p.workers:
		p.stats.Running++
		p.alive.Go(func() { p.work(job) })
	case p.waiting.Len() == poolQueue:
		p.stats.Refused++
		return ErrBusy
	default:
		j := &poolJob{run: job}
		j.slot = p.waiting.PushBack(j)
		j.stop = context.AfterFunc(ctx, func() { p.interrupt(j, ctx.Err()) })
	}
	return nil
}

// Do runs work on the pool and waits for it. It returns early when ctx ends while the job
// waits for its turn; once work runs, Do waits for its end, so that work may use the
// caller's buffers. Errors are those of [Pool.Submit]; with an error work has not run.
func (p *Pool) Do(ctx context.Context, work func()) error {
	done := make(chan error, 1)
	err := p.Submit(ctx, func(err error) {
		if err == nil {
			work()
		}
		done <- err
	})
	if err != nil {
		return err
	}
	return <-done
}

// Stats returns what the pool is doing now.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Workers, s.QueueLimit, s.Waiting = p.workers, poolQueue, p.waiting.Len()
	return s
}

// Close refuses new jobs, tells those that wait [ErrPoolClosed], and returns when the
// running ones have ended. It may be called more than once.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var left []*poolJob
	for j := p.next(); j != nil; j = p.next() {
		left = append(left, j)
	}
	p.mu.Unlock()
	for _, j := range left {
		j.stop()
		j.run(ErrPoolClosed)
	}
	p.alive.Wait()
}

// work runs first and then whatever waits, until nothing does.
func (p *Pool) work(first func(error)) {
	first(nil)
	for {
		p.mu.Lock()
		p.stats.Done++
		j := p.next()
		if j == nil {
			p.stats.Running--
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		j.stop()
		j.run(nil)
	}
}

// next takes the oldest job out of the queue; nil when there is none. mu is held.
func (p *Pool) next() *poolJob {
	front := p.waiting.Front()
	if front == nil {
		return nil
	}
	j := p.waiting.Remove(front).(*poolJob)
	j.slot = nil
	return j
}

// interrupt ends a job whose context ended, if it still waits.
func (p *Pool) interrupt(j *poolJob, cause error) {
	p.mu.Lock()
	if j.slot == nil { // its turn came, or Close took it
		p.mu.Unlock()
		return
	}
	p.waiting.Remove(j.slot)
	j.slot = nil
	p.stats.Interrupted++
	p.alive.Add(1)
	p.mu.Unlock()
	defer p.alive.Done()
	j.run(cause)
}
