package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The order of first appearances holds whatever happens to requests: it is what
// lets homes and gateways drop duplicates by number.
func TestOrderHoldsUnderFaults(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, 3, func(t *testing.T, b *broker, a *Admin) { orderUnderFaults(t, b, a, seed) })
		})
	}
}

func orderUnderFaults(t *testing.T, b *broker, a *Admin, seed uint64) {
	const partitions, records = 3, 1500
	create(t, a, commandsTopic, partitions, 3, nil)
	rng := rand.New(rand.NewPCG(seed, 1))
	faults := 0
	onRequest(b, func(*kmsg.ProduceRequest) (kmsg.Response, error, bool) {
		if rng.IntN(4) == 0 {
			faults++
			return nil, errTest, true // the connection breaks, nothing was appended
		}
		return nil, nil, false
	})
	errs := []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas}
	var handles []*kfake.FaultHandle
	for p := range int32(partitions) {
		for _, e := range errs { // two of them answer an error although the batch was appended
			handles = append(handles, b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: commandsTopic, Partitions: []int32{p}, Err: e, Count: 5}))
		}
	}
	l := b.link("producer")
	p, err := NewProducer(l.conn(t), kgo.MaxBufferedRecords(64))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range records {
		if i%300 == 150 { // acknowledgements on their way are lost
			l.mu.Lock()
			for _, c := range l.conns {
				c.Close()
			}
			l.mu.Unlock()
		}
		if i%400 == 200 {
			b.ShufflePartitionLeaders()
		}
		p.Produce(maru.LogRecord{Topic: commandsTopic, Partition: int32(i % partitions), Value: []byte(strconv.Itoa(i))}, func(_ int64, err error) {
			if err != nil {
				t.Errorf("record %d: %v", i, err)
			}
		})
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	hits := 0
	for _, h := range handles {
		hits += h.Hits()
	}
	if faults < 10 || hits < 20 {
		t.Fatalf("only %d broken connections and %d refused batches: the test tests nothing", faults, hits)
	}
	firstsInOrder(t, b, partitions, records)
}

// firstsInOrder checks the log of record i in partition i mod partitions.
func firstsInOrder(t *testing.T, b *broker, partitions, records int) {
	t.Helper()
	doubles := 0
	for part := range int32(partitions) {
		want := int(part)
		seen := map[int]bool{}
		for _, v := range b.readAll(t, commandsTopic, part) {
			i, _ := strconv.Atoi(v)
			switch {
			case seen[i]:
				doubles++
			case i != want:
				t.Fatalf("partition %d: record %d appears first where %d should", part, i, want)
			default:
				seen[i], want = true, want+partitions
			}
		}
		if want < records {
			t.Errorf("partition %d: records from %d on are missing", part, want)
		}
	}
	if doubles == 0 {
		t.Error("no batch was appended twice: the faults did not bite")
	}
}

func TestSlotOfIsKafkasPartitioner(t *testing.T) {
	part := kgo.StickyKeyPartitioner(nil).ForTopic(commandsTopic)
	check := func(key string, n int32) {
		t.Helper()
		want := int32(part.Partition(&kgo.Record{Key: []byte(key)}, int(n)))
		rec := Keyed(maru.LogRecord{Key: []byte(key)}, n)
		if got := maru.SlotOf(key, n); got != want || rec.Partition != want {
			t.Fatalf("key %q of %d: SlotOf %d, Keyed %d, Kafka %d", key, n, got, rec.Partition, want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	syllables := []rune("가나다라마바사아자차카타파하김이박최정강조윤장임한글")
	for i := range 5000 {
		key := make([]rune, 1+rng.IntN(20))
		for j := range key {
			key[j] = syllables[rng.IntN(len(syllables))]
		}
		raw := make([]byte, rng.IntN(40)+1)
		for j := range raw {
			raw[j] = byte(rng.Uint32())
		}
		for _, n := range []int32{1, 2, 3, 16, 1024} {
			check("user"+strconv.Itoa(i), n)
			check(string(key), n)
			check(string(raw), n)
		}
	}
	if got := maru.SlotOf("a", 2); got != 0 {
		t.Errorf(`key "a" of 2 partitions is %d, want 0`, got)
	}
}

func TestFullBufferAndClose(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, commandsTopic, 1, 1, nil)
		l := b.link("producer")
		p, err := NewProducer(l.conn(t), kgo.MaxBufferedRecords(3))
		if err != nil {
			t.Fatal(err)
		}
		outcomes := make(chan error, 10)
		rec := maru.LogRecord{Topic: commandsTopic, Value: []byte("x")}
		done := func(_ int64, err error) { outcomes <- err }
		l.hold()
		for range 3 {
			p.TryProduce(rec, done)
		}
		if n, bytes := p.Buffered(); n != 3 || bytes == 0 {
			t.Errorf("buffered %d records of %d bytes", n, bytes)
		}
		p.TryProduce(rec, done)
		if err := <-outcomes; !errors.Is(err, ErrFull) {
			t.Errorf("TryProduce with a full buffer: %v, want ErrFull", err)
		}
		returned := make(chan struct{})
		go func() { p.Produce(rec, done); close(returned) }()
		synctest.Wait()
		select {
		case <-returned:
			t.Error("Produce did not wait for room")
		default:
		}
		l.resume()
		<-returned
		for range 4 {
			if err := <-outcomes; err != nil {
				t.Error(err)
			}
		}
		l.cut()
		p.Produce(rec, done)
		p.Close()
		if err := <-outcomes; !errors.Is(err, ErrClosed) {
			t.Errorf("a record of a closed producer: %v, want ErrClosed", err)
		}
		if got := b.readAll(t, commandsTopic, 0); len(got) != 4 {
			t.Errorf("%d records in the log, want 4", len(got))
		}
	})
}

func TestNothingIsGivenUpWhileTheClusterIsAway(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, commandsTopic, 1, 1, nil)
		p := b.producer(t)
		defer p.Close()
		away := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: commandsTopic, Err: kerr.UnknownTopicOrPartition, Count: -1})
		outcome := make(chan error, 1)
		p.Produce(maru.LogRecord{Topic: commandsTopic, Value: []byte("x")}, func(_ int64, err error) { outcome <- err })
		time.Sleep(10 * time.Minute)
		select {
		case err := <-outcome:
			t.Fatalf("given up: %v", err)
		default:
		}
		away.Remove()
		if err := <-outcome; err != nil {
			t.Error(err)
		}
	})
}

func TestRefusalsAreErrors(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, commandsTopic, 1, 1, nil)
		p := b.producer(t)
		defer p.Close()
		big := maru.LogRecord{Topic: commandsTopic, Key: []byte("k"), Value: []byte(strings.Repeat("x", MaxRecordBytes))}
		for name, produce := range map[string]func(maru.LogRecord, func(int64, error)){"Produce": p.Produce, "TryProduce": p.TryProduce} {
			called := false
			produce(big, func(_ int64, err error) {
				called = true
				if !errors.Is(err, ErrRecordTooLarge) {
					t.Errorf("%s: %v", name, err)
				}
			})
			if !called {
				t.Errorf("%s: a record that is too large was not refused at once", name)
			}
		}
		big.Value = big.Value[1:] // now exactly as large as allowed
		outcome := make(chan error, 1)
		done := func(_ int64, err error) { outcome <- err }
		p.Produce(big, done)
		if err := <-outcome; err != nil {
			t.Error(err)
		}
		p.Produce(maru.LogRecord{Topic: commandsTopic, Partition: 7}, done)
		if err := <-outcome; err == nil {
			t.Error("a partition that does not exist was accepted")
		}
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: commandsTopic, Err: kerr.TopicAuthorizationFailed})
		p.Produce(maru.LogRecord{Topic: commandsTopic}, done)
		if err := <-outcome; !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("a refused record: %v", err)
		}
		p.Produce(maru.LogRecord{Topic: commandsTopic}, nil)
		if err := p.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRecordsSurviveTheJourney(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, loginTopic, 2, 1, nil)
		at := time.Now().Add(-time.Hour).UnixMilli()
		sent := maru.LogRecord{Topic: loginTopic, Partition: 1, Time: at, Key: []byte("홍길동"), Value: []byte("{}"),
			Headers: []maru.Header{{Key: "maru-id", Value: []byte{1, 2}}, {Key: "empty"}}}
		p := b.producer(t)
		defer p.Close()
		offset := make(chan int64, 1)
		p.Produce(sent, func(o int64, err error) { offset <- o })
		if o := <-offset; o != 0 {
			t.Errorf("offset %d, want 0", o)
		}
		cl, err := b.conn(t).client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{loginTopic: {1: kgo.NewOffset().AtStart()}}))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		fs := cl.PollFetches(context.Background())
		got := fromKgo(fs.Records()[0])
		if got.Topic != sent.Topic || got.Partition != 1 || got.Offset != 0 || got.Time != at || string(got.Key) != "홍길동" ||
			string(got.Value) != "{}" || !slices.Equal(got.Header("maru-id"), []byte{1, 2}) || len(got.Headers) != 2 {
			t.Errorf("got %+v, sent %+v", got, sent)
		}
	})
}
