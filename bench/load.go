package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// part is one measurement: what is done by how many for how long.
type part struct {
	name    string
	senders int
	length  time.Duration
	total   int64 // operations after which the part ends early; 0: no such end
	pid     int   // of the server, whose time is to be counted; 0: none
	timed   bool  // each operation is timed

	// op does operation n, counted from 0 over all senders, on behalf of one
	// sender, and returns how many operations it stands for. Its error is counted.
	op func(ctx context.Context, sender int, n int64) (int, error)
}

// tally is what one sender has done; it is the sender's alone until it ends.
type tally struct {
	took   []time.Duration
	done   int64
	failed int64
	err    error // the first
}

// run measures one part. An operation that was begun in time is finished and
// counted, and the clock stops with the last one.
func (c *Config) run(ctx context.Context, p part) (Result, error) {
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var next, done atomic.Int64
	tallies := make([]tally, p.senders)
	before := usage(p.pid)
	begin := time.Now()
	end := begin.Add(p.length)
	var wg sync.WaitGroup
	for i := range tallies {
		wg.Go(func() {
			t := &tallies[i]
			for now := time.Now(); work.Err() == nil && now.Before(end); {
				n := next.Add(1) - 1
				if p.total > 0 && n >= p.total {
					return
				}
				k, err := p.op(work, i, n)
				then := time.Now()
				t.count(k, err, p.timed, then.Sub(now))
				done.Add(int64(k))
				now = then
			}
		})
	}
	stop := c.watch(p, begin, &done)
	wg.Wait()
	elapsed := time.Since(begin)
	stop()
	r := Result{Name: p.name, Senders: p.senders, Seconds: elapsed.Seconds(), CPU: usage(p.pid).since(before, elapsed)}
	return r.add(tallies), ctx.Err()
}

func (t *tally) count(k int, err error, timed bool, took time.Duration) {
	if err != nil {
		t.failed++
		if t.err == nil {
			t.err = err
		}
		return
	}
	t.done += int64(k)
	if timed {
		t.took = append(t.took, took)
	}
}

// add puts together what the senders did.
func (r Result) add(tallies []tally) Result {
	var all []time.Duration
	var errs []error
	for i := range tallies {
		t := &tallies[i]
		r.Count += t.done
		r.Failed += t.failed
		all = append(all, t.took...)
		errs = append(errs, t.err)
	}
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Count) / r.Seconds
	}
	r.PerCPU = ratio(r.PerSecond, r.CPU.busy())
	r.Latency = summarise(all)
	if err := errors.Join(errs...); err != nil {
		r.Error = firstLine(err.Error())
	}
	return r
}

// watch tells the progress of a part until the function it returns is called.
func (c *Config) watch(p part, begin time.Time, done *atomic.Int64) (stop func()) {
	if c.Progress == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				s := now.Sub(begin).Seconds()
				c.say("%s: %.0f s, %s, %s/s", p.name, s, number(float64(done.Load())), number(float64(done.Load())/s))
			}
		}
	}()
	return func() { close(quit); <-ended }
}
