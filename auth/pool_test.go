package auth

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hold fills every worker of p with a job that ends when the returned function is called.
func hold(t *testing.T, p *Pool) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	for range p.workers {
		if err := p.Submit(t.Context(), func(error) { <-gate }); err != nil {
			t.Fatal(err)
		}
	}
	return func() { close(gate) }
}

// A flood of 500 logins at once has at most one hash per worker in memory, 64 wait, and
// the rest is refused without waiting.
func TestPoolUnderFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers, flood = 2, 500
		p := NewPool(workers)
		var inFlight, most atomic.Int32
		results := make(chan error, flood)
		for range flood {
			go func() {
				results <- p.Do(t.Context(), func() {
					if n := inFlight.Add(1); n > most.Load() {
						most.Store(n)
					}
					time.Sleep(50 * time.Millisecond)
					inFlight.Add(-1)
				})
			}()
		}
		synctest.Wait()
		if s := p.Stats(); s.Running != workers || s.Waiting != poolQueue || s.Refused != flood-workers-poolQueue {
			t.Errorf("in the flood: %+v", s)
		}
		start := time.Now()
		done, busy := 0, 0
		for range flood {
			switch err := <-results; {
			case err == nil:
				done++
			case errors.Is(err, ErrBusy):
				if waited := time.Since(start); waited != 0 {
					t.Errorf("refused after %v", waited)
				}
				busy++
			default:
				t.Errorf("Do = %v", err)
			}
		}
		if done != workers+poolQueue || busy != flood-done {
			t.Errorf("%d done, %d refused", done, busy)
		}
		if most.Load() != workers {
			t.Errorf("%d at once, want %d", most.Load(), workers)
		}
		synctest.Wait()
		if s := p.Stats(); s.Running != 0 || s.Waiting != 0 || s.Done != uint64(done) {
			t.Errorf("after the flood: %+v", s)
		}
	})
}

func TestPoolKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1)
		release := hold(t, p)
		var order []int
		for i := range 10 {
			if err := p.Submit(t.Context(), func(error) { order = append(order, i) }); err != nil {
				t.Fatal(err)
			}
		}
		release()
		p.alive.Wait()
		for i, got := range order {
			if got != i {
				t.Fatalf("order %v", order)
			}
		}
		if len(order) != 10 {
			t.Fatalf("ran %v", order)
		}
	})
}

func TestPoolCancelWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(2)
		release := hold(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		submitted := make(chan error, poolQueue)
		for range poolQueue {
			if err := p.Submit(ctx, func(err error) { submitted <- err }); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Submit(t.Context(), func(error) {}); !errors.Is(err, ErrBusy) {
			t.Fatalf("Submit to a full queue = %v", err)
		}
		for range poolQueue {
			if err := <-submitted; !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("cancelled job was told %v", err)
			}
		}
		// The places of cancelled jobs are free although no worker has become free.
		start := time.Now()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := p.Do(ctx, func() { t.Error("ran after its context ended") })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Do = %v after %v", err, time.Since(start))
		}
		if s := p.Stats(); s.Interrupted != poolQueue+1 || s.Waiting != 0 || s.Running != 2 {
			t.Errorf("%+v", s)
		}
		release()
	})
}

func TestPoolRefusesEndedContext(t *testing.T) {
	p := NewPool(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Submit(ctx, func(error) { t.Error("called") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Submit = %v", err)
	}
	p.Close()
}

// Do lends the caller's buffers to the work, so it must not return before the work does.
func TestPoolDoOutlastsItsContextWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		finished := false
		err := p.Do(ctx, func() {
			time.Sleep(time.Second)
			finished = true
		})
		if err != nil || !finished {
			t.Errorf("Do = %v, finished %v", err, finished)
		}
	})
}

func TestPoolClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1)
		release := hold(t, p)
		told := make(chan error, 1)
		if err := p.Submit(t.Context(), func(err error) { told <- err }); err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() {
			p.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned while a job ran")
		default:
		}
		if err := <-told; !errors.Is(err, ErrPoolClosed) {
			t.Errorf("waiting job was told %v", err)
		}
		if err := p.Submit(t.Context(), func(error) { t.Error("called") }); !errors.Is(err, ErrPoolClosed) {
			t.Errorf("Submit = %v", err)
		}
		release()
		<-closed
		p.Close()
	})
}

// Every accepted job is called exactly once, whatever ends it.
func TestPoolCallsEachJobOnce(t *testing.T) {
	p := NewPool(2)
	const jobs = 2000
	var calls [jobs]atomic.Int32
	accepted := make([]bool, jobs)
	for i := range jobs {
		ctx, cancel := context.WithCancel(t.Context())
		err := p.Submit(ctx, func(error) {
			calls[i].Add(1)
			runtime.Gosched()
		})
		accepted[i] = err == nil
		if i%2 == 0 {
			cancel()
		}
		defer cancel()
		if i == jobs-10 {
			go p.Close()
		}
	}
	p.Close()
	for i := range jobs {
		if n := calls[i].Load(); (n == 1) != accepted[i] || n > 1 {
			t.Fatalf("job %d: accepted %v, called %d times", i, accepted[i], n)
		}
	}
}

func TestPoolDefaultWorkers(t *testing.T) {
	if s := NewPool(0).Stats(); s.Workers != runtime.GOMAXPROCS(0) || s.QueueLimit != 64 {
		t.Errorf("%+v", s)
	}
}
