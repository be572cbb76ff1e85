package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
)

// trimLoop applies the retention at its pace until ctx ends.
func (b *Broker) trimLoop(ctx context.Context) {
	tick := time.NewTicker(b.cfg.pace.trim)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := b.Trim(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Logger.Warn("old records of the embedded broker were not deleted, will try again", "error", err)
		}
	}
}

// Trim deletes the records that are older than the retention of their topic, as
// the broker does every half minute by itself. It stands in for kfake's own
// retention, which may empty a partition (K2, K1). Whole batches go, and the
// last record of every partition stays.
func (b *Broker) Trim(ctx context.Context) error {
	var errs []error
	for topic, facts := range b.rules.catalog.all() {
		keep, ok := b.cfg.Retention[topic]
		if !ok {
			keep = facts.retention
		}
		if keep > 0 {
			errs = append(errs, b.trimTopic(ctx, topic, time.Now().Add(-keep)))
		}
	}
	return errors.Join(errs...)
}

// trimTopic deletes what is older than before.
func (b *Broker) trimTopic(ctx context.Context, topic string, before time.Time) error {
	firsts, err := kadm.NewClient(b.admin).ListOffsetsAfterMilli(ctx, before.UnixMilli(), topic)
	if err != nil {
		return fmt.Errorf("trim topic %s: %w", topic, err)
	}
	var errs []error
	firsts.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			errs = append(errs, fmt.Errorf("trim topic %s, partition %d: %w", topic, o.Partition, o.Err))
			return
		}
		info := b.rules.partition(topic, o.Partition)
		if info == nil {
			return // deleted meanwhile
		}
		to := min(o.Offset, info.HighWatermark-1)
		if to <= info.LogStartOffset {
			return
		}
		b.rules.cluster.use(func(c *kfake.Cluster) {
			if err := c.DeleteRecords(topic, o.Partition, to); err != nil {
				errs = append(errs, fmt.Errorf("trim topic %s, partition %d: %w", topic, o.Partition, err))
			}
		})
	})
	return errors.Join(errs...)
}
