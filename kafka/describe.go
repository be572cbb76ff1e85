package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TopicInfo is a topic as people see it.
type TopicInfo struct {
	Topic      string
	Partitions []PartitionInfo // by number
}

// PartitionInfo is one partition of it.
type PartitionInfo struct {
	Partition int32
	Leader    int32 // broker id, -1 when there is none
	Replicas  []int32
	ISR       []int32
	Start     int64 // first offset, -1 when unknown
	End       int64 // offset of the next record, -1 when unknown
	Lag       int64 // records of the login topic before End not yet committed by the group, -1 when unknown
}

// Describe returns the topics of the layout that exist, in its order, with the
// lag of group on the login topic. What the cluster cannot tell is -1.
func (a *Admin) Describe(ctx context.Context, l Layout, group string) ([]TopicInfo, error) {
	md, err := a.adm.Metadata(ctx, l.names()...)
	if err != nil {
		return nil, fmt.Errorf("asking the cluster for its topics: %w", err)
	}
	var exist []string
	for _, topic := range l.names() {
		if t, ok := md.Topics[topic]; ok && t.Err == nil {
			exist = append(exist, topic)
		}
	}
	if len(exist) == 0 {
		return nil, nil // listing no topic by name would list all of the cluster's
	}
	starts, err := a.adm.ListStartOffsets(ctx, exist...)
	if err != nil {
		return nil, fmt.Errorf("listing the starts of the topics: %w", err)
	}
	ends, err := a.adm.ListEndOffsets(ctx, exist...)
	if err != nil {
		return nil, fmt.Errorf("listing the ends of the topics: %w", err)
	}
	committed, err := a.adm.FetchOffsetsForTopics(ctx, group, l.LoginRequest)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // nobody joined yet
		return nil, fmt.Errorf("asking for the offsets of group %s: %w", group, err)
	}
	infos := make([]TopicInfo, 0, len(exist))
	for _, topic := range exist {
		info := TopicInfo{Topic: topic}
		for _, p := range md.Topics[topic].Partitions.Sorted() {
			pi := PartitionInfo{Partition: p.Partition, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR,
				Start: offsetOf(starts, topic, p.Partition), End: offsetOf(ends, topic, p.Partition), Lag: -1}
			if o, ok := committed.Lookup(topic, p.Partition); ok && o.Err == nil && o.At >= 0 && pi.End >= 0 {
				pi.Lag = max(0, pi.End-o.At)
			}
			info.Partitions = append(info.Partitions, pi)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func offsetOf(listed kadm.ListedOffsets, topic string, partition int32) int64 {
	if o, ok := listed.Lookup(topic, partition); ok && o.Err == nil {
		return o.Offset
	}
	return -1
}
