package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"maru"
	"maru/record"
)

// beatsTracked is how many beats back the time of sending is remembered. A beat
// that fell out of this memory without coming back is late in any case.
const beatsTracked = 16

// beatsUnsent is how many beats may wait in the producer: when the log is away
// for hours, its buffer is not to fill up with signs of life.
const beatsUnsent = 4

// beat is the gateway's sign of life to itself: a record that travels the way of
// every reply. When one has been under way for too long, the gateway is cut off
// from what homes send, and says so instead of letting clients wait.
//
// mu owns the fields below it. run is the only sender, the delivery reader the
// only caller of returned.
type beat struct {
	log    Log
	record maru.LogRecord // without the value
	to     string
	every  time.Duration
	limit  time.Duration

	mu     sync.Mutex
	sent   int64                   // number of the last beat sent; the first is 1
	back   int64                   // highest number that came back; those below it count as back
	sentAt [beatsTracked]time.Time // of beat n at n modulo the length
	unsent int                     // handed to the log, not yet accepted or refused
	err    error                   // why the log refused the last one, nil when it did not
}

func newBeat(cfg HomesConfig) *beat {
	return &beat{
		log:    cfg.Log,
		record: maru.LogRecord{Topic: cfg.Topics.Delivery, Partition: cfg.Address.Partition},
		to:     cfg.Address.Gateway,
		every:  cfg.BeatEvery,
		limit:  cfg.BeatLimit,
	}
}

func (b *beat) run(ctx context.Context) {
	tick := time.NewTicker(b.every)
	defer tick.Stop()
	for {
		b.send()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *beat) send() {
	b.mu.Lock()
	if b.unsent >= beatsUnsent {
		b.mu.Unlock()
		return
	}
	b.unsent++
	b.sent++
	n := b.sent
	b.sentAt[n%beatsTracked] = time.Now()
	b.mu.Unlock()

	rec := b.record
	rec.Value = record.MustEncode(record.Delivery{V: record.Version, To: b.to, Beat: n})
	b.log.TryProduce(rec, func(_ int64, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.unsent--
		b.err = err
	})
}

// returned notes that beat n was read. Numbers that were never sent come from
// somewhere else and are ignored.
func (b *beat) returned(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.back && n <= b.sent {
		b.back = n
	}
}

// ready is nil while the oldest beat that has not come back is younger than the limit.
func (b *beat) ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.back == 0 {
		return b.because("nothing has arrived from the delivery topic yet")
	}
	if b.back == b.sent {
		return nil
	}
	if b.sent-b.back <= beatsTracked {
		late := time.Since(b.sentAt[(b.back+1)%beatsTracked])
		if late <= b.limit {
			return nil
		}
		return b.because(fmt.Sprintf("what homes send has not arrived for %d ms", late.Milliseconds()))
	}
	return b.because("what homes send has not arrived for long")
}

// because adds the log's own error, when there is one; mu is held.
func (b *beat) because(what string) error {
	if b.err != nil {
		return fmt.Errorf("%s: %w", what, b.err)
	}
	return errors.New(what)
}
