package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// guarded is a broker as maru runs it, with a record in commands, and the
// clients of both sides. The outside client writes without batching topics.
func guarded(t *testing.T) (b *Broker, in, out *kgo.Client) {
	t.Helper()
	b = startBroker(t, Config{
		Listen: "127.0.0.1:0", Protected: []string{"commands", "delivery"}, ProtectedGroups: []string{"homes"},
	})
	in = insideClient(t, b)
	createTopic(t, in, "commands", 2, nil)
	createTopic(t, in, "talk", 2, nil)
	produce(t, in, "commands", 3)
	return b, in, outsideClient(t, b)
}

// ask sends one request over the client and fails when there is no answer.
func ask[R kmsg.Response](t *testing.T, cl *kgo.Client, req kmsg.Request) R {
	t.Helper()
	resp, err := cl.Request(within(t, 10*time.Second), req)
	if err != nil {
		t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp.(R)
}

func wantCode(t *testing.T, what string, code int16, want *kerr.Error) {
	t.Helper()
	if code != want.Code {
		t.Errorf("%s: answered %v, want %v", what, kerr.ErrorForCode(code), want)
	}
}

func TestProtectedTopicCanBeReadButNotWritten(t *testing.T) {
	b, in, out := guarded(t)
	if got := consume(t, out, "commands", 0, 3); string(got[2].Value) != "2" {
		t.Fatalf("read %q", got[2].Value)
	}
	err := out.ProduceSync(within(t, 10*time.Second), &kgo.Record{Topic: "commands", Value: []byte("x")}).FirstErr()
	if !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Fatalf("produce to commands from outside: %v", err)
	}
	// One request for both topics: the open one is written all the same.
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	for _, topic := range []string{"commands", "talk", "commands"} {
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = topic
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Records = newBatch(time.Now(), "hello")
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	}
	for _, topic := range ask[*kmsg.ProduceResponse](t, out, req).Topics {
		for _, p := range topic.Partitions {
			if topic.Topic == "talk" {
				wantCode(t, "talk", p.ErrorCode, &kerr.Error{})
				continue
			}
			wantCode(t, "commands", p.ErrorCode, kerr.TopicAuthorizationFailed)
			if p.ErrorMessage == nil || !strings.Contains(*p.ErrorMessage, "belongs to maru") {
				t.Errorf("message %v", p.ErrorMessage)
			}
		}
	}
	if got := span(t, b, "commands"); got != (Span{0, 3}) {
		t.Errorf("commands %v", got)
	}
	if got := span(t, b, "talk"); got != (Span{0, 1}) {
		t.Errorf("talk %v", got)
	}
	produce(t, in, "commands", 1)
}

func TestUnacknowledgedWriteToProtectedTopicIsDropped(t *testing.T) {
	b, _, _ := guarded(t)
	out := outsideClient(t, b, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	for range 3 {
		for _, topic := range []string{"commands", "talk"} { // one request each, on one connection
			if err := out.ProduceSync(within(t, 5*time.Second), &kgo.Record{Topic: topic}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Flush(within(t, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(out).ListTopics(t.Context()); err != nil { // the connection lives
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for span(t, b, "talk").End != 3 {
		if time.Now().After(deadline) {
			t.Fatalf("talk %v", span(t, b, "talk"))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := span(t, b, "commands"); got != (Span{0, 3}) {
		t.Fatalf("commands %v", got)
	}
}

func TestProtectedTopicCannotBeChangedFromOutside(t *testing.T) {
	b, in, out := guarded(t)
	ctx := within(t, 30*time.Second)
	adm := kadm.NewClient(out)
	denied := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := adm.CreateTopic(ctx, 1, 1, nil, "delivery")
	denied("create", err)
	_, err = adm.DeleteTopic(ctx, "commands")
	denied("delete", err)
	parts, err := adm.CreatePartitions(ctx, 1, "commands")
	if err != nil {
		t.Fatal(err)
	}
	denied("create partitions", parts["commands"].Err)
	gone, err := adm.DeleteRecords(ctx, kadm.Offsets{"commands": {0: {Topic: "commands", At: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	denied("delete records", gone["commands"][0].Err)
	alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: ptr("1000")}}
	altered, err := adm.AlterTopicConfigs(ctx, alter, "commands")
	if err != nil {
		t.Fatal(err)
	}
	denied("incremental alter", altered[0].Err)
	altered, err = adm.AlterTopicConfigsState(ctx, alter, "commands")
	if err != nil {
		t.Fatal(err)
	}
	denied("alter", altered[0].Err)
	var move kadm.AlterPartitionAssignmentsReq
	move.Assign("commands", 0, []int32{0})
	moved, err := adm.AlterPartitionAssignments(ctx, move)
	if err != nil {
		t.Fatal(err)
	}
	denied("alter assignments", moved["commands"][0].Err)

	logs, err := b.LogEnds()
	if err != nil || len(logs["commands"].Partitions) != 2 || span(t, b, "commands") != (Span{0, 3}) {
		t.Fatalf("commands changed: %v %v", logs["commands"], err)
	}
	// Inside, all of that is maru's to do.
	if r, err := kadm.NewClient(in).CreatePartitions(ctx, 1, "commands"); err != nil || r["commands"].Err != nil {
		t.Fatal(err, r)
	}
}

func TestNoTransactionTouchesProtectedNames(t *testing.T) {
	b, _, _ := guarded(t)
	out := outsideClient(t, b, kgo.TransactionalID("tool"))
	if err := out.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	err := out.ProduceSync(within(t, 10*time.Second), &kgo.Record{Topic: "commands"}).FirstErr()
	if !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Fatalf("transactional produce: %v", err)
	}
	plain := outsideClient(t, b)
	add := kmsg.NewPtrAddPartitionsToTxnRequest()
	add.TransactionalID = "tool"
	for _, name := range []string{"talk", "commands"} {
		at := kmsg.NewAddPartitionsToTxnRequestTopic()
		at.Topic, at.Partitions = name, []int32{0}
		add.Topics = append(add.Topics, at)
	}
	got := ask[*kmsg.AddPartitionsToTxnResponse](t, plain, add).Topics
	wantCode(t, "talk", got[0].Partitions[0].ErrorCode, kerr.OperationNotAttempted)
	wantCode(t, "commands", got[1].Partitions[0].ErrorCode, kerr.TopicAuthorizationFailed)

	offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
	offsets.TransactionalID, offsets.Group = "tool", "homes"
	wantCode(t, "add offsets", ask[*kmsg.AddOffsetsToTxnResponse](t, plain, offsets).ErrorCode, kerr.GroupAuthorizationFailed)
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.Group = "tool", "homes"
	ct := kmsg.NewTxnOffsetCommitRequestTopic()
	ct.Topic, ct.Partitions = "talk", append(ct.Partitions, kmsg.NewTxnOffsetCommitRequestTopicPartition())
	commit.Topics = append(commit.Topics, ct)
	wantCode(t, "commit in transaction",
		ask[*kmsg.TxnOffsetCommitResponse](t, plain, commit).Topics[0].Partitions[0].ErrorCode, kerr.GroupAuthorizationFailed)
}

func TestTransactionsOfOtherProgramsWork(t *testing.T) {
	b, _, _ := guarded(t)
	out := outsideClient(t, b, kgo.TransactionalID("tool"))
	if err := out.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, out, "talk", 2)
	if err := out.EndTransaction(within(t, 10*time.Second), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	consume(t, outsideClient(t, b, kgo.FetchIsolationLevel(kgo.ReadCommitted())), "talk", 0, 2)
}

func TestProtectedGroupFromOutside(t *testing.T) {
	b, _, out := guarded(t)
	member := insideClient(t, b, kgo.ConsumerGroup("homes"), kgo.ConsumeTopics("commands"))
	for member.PollFetches(within(t, 20*time.Second)).NumRecords() == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the group did not form")
		}
	}
	thief := outsideClient(t, b, kgo.ConsumerGroup("homes"), kgo.ConsumeTopics("commands"))
	if err := thief.PollFetches(within(t, 10*time.Second)).Err0(); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Errorf("join: %v", err)
	}
	adm := kadm.NewClient(out)
	ctx := within(t, 20*time.Second)
	if err := adm.CommitAllOffsets(ctx, "homes", kadm.Offsets{"commands": {0: {Topic: "commands", At: 3}}}); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Errorf("commit: %v", err)
	}
	if _, err := adm.DeleteGroup(ctx, "homes"); !errors.Is(err, kerr.GroupAuthorizationFailed) {
		t.Errorf("delete: %v", err)
	}
	denied := kerr.GroupAuthorizationFailed
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group = "homes"
	wantCode(t, "sync", ask[*kmsg.SyncGroupResponse](t, out, sync).ErrorCode, denied)
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group = "homes"
	wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](t, out, beat).ErrorCode, denied)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = "homes"
	wantCode(t, "leave", ask[*kmsg.LeaveGroupResponse](t, out, leave).ErrorCode, denied)
	modern := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	modern.Group = "homes"
	wantCode(t, "consumer heartbeat", ask[*kmsg.ConsumerGroupHeartbeatResponse](t, out, modern).ErrorCode, denied)
	forget := kmsg.NewPtrOffsetDeleteRequest()
	forget.Group = "homes"
	wantCode(t, "delete offsets", ask[*kmsg.OffsetDeleteResponse](t, out, forget).ErrorCode, denied)

	described, err := adm.DescribeGroups(ctx, "homes")
	if err != nil || len(described["homes"].Members) != 1 {
		t.Errorf("describe: %v %v", err, described)
	}
	listed, err := adm.ListGroups(ctx)
	if _, ok := listed["homes"]; err != nil || !ok {
		t.Errorf("list: %v %v", err, listed)
	}
	if _, err := adm.FetchOffsets(ctx, "homes"); err != nil {
		t.Errorf("read commits: %v", err)
	}
}

func TestTopicRules(t *testing.T) {
	_, in, out := guarded(t)
	ctx := within(t, 30*time.Second)
	for _, cl := range []*kgo.Client{in, out} {
		adm := kadm.NewClient(cl)
		for _, tc := range []struct {
			name, value string
			ok          bool
		}{
			{"cleanup.policy", "compact", false}, {"cleanup.policy", "compact,delete", false}, {"cleanup.policy", "delete", true},
			{"retention.ms", "abc", false}, {"retention.ms", "0", false}, {"retention.ms", "-2", false}, {"retention.ms", "-1", true},
			{"retention.bytes", "1000", false}, {"retention.bytes", "-1", true}, {"segment.bytes", "1", false},
			{"max.message.bytes", "99999999", false}, {"message.timestamp.type", "LogAppendTime", true},
			{"message.timestamp.type", "Never", false}, {"no.such.config", "1", false},
		} {
			configs := map[string]*string{tc.name: ptr(tc.value)}
			_, err := adm.CreateTopic(ctx, 1, 1, configs, "t")
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, kerr.InvalidConfig) {
				t.Errorf("create with %s=%s: %v", tc.name, tc.value, err)
			}
			if err == nil {
				if _, err := adm.DeleteTopic(ctx, "t"); err != nil {
					t.Error(err)
				}
			}
			for _, alter := range []func(context.Context, []kadm.AlterConfig, ...string) (kadm.AlterConfigsResponses, error){
				adm.AlterTopicConfigs, adm.AlterTopicConfigsState,
			} {
				r, err := alter(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: tc.name, Value: ptr(tc.value)}}, "talk")
				if err != nil || (r[0].Err == nil) != tc.ok {
					t.Errorf("alter to %s=%s: %v %v", tc.name, tc.value, err, r)
				}
			}
		}
		r, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: ptr("compact")}}, "talk")
		if err != nil || !errors.Is(r[0].Err, kerr.InvalidConfig) {
			t.Errorf("append compact: %v %v", err, r)
		}
		r, err = adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.retention.ms", Value: ptr("1")}}, 0)
		if err != nil || !errors.Is(r[0].Err, kerr.ClusterAuthorizationFailed) {
			t.Errorf("alter broker: %v %v", err, r)
		}
	}
}

func TestNamesAndSizesOfTopics(t *testing.T) {
	b, in, out := guarded(t)
	ctx := within(t, 30*time.Second)
	for _, cl := range []*kgo.Client{in, out} {
		adm := kadm.NewClient(cl)
		for name, want := range map[string]error{
			"a/b": kerr.InvalidTopicException, "..": kerr.InvalidTopicException, strings.Repeat("x", 250): kerr.InvalidTopicException,
		} {
			if _, err := adm.CreateTopic(ctx, 1, 1, nil, name); !errors.Is(err, want) {
				t.Errorf("create %q: %v", name, err)
			}
		}
		if _, err := adm.CreateTopic(ctx, 1, 2, nil, "t"); !errors.Is(err, kerr.InvalidReplicationFactor) {
			t.Errorf("two replicas on one broker: %v", err)
		}
		if _, err := adm.CreateTopic(ctx, maxPartitions+1, 1, nil, "t"); !errors.Is(err, kerr.InvalidPartitions) {
			t.Errorf("too many partitions: %v", err)
		}
		if r, err := adm.CreatePartitions(ctx, maxPartitions, "talk"); err != nil || !errors.Is(r["talk"].Err, kerr.InvalidPartitions) {
			t.Errorf("too many partitions: %v %v", err, r)
		}
		var move kadm.AlterPartitionAssignmentsReq
		move.Assign("talk", 0, []int32{0, 1})
		moved, err := adm.AlterPartitionAssignments(ctx, move)
		if err != nil || !errors.Is(moved["talk"][0].Err, kerr.InvalidReplicaAssignment) {
			t.Errorf("more replicas: %v %v", err, moved)
		}
	}
	if got := b.rules.catalog.partitions(); got != 4 {
		t.Errorf("%d partitions counted, there are 4", got)
	}
}

func TestDeleteRecordsKeepsTheLastOne(t *testing.T) {
	b, in, out := guarded(t)
	produce(t, in, "talk", 10)
	for _, cl := range []*kgo.Client{out, in} {
		for _, at := range []int64{-1, 10} {
			r, err := kadm.NewClient(cl).DeleteRecords(t.Context(), kadm.Offsets{"talk": {0: {Topic: "talk", At: at}}})
			if err != nil || r["talk"][0].Err != nil || r["talk"][0].LowWatermark != 9 {
				t.Fatalf("delete to %d: %v %v", at, err, r)
			}
		}
		if got := span(t, b, "talk"); got != (Span{9, 10}) {
			t.Fatalf("log %v", got)
		}
		// An empty partition has nothing to keep.
		r, err := kadm.NewClient(cl).DeleteRecords(t.Context(), kadm.Offsets{"talk": {1: {Topic: "talk", Partition: 1, At: -1}}})
		if err != nil || r["talk"][1].Err != nil {
			t.Fatal(err, r)
		}
	}
}

func TestOutsideIsToldWhatItMayUse(t *testing.T) {
	b, _, _ := guarded(t)
	resp := ask[*kmsg.ApiVersionsResponse](t, outsideClient(t, b), kmsg.NewPtrApiVersionsRequest())
	offered := make(map[int16]bool)
	for _, k := range resp.ApiKeys {
		offered[k.ApiKey] = true
		if limit, ok := outsideKeys[kmsg.Key(k.ApiKey)]; !ok || limit >= 0 && k.MaxVersion > limit {
			t.Errorf("%s up to version %d is offered", kmsg.NameForKey(k.ApiKey), k.MaxVersion)
		}
	}
	for key := range outsideKeys {
		if !offered[int16(key)] {
			t.Errorf("%s is not offered: did kfake lose it?", kmsg.NameForKey(int16(key)))
		}
	}
}

// Kafka's own client refuses a whole answer for what these hold back.
func TestAnswersThatKafkasToolsAccept(t *testing.T) {
	b := startBroker(t, Config{Listen: "127.0.0.1:0"})
	out := outsideClient(t, b)
	create := seedRequests("talk")[0].(*kmsg.CreateTopicsRequest)
	create.Topics[0].Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: ptr("1000")}}
	got := ask[*kmsg.CreateTopicsResponse](t, out, create)
	if c := got.Topics[0].Configs; len(c) != 1 || c[0].Source != int8(kmsg.ConfigSourceDynamicTopicConfig) {
		t.Errorf("configurations of the new topic: %+v", c)
	}
	create = seedRequests("plain")[0].(*kmsg.CreateTopicsRequest)
	create.Topics[0].Configs = nil
	got = ask[*kmsg.CreateTopicsResponse](t, out, create)
	if c := got.Topics[0].Configs; got.Topics[0].ErrorCode != 0 || c == nil || len(c) != 0 {
		t.Errorf("configurations of a topic without any: %+v, want an empty list and not null", got.Topics[0])
	}
	if _, ok := b.rules.outside[int16(kmsg.DescribeTopicPartitions)]; ok {
		t.Error("DescribeTopicPartitions is offered: kfake answers it with null replicas")
	}
}

// rawCall sends bytes over TCP and returns what comes back until the connection
// ends or a whole answer is there.
func rawCall(t *testing.T, b *Broker, send []byte) ([]byte, error) {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(send); err != nil {
		return nil, err
	}
	return readAnswer(conn)
}

func TestHostileFramesEndOnlyTheirConnection(t *testing.T) {
	b, in, _ := guarded(t)
	head := func(size uint32, key, version int16, rest ...byte) []byte {
		f := binary.BigEndian.AppendUint32(nil, size)
		f = binary.BigEndian.AppendUint16(f, uint16(key))
		f = binary.BigEndian.AppendUint16(f, uint16(version))
		f = binary.BigEndian.AppendUint32(f, 7)
		return append(f, rest...)
	}
	for name, f := range map[string][]byte{
		"HTTP":              []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"size of 4 GiB":     head(0xffffffff, 0, 9),
		"size of 0":         head(0, 0, 9),
		"unknown key":       head(10, 9999, 0, 0, 0),
		"negative key":      head(10, -5, 0, 0, 0),
		"key not offered":   head(10, int16(kmsg.WriteTxnMarkers), 0, 0, 0),
		"version too high":  head(10, int16(kmsg.Metadata), 99, 0, 0),
		"negative version":  head(10, int16(kmsg.Metadata), -1, 0, 0),
		"body cut short":    head(10, int16(kmsg.CreateTopics), 4, 0, 0),
		"array of 2^31":     head(14, int16(kmsg.Metadata), 4, 0, 0, 0x7f, 0xff, 0xff, 0xff),
		"large but no data": head(2<<20, int16(kmsg.Metadata), 4, 0, 0),
	} {
		if got, err := rawCall(t, b, f); err == nil {
			t.Errorf("%s: answered %x", name, got)
		}
	}
	body, err := rawCall(t, b, head(10, int16(kmsg.ApiVersions), 99, 0, 0))
	if err != nil || int16(binary.BigEndian.Uint16(body[4:])) != kerr.UnsupportedVersion.Code {
		t.Errorf("ApiVersions of version 99: %x %v", body, err)
	}
	produce(t, in, "talk", 1) // still alive
}

func TestOutsideConnectionsAreBounded(t *testing.T) {
	b := startBroker(t, Config{Listen: "127.0.0.1:0", MaxOutside: 2})
	var open []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	open[2].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := open[2].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("third connection: %v", err)
	}
	open[0].Close()
	deadline := time.Now().Add(10 * time.Second)
	for { // the place of the first one becomes free
		cl := outsideClient(t, b)
		if err := cl.Ping(within(t, time.Second)); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no place became free")
		}
	}
}
