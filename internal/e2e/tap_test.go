package e2e

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// tap reads all topics from their beginning, as anybody may, and keeps what it
// read. mu guards records and more; one goroutine reads.
type tap struct {
	cl  *kgo.Client
	adm *kadm.Client

	mu      sync.Mutex
	records []*kgo.Record
	more    chan struct{} // closed when records grew, and replaced
}

// newTap reads topics until the end of the test. They exist.
func newTap(t *testing.T, bootstrap []string, topics ...string) *tap {
	t.Helper()
	p := &tap{cl: client(t, bootstrap, kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), more: make(chan struct{})}
	p.adm = kadm.NewClient(p.cl)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			p.keep(p.cl.PollFetches(ctx).Records())
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

// client is any program's client of the brokers, closed at the end of the test.
func client(t *testing.T, bootstrap []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func (p *tap) keep(recs []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = append(p.records, recs...)
	close(p.more)
	p.more = make(chan struct{})
}

// all returns the records read so far that match.
func (p *tap) all(match func(*kgo.Record) bool) (found []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.records {
		if match(r) {
			found = append(found, r)
		}
	}
	return found
}

// wait returns the first n records that match, and fails when they do not come.
func (p *tap) wait(t *testing.T, what string, n int, match func(*kgo.Record) bool) []*kgo.Record {
	t.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		more := p.more
		p.mu.Unlock()
		if found := p.all(match); len(found) >= n {
			return found
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// catchUp waits until everything that is in the topics now has been read.
func (p *tap) catchUp(t *testing.T, topics ...string) {
	t.Helper()
	ends, err := p.adm.ListEndOffsets(t.Context(), topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	read := func() map[string]map[int32]int64 {
		next := map[string]map[int32]int64{}
		for _, r := range p.all(func(*kgo.Record) bool { return true }) {
			if next[r.Topic] == nil {
				next[r.Topic] = map[int32]int64{}
			}
			next[r.Topic][r.Partition] = r.Offset + 1
		}
		return next
	}
	eventually(t, "everything on the topics is read", func() bool {
		next, behind := read(), 0
		ends.Each(func(o kadm.ListedOffset) {
			if next[o.Topic][o.Partition] < o.Offset {
				behind++
			}
		})
		return behind == 0
	})
}

// header returns the value of a header, empty when there is none.
func header(r *kgo.Record, key string) string {
	i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == key })
	if i < 0 {
		return ""
	}
	return string(r.Headers[i].Value)
}

// on matches the records of a topic whose maru-id header is id.
func on(topic, id string) func(*kgo.Record) bool {
	return func(r *kgo.Record) bool { return r.Topic == topic && header(r, "maru-id") == id }
}
