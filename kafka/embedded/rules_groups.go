package embedded

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxFetchBytes and maxFetchWait (milliseconds) bound one answer to a Fetch
// request from outside: the first because the answer is built in memory, the
// second because a vanished client keeps its place until then.
const (
	maxFetchBytes = 4 << 20
	maxFetchWait  = 30_000
)

// judgeGroup protects groups from outside, where a single console consumer with
// the name of maru's group would take slots away from homes, and bounds fetches.
// All requests here are answered or sent on as a whole.
func (r *rules) judgeGroup(req kmsg.Request) verdict {
	denied := kerr.GroupAuthorizationFailed.Code
	switch req := req.(type) {
	case *kmsg.FetchRequest:
		boundFetch(req)
		return verdict{forward: true}
	case *kmsg.JoinGroupRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) { resp.(*kmsg.JoinGroupResponse).ErrorCode = denied })
	case *kmsg.SyncGroupRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) { resp.(*kmsg.SyncGroupResponse).ErrorCode = denied })
	case *kmsg.HeartbeatRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) { resp.(*kmsg.HeartbeatResponse).ErrorCode = denied })
	case *kmsg.LeaveGroupRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) { resp.(*kmsg.LeaveGroupResponse).ErrorCode = denied })
	case *kmsg.OffsetDeleteRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) { resp.(*kmsg.OffsetDeleteResponse).ErrorCode = denied })
	case *kmsg.AddOffsetsToTxnRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) { resp.(*kmsg.AddOffsetsToTxnResponse).ErrorCode = denied })
	case *kmsg.ConsumerGroupHeartbeatRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) {
			resp.(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode = denied
		})
	case *kmsg.OffsetCommitRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) {
			resp.(*kmsg.OffsetCommitResponse).Topics = deniedCommits(req.Topics, denied)
		})
	case *kmsg.TxnOffsetCommitRequest:
		return r.denyGroup(req.Group, req, func(resp kmsg.Response) {
			resp.(*kmsg.TxnOffsetCommitResponse).Topics = deniedTxnCommits(req.Topics, denied)
		})
	case *kmsg.DeleteGroupsRequest:
		return r.deleteGroups(req)
	case *kmsg.AddPartitionsToTxnRequest:
		return r.addPartitionsToTxn(req)
	}
	return verdict{}
}

// denyGroup answers for a protected group and sends everything else on.
func (r *rules) denyGroup(group string, req kmsg.Request, fill func(kmsg.Response)) verdict {
	if !r.groups[group] {
		return verdict{}
	}
	resp := req.ResponseKind()
	fill(resp)
	return verdict{answer: resp}
}

func boundFetch(req *kmsg.FetchRequest) {
	req.MaxBytes = min(req.MaxBytes, maxFetchBytes)
	req.MaxWaitMillis = min(req.MaxWaitMillis, maxFetchWait)
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			p.PartitionMaxBytes = min(p.PartitionMaxBytes, maxFetchBytes)
		}
	}
}

func deniedCommits(topics []kmsg.OffsetCommitRequestTopic, code int16) []kmsg.OffsetCommitResponseTopic {
	out := make([]kmsg.OffsetCommitResponseTopic, 0, len(topics))
	for _, t := range topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		out = append(out, rt)
	}
	return out
}

func deniedTxnCommits(topics []kmsg.TxnOffsetCommitRequestTopic, code int16) []kmsg.TxnOffsetCommitResponseTopic {
	out := make([]kmsg.TxnOffsetCommitResponseTopic, 0, len(topics))
	for _, t := range topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		out = append(out, rt)
	}
	return out
}

func (r *rules) deleteGroups(req *kmsg.DeleteGroupsRequest) verdict {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	kept := req.Groups[:0]
	for _, name := range req.Groups {
		if !r.groups[name] {
			kept = append(kept, name)
			continue
		}
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group, g.ErrorCode = name, kerr.GroupAuthorizationFailed.Code
		g.ErrorMessage = reason("group %s belongs to maru", name)
		resp.Groups = append(resp.Groups, g)
	}
	req.Groups = kept
	if len(kept) == 0 && len(resp.Groups) > 0 {
		return verdict{answer: resp}
	}
	return verdict{forward: true, amend: func(done kmsg.Response) {
		d := done.(*kmsg.DeleteGroupsResponse)
		d.Groups = append(d.Groups, resp.Groups...)
	}}
}

// addPartitionsToTxn refuses the whole request when one topic is protected, as
// Kafka does when one is not authorised.
func (r *rules) addPartitionsToTxn(req *kmsg.AddPartitionsToTxnRequest) verdict {
	sealed := false
	for _, t := range req.Topics {
		sealed = sealed || r.protected[t.Topic]
	}
	if !sealed {
		return verdict{}
	}
	resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTopic()
		rt.Topic = t.Topic
		code := kerr.OperationNotAttempted.Code
		if r.protected[t.Topic] {
			code = kerr.TopicAuthorizationFailed.Code
		}
		for _, p := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return verdict{answer: resp}
}
