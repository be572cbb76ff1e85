package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/record"
)

func TestBeatDecidesReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var mu sync.Mutex
		var late []maru.LogRecord
		cut := false
		arrives := r.homes.HandleDelivery
		r.home.deliver = func(rec maru.LogRecord) {
			mu.Lock()
			defer mu.Unlock()
			if cut {
				late = append(late, rec)
			} else {
				arrives(rec)
			}
		}
		setCut := func(v bool) { mu.Lock(); cut = v; mu.Unlock() }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.homes.Run(ctx)
		readyAfter := func(d time.Duration, ready bool) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if err := r.homes.Ready(); (err == nil) != ready {
				t.Fatalf("ready: %v, want %t", err, ready)
			}
		}
		readyAfter(time.Minute, true)
		setCut(true)
		readyAfter(1400*time.Millisecond, true) // the first lost beat is sent within 500 ms
		readyAfter(200*time.Millisecond, false)
		readyAfter(time.Hour, false)
		// Catching up with what is old does not help until what is recent arrives.
		for _, rec := range late[:len(late)-4] {
			arrives(rec)
		}
		readyAfter(0, false)
		arrives(late[len(late)-1])
		readyAfter(0, true)
		setCut(false)
		readyAfter(time.Minute, true)
	})
}

func TestNotReadyBeforeTheFirstBeatReturns(t *testing.T) {
	log := &stuckLog{}
	h, err := NewHomes(HomesConfig{Log: log, Partitions: 1, Topics: testTopics, Address: testAddress})
	if err != nil {
		t.Fatal(err)
	}
	if h.Ready() == nil {
		t.Fatal("ready before anything arrived")
	}
	h.HandleDelivery(maru.LogRecord{Value: record.MustEncode(record.Delivery{V: 1, To: testAddress.Gateway, Beat: 99})})
	if h.Ready() == nil {
		t.Fatal("ready by a beat that was never sent")
	}
	for range 10 {
		h.beat.send()
	}
	if len(log.records) != beatsUnsent {
		t.Fatalf("%d beats pile up in the producer, want %d", len(log.records), beatsUnsent)
	}
	if d, err := record.ParseDelivery(log.records[0].Value); err != nil || d.To != testAddress.Gateway || log.records[0].Partition != testAddress.Partition {
		t.Fatalf("beat %+v, %v", log.records[0], err)
	}
	log.done[0](-1, errors.New("no brokers"))
	if err := h.Ready(); err == nil || !strings.Contains(err.Error(), "no brokers") {
		t.Fatalf("reason %v does not name the log's", err)
	}
}

// stuckLog keeps records and the functions to end them with.
type stuckLog struct {
	records []maru.LogRecord
	done    []func(int64, error)
}

func (l *stuckLog) TryProduce(rec maru.LogRecord, done func(int64, error)) {
	l.records, l.done = append(l.records, rec), append(l.done, done)
}
