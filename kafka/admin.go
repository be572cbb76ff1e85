package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Special timestamps of a ListOffsets request (Kafka protocol, API key 2).
const (
	atLogStart = -2
	atLogEnd   = -1
)

// Admin asks the cluster about topics and changes them. It is safe for
// concurrent use; every method is bounded by its context.
type Admin struct {
	cl  *kgo.Client
	adm *kadm.Client
	c   Conn
}

// NewAdmin returns an Admin. It connects at the first request.
func NewAdmin(c Conn) (*Admin, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	return &Admin{cl: cl, adm: kadm.NewClient(cl), c: c}, nil
}

// Close ends its connections.
func (a *Admin) Close() { a.cl.Close() }

// Ping returns nil when a broker answers.
func (a *Admin) Ping(ctx context.Context) error {
	if err := a.cl.Ping(ctx); err != nil {
		return fmt.Errorf("reaching Kafka at %v: %w", a.c.Seeds, err)
	}
	return nil
}

// LogEnds returns the end offset (of the next record) of every partition of topic.
func (a *Admin) LogEnds(ctx context.Context, topic string) (map[int32]int64, error) {
	listed, err := a.adm.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("listing the ends of %s: %w", topic, err)
	}
	ends := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// TopicID returns the id that the cluster gave to topic (KIP-516), which a topic
// of the same name made later does not have; "" when there is no such topic, or
// when the brokers have no ids (before Kafka 2.8).
func (a *Admin) TopicID(ctx context.Context, topic string) (string, error) {
	return topicID(ctx, a.cl, topic)
}

func topicID(ctx context.Context, cl *kgo.Client, topic string) (string, error) {
	ids, err := topicsNow(ctx, cl, topic)
	if err != nil {
		return "", err
	}
	return idText(ids[topic]), nil
}

// topicsNow returns those of the topics that exist, with their ids. It asks the
// cluster: the library's own answers may be some seconds old, from before a topic
// was deleted and made again.
func topicsNow(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]kadm.TopicID, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("asking the cluster for its topics: %w", err)
	}
	exist := map[string]kadm.TopicID{}
	for _, t := range resp.Topics {
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case t.Topic == nil || errors.Is(err, kerr.UnknownTopicOrPartition):
		case err != nil:
			return nil, fmt.Errorf("asking the cluster for topic %s: %w", *t.Topic, err)
		default:
			exist[*t.Topic] = t.TopicID
		}
	}
	return exist, nil
}

// idText is a topic id as text, "" for none.
func idText(id kadm.TopicID) string {
	if id == (kadm.TopicID{}) {
		return ""
	}
	return id.String()
}

// OffsetAtTime returns the offset of the first record of the partition with a
// timestamp of at least ms (milliseconds), the log's end when there is none.
func (a *Admin) OffsetAtTime(ctx context.Context, topic string, partition int32, ms int64) (int64, error) {
	if ms < 0 {
		ms = 0 // negative timestamps mean other things in the protocol
	}
	at, err := listOffset(ctx, a.cl, topic, partition, ms)
	if err == nil && at < 0 {
		at, err = listOffset(ctx, a.cl, topic, partition, atLogEnd)
	}
	return at, err
}

// Trim deletes the records of a partition with offsets below before, but never
// the last one: a log that has become empty is one whose end some brokers forget
// when they start again. It returns the log's new start.
func (a *Admin) Trim(ctx context.Context, topic string, partition int32, before int64) (int64, error) {
	start, end, err := logRange(ctx, a.cl, topic, partition)
	if err != nil {
		return 0, err
	}
	before = min(before, end-1)
	if before <= start {
		return start, nil
	}
	var offsets kadm.Offsets
	offsets.AddOffset(topic, partition, before, -1)
	resp, err := a.adm.DeleteRecords(ctx, offsets)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		return start, fmt.Errorf("trimming topic %s partition %d to %d: %w", topic, partition, before, err)
	}
	if r, ok := resp.Lookup(topic, partition); ok {
		return r.LowWatermark, nil
	}
	return before, nil
}

// logRange lists the first offset of a partition and the one of its next record.
func logRange(ctx context.Context, cl *kgo.Client, topic string, partition int32) (start, end int64, err error) {
	if start, err = listOffset(ctx, cl, topic, partition, atLogStart); err != nil {
		return 0, 0, err
	}
	end, err = listOffset(ctx, cl, topic, partition, atLogEnd)
	return start, end, err
}

// listOffset asks the partition's leader for the offset at a timestamp; -1 is
// answered when no record is that new.
//
// The end is that of all replicated records, those of open transactions
// included: maru reads uncommitted, since only login-request can have foreign
// transactional producers, and one that hangs must not hold up everybody's login.
func listOffset(ctx context.Context, cl *kgo.Client, topic string, partition int32, timestamp int64) (int64, error) {
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp = partition, timestamp
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.ListOffsetsRequestTopicPartition{p}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.Topics = -1, []kmsg.ListOffsetsRequestTopic{t}

	resp, err := req.RequestWith(ctx, cl)
	if err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1) {
		err = errors.New("the broker's answer does not match the request")
	}
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		return 0, fmt.Errorf("listing an offset of topic %s partition %d: %w", topic, partition, err)
	}
	return resp.Topics[0].Partitions[0].Offset, nil
}
