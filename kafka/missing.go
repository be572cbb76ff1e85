package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Missing returns the topics of the layout that do not exist, in its order. It is
// one small request, so it can be asked all the time: who deletes a topic under a
// running cluster stops checkpoints, which wait for outputs that nobody takes.
func (a *Admin) Missing(ctx context.Context, l Layout) (missing []string, err error) {
	exist, err := topicsNow(ctx, a.cl, l.names()...)
	if err != nil {
		return nil, err
	}
	for _, topic := range l.names() {
		if _, ok := exist[topic]; !ok {
			missing = append(missing, topic)
		}
	}
	return missing, nil
}

// Remake creates topics again that Missing has named, and returns those that it
// has created; another process may be faster. Commands is left out: an empty one
// is not the log of the checkpoints, and only a person can decide to go on without.
func (a *Admin) Remake(ctx context.Context, l Layout, missing []string) (created []string, err error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	md, err := a.adm.BrokerMetadata(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the cluster for its brokers: %w", err)
	}
	e := ensure{Admin: a, layout: l}
	for _, topic := range l.names() {
		if topic != l.Commands && slices.Contains(missing, topic) {
			err = errors.Join(err, e.create(ctx, topic, len(md.Brokers)))
		}
	}
	return e.report.Created, err
}
