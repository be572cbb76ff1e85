package kafka

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"maru"
)

// BenchmarkHandOver measures, in real time against the fake broker, how long
// commands of slots that move wait until they are handed on, over the ways a
// slot moves: the worst wait of any record, as percentiles over the rounds.
//
//	go test -run '^$' -bench HandOver -benchtime 20x ./kafka
func BenchmarkHandOver(b *testing.B) {
	for _, way := range []string{"scale-out", "planned stop", "crash"} {
		b.Run(way, func(b *testing.B) {
			var worst []time.Duration
			for range b.N {
				worst = append(worst, handOver(b, way))
			}
			slices.Sort(worst)
			b.ReportMetric(float64(worst[len(worst)/2].Milliseconds()), "p50-ms")
			b.ReportMetric(float64(worst[len(worst)*9/10].Milliseconds()), "p90-ms")
			b.ReportMetric(float64(worst[len(worst)-1].Milliseconds()), "max-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// handOver runs one round and returns the worst time between a record's
// production and its hand-over to a handler.
func handOver(b *testing.B, way string) time.Duration {
	br := newBroker(b, 1)
	defer br.Close()
	br.topics(b, testLayout(8, 1))
	st := newStore()
	waits := make(chan time.Duration, 100_000)
	newOne := func(name string) *home {
		h := newHome(b, name, st)
		h.onRecords = func(_ Lease, recs []maru.LogRecord) {
			for _, r := range recs {
				sent, _ := strconv.ParseInt(string(r.Value), 10, 64)
				waits <- time.Duration(time.Now().UnixNano() - sent)
			}
		}
		return h
	}
	a, c := newOne("a"), newOne("c")
	link := br.link("a")
	a.start(link, 8)
	ownsAll(b, 10*time.Second, 8, a)
	if way != "scale-out" {
		c.start(br.link("c"), 8)
		within(b, 10*time.Second, "four and four", func() bool { return len(a.owns()) == 4 && len(c.owns()) == 4 })
		time.Sleep(300 * time.Millisecond)
	}
	p := br.producer(b)
	defer p.Close()
	stop, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		t := time.NewTicker(5 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-stop:
				sent <- n
				return
			case <-t.C:
				for slot := range int32(8) {
					p.Produce(maru.LogRecord{Topic: commandsTopic, Partition: slot, Value: strconv.AppendInt(nil, time.Now().UnixNano(), 10)}, nil)
					n++
				}
			}
		}
	}()
	time.Sleep(100 * time.Millisecond)
	switch way {
	case "scale-out":
		c.start(br.link("c"), 8)
		within(b, 10*time.Second, "four and four", func() bool { return len(a.owns()) == 4 && len(c.owns()) == 4 })
	case "planned stop":
		a.stop()
		ownsAll(b, 10*time.Second, 8, c)
	case "crash":
		link.cut()
		a.slots.Crash()
		ownsAll(b, 10*time.Second, 8, c)
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	worst := time.Duration(0)
	for range <-sent {
		worst = max(worst, <-waits)
	}
	if way != "crash" {
		a.slots.Crash()
	}
	c.slots.Crash()
	return worst
}
