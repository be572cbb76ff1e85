package embedded

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkProduce measures the time from a record to its acknowledgement, one
// at a time, with the settings of maru's producers.
func BenchmarkProduce(b *testing.B) {
	for _, bc := range []struct {
		name    string
		cfg     func(*testing.B) Config
		outside bool
	}{
		{"memory", func(*testing.B) Config { return Config{} }, false},
		{"unsynced", func(b *testing.B) Config { return Config{Dir: b.TempDir(), NoSync: true} }, false},
		{"synced", func(b *testing.B) Config { return Config{Dir: b.TempDir()} }, false},
		{"synced-stamped", func(b *testing.B) Config { return Config{Dir: b.TempDir()} }, false},
		{"synced-tcp", func(b *testing.B) Config { return Config{Dir: b.TempDir(), Listen: "127.0.0.1:0"} }, true},
	} {
		b.Run(bc.name, func(b *testing.B) {
			broker := startBroker(b, bc.cfg(b))
			opts := []kgo.Opt{kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1), kgo.ProducerLinger(0)}
			cl := insideClient(b, broker, opts...)
			if bc.outside {
				cl = outsideClient(b, broker, opts...)
			}
			configs := map[string]*string{}
			if bc.name == "synced-stamped" {
				configs["message.timestamp.type"] = ptr(timestampAppend)
			}
			createTopic(b, cl, "commands", 1, configs)
			value := bytes.Repeat([]byte("x"), 200)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := cl.ProduceSync(b.Context(), &kgo.Record{Topic: "commands", Value: value}).FirstErr(); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkRestart measures from Start to a broker that serves, over a log of
// 20,000 small records.
func BenchmarkRestart(b *testing.B) {
	for _, bc := range []struct {
		name string
		end  func(*Broker) error
	}{{"clean", (*Broker).Close}, {"crash", (*Broker).Crash}} {
		b.Run(bc.name, func(b *testing.B) {
			dir := b.TempDir()
			broker := startBroker(b, Config{Dir: dir, NoSync: true})
			cl := insideClient(b, broker)
			createTopic(b, cl, "commands", 16, nil)
			for i := range 20_000 {
				cl.Produce(b.Context(), &kgo.Record{Topic: "commands", Partition: int32(i % 16), Value: make([]byte, 200)}, nil)
			}
			if err := cl.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
			cl.Close()
			for b.Loop() {
				b.StopTimer()
				if err := bc.end(broker); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				broker = startBroker(b, Config{Dir: dir, NoSync: true})
			}
		})
	}
}
