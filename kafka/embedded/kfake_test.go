package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The tests here run kfake as it is, without the guard. Each shows one of the
// hazards that doc.go lists and fails when a newer kfake behaves otherwise: then
// look whether the rule against it is still needed, or needed elsewhere.

// decodeAsKfake reads a batch the way kfake does when it looks up a timestamp.
func decodeAsKfake(t *testing.T, b []byte, n int32) {
	t.Helper()
	var rb kmsg.RecordBatch
	if err := rb.ReadFrom(b); err != nil {
		t.Fatalf("kfake cannot read the batch: %v", err)
	}
	records, err := kfake.BatchRecords(rb)
	if err != nil || len(records) != int(n) {
		t.Fatalf("kfake reads %d records of %d: %v", len(records), n, err)
	}
}

// bare is an unguarded kfake and a client of it.
func bare(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, *kgo.Client, string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	addr := c.ListenAddrs()[0]
	return c, newClient(t, kgo.SeedBrokers(addr), kgo.DisableIdempotentWrite()), addr
}

// produceRaw writes one batch as it is and returns kfake's answer.
func produceRaw(t testing.TB, cl *kgo.Client, topic string, batch []byte) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	if meta, err := kadm.NewClient(cl).ListTopics(ctx, topic); err == nil {
		rt.TopicID = meta[topic].ID
	}
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = batch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].Partitions[0]
}

func TestK1EmptiedPartitionForgetsItsEnd(t *testing.T) {
	dir := t.TempDir()
	c, cl, _ := bare(t, kfake.DataDir(dir), kfake.SeedTopics(1, "talk"))
	produce(t, cl, "talk", 5)
	if err := c.DeleteRecords("talk", 0, 5); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	c.Close()
	c, _, _ = bare(t, kfake.DataDir(dir))
	if end := c.PartitionInfo("talk", 0).HighWatermark; end != 0 {
		t.Fatalf("end offset %d after the restart, kfake used to forget it", end)
	}
}

func TestK2RetentionOfOneTopicAppliesToAll(t *testing.T) {
	c, cl, _ := bare(t, kfake.SeedTopics(1, "talk"))
	produceRaw(t, cl, "talk", newBatch(time.Now().AddDate(0, 0, -8), "old"))
	c.ApplyRetention() // what the ticker does that any topic with retention.ms starts
	if start := c.PartitionInfo("talk", 0).LogStartOffset; start != 1 {
		t.Fatalf("log start %d: kfake used to empty topics without a retention after seven days", start)
	}
}

// dies runs this test binary again with only the named test and reports its
// output when it ended by a panic.
func dies(t *testing.T, name string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+name+"$", "-test.timeout=30s")
	cmd.Env = append(os.Environ(), "EMBEDDED_BARE_KFAKE=1")
	out, err := cmd.CombinedOutput()
	return string(out), err != nil && bytes.Contains(out, []byte("panic:")) && !bytes.Contains(out, []byte("timed out"))
}

func inVictim() bool { return os.Getenv("EMBEDDED_BARE_KFAKE") != "" }

func TestK4UnknownKeyEndsTheProcess(t *testing.T) {
	if !inVictim() {
		if out, dead := dies(t, t.Name()); !dead {
			t.Fatalf("kfake survived:\n%s", out)
		}
		return
	}
	_, _, addr := bare(t)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	frame := binary.BigEndian.AppendUint32(nil, 10)
	conn.Write(append(frame, 0x27, 0x0f, 0, 0, 0, 0, 0, 1, 0, 0))
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	conn.Read(make([]byte, 1))
}

// lyingRecord is a batch of two records, ten milliseconds apart, whose first one
// says that it is longer than it is.
func lyingRecord(at time.Time) []byte {
	good := appendRecord(nil, 0, 0, "hello")
	records := append(binary.AppendVarint(nil, 1000), good[1:]...)
	return sealBatch(at, 2, codecNone, appendRecord(records, 1, 10, "world"), func(b []byte) {
		binary.BigEndian.PutUint64(b[batchMaxTime:], uint64(at.UnixMilli()+10))
	})
}

func TestK7LyingRecordEndsTheProcess(t *testing.T) {
	if !inVictim() {
		if out, dead := dies(t, t.Name()); !dead {
			t.Fatalf("kfake survived:\n%s", out)
		}
		return
	}
	_, cl, _ := bare(t, kfake.SeedTopics(1, "talk"))
	at := time.Now()
	if p := produceRaw(t, cl, "talk", lyingRecord(at)); p.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(p.ErrorCode))
	}
	kadm.NewClient(cl).ListOffsetsAfterMilli(within(t, 5*time.Second), at.UnixMilli()+5, "talk")
}

func TestK7NegativeRecordsMoveTheEndBack(t *testing.T) {
	c, cl, _ := bare(t, kfake.SeedTopics(1, "talk"))
	produce(t, cl, "talk", 9)
	if p := produceRaw(t, cl, "talk", sealBatch(time.Now(), -5, codecNone, nil, nil)); p.ErrorCode != 0 {
		t.Fatalf("refused: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	if end := c.PartitionInfo("talk", 0).HighWatermark; end != 4 {
		t.Fatalf("end offset %d", end)
	}
}

func TestK7GuardRefusesBoth(t *testing.T) {
	b := startBroker(t, Config{Listen: "127.0.0.1:0"})
	createTopic(t, insideClient(t, b), "talk", 1, nil)
	out := outsideClient(t, b)
	for _, batch := range [][]byte{lyingRecord(time.Now()), sealBatch(time.Now(), -5, codecNone, nil, nil)} {
		wantCode(t, "hostile batch", produceRaw(t, out, "talk", batch).ErrorCode, kerr.InvalidRecord)
	}
	if got := span(t, b, "talk"); got != (Span{}) {
		t.Fatalf("log %v", got)
	}
}

func TestK8AppendTimeFlagBreaksTheChecksum(t *testing.T) {
	dir := t.TempDir()
	c, cl, _ := bare(t, kfake.DataDir(dir), kfake.SeedTopics(1, "talk"))
	produce(t, cl, "talk", 3)
	flagged := sealBatch(time.Now().Add(-time.Hour), 1, attrLogAppendTime, appendRecord(nil, 0, 0, "x"), nil)
	if p := produceRaw(t, cl, "talk", flagged); p.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(p.ErrorCode))
	}
	produce(t, cl, "talk", 3)
	cl.Close()
	c.Close()
	c, _, _ = bare(t, kfake.DataDir(dir))
	if end := c.PartitionInfo("talk", 0).HighWatermark; end != 3 {
		t.Fatalf("end offset %d after the restart: kfake used to cut the log at the flagged batch", end)
	}
}

func TestLogAppendTimeIsIgnoredByKfake(t *testing.T) {
	_, cl, _ := bare(t)
	createTopic(t, cl, "talk", 1, map[string]*string{"message.timestamp.type": ptr("LogAppendTime")})
	old := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	produceRaw(t, cl, "talk", newBatch(old, "x"))
	if got := consume(t, cl, "talk", 0, 1)[0].Timestamp; !got.Equal(old) {
		t.Fatalf("timestamp %s", got)
	}
}

func TestK9RetryAfterAFailedWriteIsAcknowledged(t *testing.T) {
	dir := t.TempDir()
	c, cl, _ := bare(t, kfake.DataDir(dir), kfake.SeedTopics(1, "talk"))
	// The partition's directory cannot be made: a write error without a full disk.
	parts := filepath.Join(dir, "partitions")
	if err := os.RemoveAll(parts); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(parts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	batch := sealBatch(time.Now(), 1, codecNone, appendRecord(nil, 0, 0, "x"), func(b []byte) {
		binary.BigEndian.PutUint64(b[batchProducerID:], 77)
		clear(b[batchProducerID+8 : batchProducerID+14])
	})
	if p := produceRaw(t, cl, "talk", batch); p.ErrorCode != kerr.UnknownServerError.Code {
		t.Fatalf("write into a broken directory: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	p := produceRaw(t, cl, "talk", batch)
	if end := c.PartitionInfo("talk", 0).HighWatermark; p.ErrorCode != 0 || end != 0 {
		t.Fatalf("retry: %v, end offset %d", kerr.ErrorForCode(p.ErrorCode), end)
	}
	if err := os.Remove(parts); err != nil {
		t.Fatal(err)
	}
}

func TestK6MembersThatOutliveTheBrokerDelayTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		open := func() (*kfake.Cluster, *kgo.Client) {
			t.Helper()
			network := new(kfake.VirtualNetwork)
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir), kfake.SeedTopics(1, "talk"),
				kfake.ListenFn(network.Listen))
			if err != nil {
				t.Fatal(err)
			}
			return c, newClient(t, kgo.SeedBrokers(c.ListenAddrs()...), kgo.Dialer(network.DialContext),
				kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("talk"), kgo.SessionTimeout(20*time.Second), kgo.DisableAutoCommit(),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		}
		c, member := open()
		produce(t, member, "talk", 1)
		if err := member.PollFetches(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		c.Close() // first the broker, then its client
		member.Close()
		began := time.Now()
		c, member = open()
		defer c.Close()
		defer member.Close()
		if err := member.PollFetches(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 10*time.Second {
			t.Fatalf("the next member waited %s, it used to be the session of the old one", d)
		}
	})
}

func TestK10CountOfTagsKeepsTheDecoderBusy(t *testing.T) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	body := req.AppendTo(nil)
	body = append(body[:len(body)-1], 0xff, 0xff, 0x7f) // tags: 2^21 instead of none
	began := time.Now()
	if err := req.ReadFrom(body); err == nil {
		t.Fatal("taken")
	}
	few := append(body[:len(body)-3], 0x7f)
	middle := time.Now()
	if err := req.ReadFrom(few); err == nil {
		t.Fatal("taken")
	}
	if long, short := middle.Sub(began), time.Since(middle); long < 100*short {
		t.Fatalf("%s for 2^21 tags, %s for 127: kmsg stops counting now", long, short)
	}
}

// commit stores an offset for a group without members.
func commit(t testing.TB, cl *kgo.Client, group string, at int64) {
	t.Helper()
	err := kadm.NewClient(cl).CommitAllOffsets(within(t, 10*time.Second), group,
		kadm.Offsets{"talk": {0: {Topic: "talk", At: at, LeaderEpoch: -1}}})
	if err != nil {
		t.Fatal(err)
	}
}

func committed(t testing.TB, cl *kgo.Client, group string) int64 {
	t.Helper()
	r, err := kadm.NewClient(cl).FetchOffsets(within(t, 10*time.Second), group)
	if err != nil {
		t.Fatal(err)
	}
	o, ok := r.Lookup("talk", 0)
	if !ok {
		t.Fatalf("group %s has no commit: %v", group, r)
	}
	return o.At
}

// tear appends half an entry to groups.log, as a crash in the middle of a write
// leaves it.
func tear(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "groups.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte{200, 0, 0, 0, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestK5TornGroupsLogHidesLaterCommits(t *testing.T) {
	dir := t.TempDir()
	b := startBroker(t, Config{Dir: dir})
	cl := insideClient(t, b)
	createTopic(t, cl, "talk", 1, nil)
	produce(t, cl, "talk", 9)
	commit(t, cl, "readers", 2)
	cl.Close()
	if err := b.Crash(); err != nil {
		t.Fatal(err)
	}
	tear(t, b.cfg.Dir+"/"+logDir)

	// kfake as it is: the next commit is lost by the next crash.
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.CopyFS(raw, os.DirFS(filepath.Join(dir, logDir))); err != nil {
		t.Fatal(err)
	}
	c, rawClient, _ := bare(t, kfake.DataDir(raw))
	commit(t, rawClient, "readers", 7)
	killed := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(killed, os.DirFS(raw)); err != nil {
		t.Fatal(err)
	}
	rawClient.Close()
	c.Close()
	_, rawClient, _ = bare(t, kfake.DataDir(killed))
	if got := committed(t, rawClient, "readers"); got != 2 {
		t.Fatalf("commit %d after the second crash: kfake used to lose it", got)
	}

	// The same with the broker.
	for _, want := range []int64{2, 7} {
		b = startBroker(t, Config{Dir: dir})
		cl = insideClient(t, b)
		if got := committed(t, cl, "readers"); got != want {
			t.Fatalf("commit %d, want %d", got, want)
		}
		commit(t, cl, "readers", 7)
		cl.Close()
		if err := b.Crash(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestK3CompactionRemovesBeforeItRewrites(t *testing.T) {
	dir := t.TempDir()
	c, cl, _ := bare(t, kfake.DataDir(dir))
	createTopic(t, cl, "talk", 1, map[string]*string{"cleanup.policy": ptr("compact"), "segment.bytes": ptr("100")})
	const n = 20
	for i := range n { // two records in each segment, one of them to stay
		for _, key := range []string{"again", fmt.Sprint(i)} {
			r := &kgo.Record{Topic: "talk", Key: []byte(key), Value: []byte("0123456789")}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Where compaction would put its new segments there are directories, which
	// stop it as a crash would: after it removed the old ones.
	for offset := range 2 * n {
		err := os.Mkdir(filepath.Join(dir, "partitions", "talk-0", fmt.Sprintf("%d.dat", offset)), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	size := c.PartitionInfo("talk", 0).NumBytes
	c.Compact()
	files, err := filepath.Glob(filepath.Join(dir, "partitions", "talk-0", "*.idx"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.PartitionInfo("talk", 0).NumBytes; len(files) > 2 || got >= size {
		t.Fatalf("%d segments and %d of %d bytes are left: kfake used to remove them first", len(files), got, size)
	}
}
