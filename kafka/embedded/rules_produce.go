package embedded

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produce refuses writes that the disk cannot take, that are meant for a
// protected topic, or that are damaged, and stamps those that are to carry the
// broker's time. What is refused is taken out of the request and put back into
// the answer.
func (r *rules) produce(req *kmsg.ProduceRequest, outside bool) verdict {
	var refused refusedBatches
	storage := r.disk.refuses()
	retryable := make(map[string]map[int32]bool) // written without a producer id
	topics := req.Topics[:0]
	for _, t := range req.Topics {
		kept := t.Partitions[:0]
		for _, p := range t.Partitions {
			code, why := r.checkPartition(t.Topic, p.Records, storage, outside)
			if code != 0 {
				refused.add(t.Topic, p.Partition, code, why)
				continue
			}
			if r.catalog.stamps(t.Topic) {
				stamp(p.Records, r.clock.now())
			}
			if !idempotent(p.Records) {
				if retryable[t.Topic] == nil {
					retryable[t.Topic] = make(map[int32]bool)
				}
				retryable[t.Topic][p.Partition] = true
			}
			kept = append(kept, p)
		}
		if t.Partitions = kept; len(kept) > 0 {
			topics = append(topics, t)
		}
	}
	req.Topics = topics

	switch {
	case len(topics) > 0 && req.Acks == 0:
		return verdict{forward: true, silent: true}
	case len(topics) > 0:
		return verdict{forward: true, amend: func(resp kmsg.Response) {
			pr := resp.(*kmsg.ProduceResponse)
			softenWriteErrors(pr, retryable)
			refused.into(pr)
		}}
	case req.Acks == 0:
		return verdict{drop: true}
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	refused.into(resp)
	return verdict{answer: resp}
}

// checkPartition says why a batch is refused; code 0: it is not.
func (r *rules) checkPartition(topic string, batch []byte, storage *string, outside bool) (code int16, why *string) {
	switch {
	case r.sealed(topic, outside):
		return kerr.TopicAuthorizationFailed.Code, r.sealedReason(topic)
	case storage != nil:
		return kerr.KafkaStorageError.Code, storage
	case !outside:
		return 0, nil
	case len(batch) > maxBatchBytes:
		return kerr.MessageTooLarge.Code, reason("batch of %d bytes, at most %d are taken", len(batch), maxBatchBytes)
	}
	// Few at a time: a batch may need sixteen times its size.
	if err := r.decoding.Acquire(context.Background(), 1); err != nil {
		return kerr.UnknownServerError.Code, nil
	}
	defer r.decoding.Release(1)
	if err := r.inflater.checkBatch(batch); errors.Is(err, errBatchSize) {
		return kerr.MessageTooLarge.Code, reason("%v", err)
	} else if err != nil {
		return kerr.InvalidRecord.Code, reason("%v", err)
	}
	return 0, nil
}

// softenWriteErrors makes failed writes such that producers repeat them. kfake
// answers UNKNOWN_SERVER_ERROR, on which they give up. For a batch with a
// producer id it stays so: kfake has counted its sequence number already and
// would acknowledge the repetition without having written it (K9).
func softenWriteErrors(resp *kmsg.ProduceResponse, retryable map[string]map[int32]bool) {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.ErrorCode == kerr.UnknownServerError.Code && retryable[t.Topic][p.Partition] {
				p.ErrorCode = kerr.KafkaStorageError.Code
			}
		}
	}
}

// refusedBatches collects what the answer to a Produce request must say besides
// what kfake says.
type refusedBatches []kmsg.ProduceResponseTopic

func (b *refusedBatches) add(topic string, partition int32, code int16, why *string) {
	if n := len(*b); n == 0 || (*b)[n-1].Topic != topic {
		t := kmsg.NewProduceResponseTopic()
		t.Topic = topic
		*b = append(*b, t)
	}
	t := &(*b)[len(*b)-1]
	p := kmsg.NewProduceResponseTopicPartition()
	p.Partition, p.ErrorCode, p.ErrorMessage = partition, code, why
	p.BaseOffset = -1
	t.Partitions = append(t.Partitions, p)
}

// into merges by topic: clients look each topic up once.
func (b refusedBatches) into(resp *kmsg.ProduceResponse) {
next:
	for _, t := range b {
		for i := range resp.Topics {
			if resp.Topics[i].Topic == t.Topic {
				resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, t.Partitions...)
				continue next
			}
		}
		resp.Topics = append(resp.Topics, t)
	}
}
