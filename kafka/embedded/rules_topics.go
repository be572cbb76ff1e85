package embedded

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// validTopicName checks a name as Kafka does; kfake does not.
func validTopicName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 249 {
		return false
	}
	for _, c := range []byte(name) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}

// createTopics refuses what kfake would accept and not keep: names and sizes out
// of bounds, configurations it ignores or that lose data, and placements.
func (r *rules) createTopics(req *kmsg.CreateTopicsRequest, outside bool) verdict {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	topics := req.Topics[:0]
	room := maxPartitions - r.catalog.partitions()
	for _, t := range req.Topics {
		code, why := r.checkNewTopic(t, room, outside)
		if code == 0 {
			room -= int(max(t.NumPartitions, 1))
			topics = append(topics, t)
			continue
		}
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.Topic, code, why
		resp.Topics = append(resp.Topics, rt)
	}
	req.Topics = topics
	if len(topics) == 0 {
		return verdict{answer: resp}
	}
	return verdict{forward: true, amend: func(done kmsg.Response) {
		d := done.(*kmsg.CreateTopicsResponse)
		for i := range d.Topics {
			t := &d.Topics[i]
			r.catalog.refresh(t.Topic)
			// kfake leaves out the sources, and the list when it would be empty. Kafka's
			// own client fails at either.
			for j := range t.Configs {
				t.Configs[j].Source = int8(kmsg.ConfigSourceDynamicTopicConfig)
			}
			if t.Configs == nil {
				t.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
			}
		}
		d.Topics = append(d.Topics, resp.Topics...)
	}}
}

func (r *rules) checkNewTopic(t kmsg.CreateTopicsRequestTopic, room int, outside bool) (code int16, why *string) {
	switch {
	case r.sealed(t.Topic, outside):
		return kerr.TopicAuthorizationFailed.Code, r.sealedReason(t.Topic)
	case !validTopicName(t.Topic):
		return kerr.InvalidTopicException.Code, reason("a topic name has 1 to 249 of a-z A-Z 0-9 . _ -")
	case len(t.ReplicaAssignment) > 0:
		return kerr.InvalidReplicaAssignment.Code,
			reason("the embedded broker places replicas itself: give a number of partitions")
	case int(t.NumPartitions) > room:
		return kerr.InvalidPartitions.Code,
			reason("the embedded broker takes %d partitions in all, %d more", maxPartitions, max(0, room))
	case int(t.ReplicationFactor) > r.brokers:
		return kerr.InvalidReplicationFactor.Code,
			reason("%d replicas need as many brokers, here are %d", t.ReplicationFactor, r.brokers)
	}
	seen := make(map[string]bool, len(t.Configs))
	for _, c := range t.Configs {
		if seen[c.Name] {
			return kerr.InvalidRequest.Code, reason("%s is given twice", c.Name)
		}
		seen[c.Name] = true
		if why := checkTopicConfig(c.Name, c.Value); why != nil {
			return kerr.InvalidConfig.Code, why
		}
	}
	return 0, nil
}

func (r *rules) deleteTopics(req *kmsg.DeleteTopicsRequest, outside bool) verdict {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	names := req.TopicNames[:0]
	for _, name := range req.TopicNames {
		if !r.sealed(name, outside) {
			names = append(names, name)
			continue
		}
		t := kmsg.NewDeleteTopicsResponseTopic()
		t.Topic, t.ErrorCode = &name, kerr.TopicAuthorizationFailed.Code
		t.ErrorMessage = r.sealedReason(name)
		resp.Topics = append(resp.Topics, t)
	}
	req.TopicNames = names
	if len(names) == 0 && len(resp.Topics) > 0 {
		return verdict{answer: resp}
	}
	return verdict{forward: true, amend: func(done kmsg.Response) {
		d := done.(*kmsg.DeleteTopicsResponse)
		for _, t := range d.Topics {
			if t.Topic != nil {
				r.catalog.refresh(*t.Topic)
			}
		}
		d.Topics = append(d.Topics, resp.Topics...)
	}}
}

func (r *rules) createPartitions(req *kmsg.CreatePartitionsRequest, outside bool) verdict {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	topics := req.Topics[:0]
	room := maxPartitions - r.catalog.partitions()
	for _, t := range req.Topics {
		more := int(t.Count) - r.catalog.of(t.Topic).parts
		var code int16
		var why *string
		switch {
		case r.sealed(t.Topic, outside):
			code, why = kerr.TopicAuthorizationFailed.Code, r.sealedReason(t.Topic)
		case len(t.Assignment) > 0:
			code, why = kerr.InvalidReplicaAssignment.Code, reason("the embedded broker places replicas itself")
		case more > room:
			code, why = kerr.InvalidPartitions.Code,
				reason("the embedded broker takes %d partitions in all, %d more", maxPartitions, max(0, room))
		default:
			room -= max(0, more)
			topics = append(topics, t)
			continue
		}
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.Topic, code, why
		resp.Topics = append(resp.Topics, rt)
	}
	req.Topics = topics
	if len(topics) == 0 {
		return verdict{answer: resp}
	}
	return verdict{forward: true, amend: func(done kmsg.Response) {
		d := done.(*kmsg.CreatePartitionsResponse)
		for _, t := range d.Topics {
			r.catalog.refresh(t.Topic)
		}
		d.Topics = append(d.Topics, resp.Topics...)
	}}
}

// deleteRecords keeps the last record of every partition (K1): a deletion up to
// the end becomes one up to the last record, and the answer names where the log
// begins now.
func (r *rules) deleteRecords(req *kmsg.DeleteRecordsRequest, outside bool) verdict {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	topics := req.Topics[:0]
	for _, t := range req.Topics {
		if !r.sealed(t.Topic, outside) {
			for i := range t.Partitions {
				p := &t.Partitions[i]
				if info := r.partition(t.Topic, p.Partition); info != nil {
					p.Offset = keepLast(p.Offset, info.LogStartOffset, info.HighWatermark)
				}
			}
			topics = append(topics, t)
			continue
		}
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition, rp.LowWatermark, rp.ErrorCode = p.Partition, -1, kerr.TopicAuthorizationFailed.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	req.Topics = topics
	if len(topics) == 0 {
		return verdict{answer: resp}
	}
	return verdict{forward: true, amend: func(done kmsg.Response) {
		d := done.(*kmsg.DeleteRecordsResponse)
		d.Topics = append(d.Topics, resp.Topics...)
	}}
}

// keepLast moves the offset of a deletion so that the record before end stays.
// -1 stands for the end. What lies outside the log is left for kfake to refuse.
func keepLast(offset, start, end int64) int64 {
	if offset == -1 || offset == end {
		return max(start, end-1)
	}
	return offset
}

// alterAssignments refuses to move replicas: kfake would answer that it did.
func (r *rules) alterAssignments(req *kmsg.AlterPartitionAssignmentsRequest, outside bool) verdict {
	resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case r.sealed(t.Topic, outside):
				rp.ErrorCode, rp.ErrorMessage = kerr.TopicAuthorizationFailed.Code, r.sealedReason(t.Topic)
			case p.Replicas == nil:
				rp.ErrorCode = kerr.NoReassignmentInProgress.Code
			default:
				rp.ErrorCode = kerr.InvalidReplicaAssignment.Code
				rp.ErrorMessage = reason("the embedded broker has one copy of everything and cannot move replicas")
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return verdict{answer: resp}
}
