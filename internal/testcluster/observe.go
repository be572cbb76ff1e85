package testcluster

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"maru"
	"maru/home"
	"maru/kafka"
	"maru/node"
)

// topics returns everything that is on a topic, by partition.
func (c *Cluster) topic(name string) map[int32][]maru.LogRecord {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin, err := kafka.NewAdmin(kafka.Conn{Seeds: c.broker.Addrs(), Dialer: c.broker.Dial})
	if err != nil {
		c.T.Fatal(err)
	}
	defer admin.Close()
	ends, err := admin.LogEnds(ctx, name)
	if err != nil {
		c.T.Fatal(err)
	}
	from, left := map[int32]kgo.Offset{}, int64(0)
	for p, end := range ends {
		if end > 0 {
			from[p] = kgo.NewOffset().At(0)
			left += end
		}
	}
	all := map[int32][]maru.LogRecord{}
	if left == 0 {
		return all
	}
	cl, err := kgo.NewClient(append(c.broker.SeedOpts(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: from}))...)
	if err != nil {
		c.T.Fatal(err)
	}
	defer cl.Close()
	for left > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			c.T.Fatalf("reading %s: %v", name, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset >= ends[r.Partition] {
				return
			}
			left--
			l := maru.LogRecord{Topic: name, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				l.Headers = append(l.Headers, maru.Header{Key: h.Key, Value: h.Value})
			}
			all[r.Partition] = append(all[r.Partition], l)
		})
	}
	return all
}

// observer looks again and again at what the homes hold.
type observer struct {
	cancel context.CancelFunc
	done   chan struct{}
	looks  int // read after close
	met    int // users met in all looks; likewise
}

func watch(c *Cluster) *observer {
	ctx, cancel := context.WithCancel(context.Background())
	o := &observer{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		t := time.NewTicker(150 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				o.met += c.checkCopies(ctx)
				o.looks++
			}
		}
	}()
	return o
}

func (o *observer) close() {
	o.cancel()
	<-o.done
}

// checkCopies: of every user there is at most one copy, among homes whose claim of
// the slot is the newest; and users are held by no other slot than their own.
// It returns how many users it met.
func (c *Cluster) checkCopies(ctx context.Context) int {
	type holding struct {
		process string
		r       home.Residents
	}
	var held []holding
	c.mu.Lock()
	var homes []*Process
	for _, p := range c.processes {
		if p.role != node.RoleGateway {
			homes = append(homes, p)
		}
	}
	c.mu.Unlock()
	for _, p := range homes {
		for _, r := range p.Residents() {
			held = append(held, holding{p.Name, r})
		}
	}
	rows, err := c.sql.Slots(ctx)
	if err != nil {
		return 0 // the end of the test
	}
	newest := map[int32]int64{}
	for _, s := range rows {
		newest[s.Slot] = s.Epoch
	}
	home := map[string]string{}
	for _, h := range held {
		for _, u := range h.r.Users {
			if maru.SlotOf(u, c.layout.partitions) != h.r.Slot {
				c.tell("%s holds %s in slot %d", h.process, u, h.r.Slot)
			}
			if h.r.Epoch != newest[h.r.Slot] {
				continue
			}
			if other, twice := home[u]; twice {
				c.tell("%s and %s both hold %s under the newest epoch", other, h.process, u)
			}
			home[u] = h.process
		}
	}
	return len(home)
}

// Produce writes a record as another program would, with Kafka's own partitioner.
func (c *Cluster) Produce(topic, key, value string, headers ...maru.Header) {
	c.T.Helper()
	cl, err := kgo.NewClient(c.broker.SeedOpts()...)
	if err != nil {
		c.T.Fatal(err)
	}
	defer cl.Close()
	r := &kgo.Record{Topic: topic, Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	for _, h := range headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if err := cl.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		c.T.Fatal(err)
	}
}

// Delete deletes a topic with all its records.
func (c *Cluster) Delete(topic string) {
	c.T.Helper()
	c.administer(func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.DeleteTopic(ctx, topic)
		return err
	})
}

// Recreate deletes a topic with all its records and makes it anew.
func (c *Cluster) Recreate(topic string, partitions int32) {
	c.T.Helper()
	c.Delete(topic)
	c.administer(func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.CreateTopic(ctx, partitions, 1, nil, topic)
		return err
	})
}

func (c *Cluster) administer(do func(context.Context, *kadm.Client) error) {
	c.T.Helper()
	cl, err := kgo.NewClient(c.broker.SeedOpts()...)
	if err != nil {
		c.T.Fatal(err)
	}
	defer cl.Close()
	if err := do(context.Background(), kadm.NewClient(cl)); err != nil {
		c.T.Fatal(err)
	}
}
