package soak

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"maru"
	"maru/internal/oracle"
	"maru/kafka"
	"maru/kafka/embedded"
	"maru/node"
	"maru/store"
)

// shards is the number of partitions of delivery.
const shards = 64

// mustHold compares all that a stopped server has left in data with what its log
// must have become and with what people were told.
func mustHold(t testing.TB, w *town, data string) {
	t.Helper()
	b, err := embedded.Start(t.Context(), embedded.Config{Dir: filepath.Join(data, "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	compare(t, w, filepath.Join(data, "maru.db"), node.DefaultTopics, kafka.Conn{Seeds: b.Addrs(), Dialer: b.Dial}, b.SeedOpts())
}

// compare does that with any database and any brokers.
func compare(t testing.TB, w *town, dsn string, topics node.Topics, conn kafka.Conn, opts []kgo.Opt) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v := view(t, ctx, dsn, topics, conn, opts)
	for _, s := range v.Check() {
		t.Error(s)
	}
	records := 0
	for _, recs := range v.Commands {
		records += len(recs)
	}
	t.Logf("%d records of commands folded, %d rows of users compared", records, len(v.Users))
	stored := map[string]account{}
	for _, u := range v.Users {
		a := account{Registered: u.Registered, Status: u.UserStatus, Friends: map[string]string{}}
		for _, f := range u.Friends {
			a.Friends[f.FriendID] = f.Alias
		}
		stored[u.UserID] = a
	}
	for _, p := range w.everybody() {
		must := p.ledger()
		if a := stored[p.id]; !must.allows(a) {
			t.Errorf("%s must be %v and is stored as %+v", p.id, must, a)
		}
		delete(stored, p.id)
	}
	for id, a := range stored {
		if a.Registered {
			t.Errorf("%s is stored as registered, and nobody asked for that", id)
		}
	}
	w.mustHold()
}

func view(t testing.TB, ctx context.Context, dsn string, topics node.Topics, conn kafka.Conn, opts []kgo.Opt) *oracle.View {
	t.Helper()
	admin, err := kafka.NewAdmin(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	sql, err := store.Open(ctx, store.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer sql.Close()
	topic := func(name string) map[int32][]maru.LogRecord { return records(t, ctx, admin, opts, name) }
	v := &oracle.View{
		Shards: shards, Trimmed: map[int32]bool{},
		Commands: topic(topics.Commands), Delivery: topic(topics.Delivery),
		LoginRequest: topic(topics.LoginRequest), LoginResponse: topic(topics.LoginResponse),
	}
	for n, recs := range v.Delivery {
		v.Trimmed[n] = len(recs) == 0 || recs[0].Offset > 0
	}
	if v.Slots, err = sql.Slots(ctx); err != nil {
		t.Fatal(err)
	}
	v.Partitions = int32(len(v.Slots))
	for after := ""; ; {
		page, err := sql.Users(ctx, after, 200)
		if err != nil {
			t.Fatal(err)
		}
		v.Users = append(v.Users, page...)
		if len(page) < 200 {
			return v
		}
		after = page[len(page)-1].UserID
	}
}

// records reads everything that is on a topic, by partition. A partition that was
// written and emptied since is there without records.
func records(t testing.TB, ctx context.Context, admin *kafka.Admin, opts []kgo.Opt, topic string) map[int32][]maru.LogRecord {
	t.Helper()
	ends, err := admin.LogEnds(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	from, left, all := map[int32]kgo.Offset{}, map[int32]bool{}, map[int32][]maru.LogRecord{}
	for p, end := range ends {
		if end > 0 {
			from[p], left[p], all[p] = kgo.NewOffset().AtStart(), true, nil
		}
	}
	if len(left) == 0 {
		return all
	}
	cl, err := kgo.NewClient(append(slices.Clone(opts), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(left) > 0 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("reading %s: %v", topic, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			l := maru.LogRecord{Topic: topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				l.Headers = append(l.Headers, maru.Header{Key: h.Key, Value: h.Value})
			}
			all[r.Partition] = append(all[r.Partition], l)
			if r.Offset+1 >= ends[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return all
}
