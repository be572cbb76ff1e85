package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Layout is the set of topics as they should be.
type Layout struct {
	Partitions int32 // P, of the first three topics
	Replicas   int16

	LoginRequest, LoginResponse, Commands, Delivery string

	DeliveryPartitions int32         // 0: 64
	DeliveryRetention  time.Duration // 0: 10 min; nobody reads deliveries that are older than a connection
}

// Report is what EnsureTopics did.
type Report struct {
	// Created names the topics that this call created. Slots of a login topic that
	// maru made start at its beginning.
	Created []string
	// Grown names the topics that got partitions.
	Grown []string
	// Changed has a sentence for each setting that protects data and was not as it must be.
	Changed []string
	// Warnings has a sentence for each thing that is not as asked and was left so.
	Warnings []string
}

// ensureRounds bounds how often the cluster is compared again, when other
// processes change it at the same time or brokers learn slowly of a new topic.
const ensureRounds = 50

// EnsureTopics creates the topics that are missing and mends those that are
// there, as far as that loses nothing: partitions are added (to commands only
// while it is empty, since they move keys to other slots), never removed; no
// topic is deleted. first says that this installation has not recorded its
// number of partitions yet. It returns when every partition has a leader.
// Several processes may call it at once.
func (a *Admin) EnsureTopics(ctx context.Context, l Layout, first bool) (Report, error) {
	if err := l.check(); err != nil {
		return Report{}, err
	}
	e := ensure{Admin: a, layout: l, first: first}
	for round := 0; ; round++ {
		again, err := e.round(ctx)
		if err != nil {
			return e.report, err
		}
		if !again {
			// A broker that has not yet heard of a topic just made answers that there is none.
			if err = e.settings(ctx); !errors.Is(err, kerr.UnknownTopicOrPartition) {
				return e.report, err
			}
		}
		if round == ensureRounds {
			return e.report, errors.New("the topics were created, but some partitions have no leader yet: see whether all brokers are up")
		}
		select {
		case <-ctx.Done():
			return e.report, fmt.Errorf("waiting for the topics' leaders: %w", ctx.Err())
		case <-time.After(backoff(round/2 + 1)):
		}
	}
}

func (l *Layout) check() error {
	if l.DeliveryPartitions == 0 {
		l.DeliveryPartitions = 64
	}
	if l.DeliveryRetention == 0 {
		l.DeliveryRetention = 10 * time.Minute
	}
	if l.Partitions < 1 || l.Replicas < 1 {
		return fmt.Errorf("%d partitions with %d replicas: both must be at least 1", l.Partitions, l.Replicas)
	}
	names := l.names()
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			return errors.New("the four topics need four different names")
		}
	}
	return nil
}

func (l *Layout) names() []string {
	return []string{l.LoginRequest, l.LoginResponse, l.Commands, l.Delivery}
}

// partitions returns how many partitions a topic of the layout has.
func (l *Layout) partitions(topic string) int32 {
	if topic == l.Delivery {
		return l.DeliveryPartitions
	}
	return l.Partitions
}

// Survey tells what EnsureTopics would find at the first start, and changes
// nothing: the topics that it would create, or why it would refuse. The brokers
// are asked whether they would create them: their number, and whether this client
// may, decide too.
func (a *Admin) Survey(ctx context.Context, l Layout) (missing []string, err error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	e := ensure{Admin: a, layout: l, first: true}
	md, err := a.adm.Metadata(ctx, l.names()...)
	if err != nil {
		return nil, fmt.Errorf("asking the cluster for its topics: %w", err)
	}
	for _, topic := range l.names() {
		t, ok := md.Topics[topic]
		switch {
		case !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			missing = append(missing, topic)
			err = e.creating(topic, len(md.Brokers), func(p int32, replicas int16, configs map[string]*string) error {
				resp, err := a.adm.ValidateCreateTopics(ctx, p, replicas, configs, topic)
				if err == nil {
					err = resp.Error()
				}
				return err
			})
		case t.Err != nil && !kerr.IsRetriable(t.Err):
			err = fmt.Errorf("topic %s: %w", topic, t.Err)
		case t.Err == nil:
			_, err = e.fits(ctx, t)
		}
		if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// ensure is one call of EnsureTopics.
type ensure struct {
	*Admin
	layout Layout
	first  bool
	report Report
	warned bool // of replication factors, which later rounds would repeat
}

// round compares all topics with the layout and does what one look at the
// cluster allows; again says that it must be looked at once more.
func (e *ensure) round(ctx context.Context) (again bool, err error) {
	md, err := e.adm.Metadata(ctx, e.layout.names()...)
	if err != nil {
		return false, fmt.Errorf("asking the cluster for its topics: %w", err)
	}
	for _, topic := range e.layout.names() {
		t, ok := md.Topics[topic]
		switch {
		case !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			err, again = e.create(ctx, topic, len(md.Brokers)), true
		case t.Err != nil && kerr.IsRetriable(t.Err):
			again = true
		case t.Err != nil:
			err = fmt.Errorf("topic %s: %w", topic, t.Err)
		default:
			var changed bool
			changed, err = e.compare(ctx, t)
			again = again || changed
		}
		if err != nil {
			return false, err
		}
	}
	if !again && !e.warned {
		e.warned = true
		e.compareReplicas(md)
	}
	return again, nil
}

func (e *ensure) create(ctx context.Context, topic string, brokers int) error {
	if slices.Contains(e.report.Created, topic) {
		return nil // brokers are still learning of it
	}
	return e.creating(topic, brokers, func(p int32, replicas int16, configs map[string]*string) error {
		_, err := e.adm.CreateTopic(ctx, p, replicas, configs, topic)
		if err == nil {
			e.report.Created = append(e.report.Created, topic)
		}
		return err
	})
}

// creating has a topic created as the layout wants it and says what is wrong if
// it cannot be.
func (e *ensure) creating(topic string, brokers int, create func(partitions int32, replicas int16, configs map[string]*string) error) error {
	l := e.layout
	tooFew := fmt.Errorf("topic %s cannot be created with %d replicas, the cluster has %d brokers: start more brokers, or ask for --replicas %d",
		topic, l.Replicas, brokers, brokers)
	if brokers < int(l.Replicas) {
		return tooFew
	}
	err := create(l.partitions(topic), l.Replicas, l.configs(topic))
	switch {
	case err == nil, errors.Is(err, kerr.TopicAlreadyExists): // another process was faster
		return nil
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return fmt.Errorf("%w (%w)", tooFew, err)
	}
	return fmt.Errorf("creating topic %s: %w", topic, err)
}

// fits tells whether a topic that is there has as many partitions as it must have,
// or why it never can.
func (e *ensure) fits(ctx context.Context, t kadm.TopicDetail) (bool, error) {
	have, want := int32(len(t.Partitions)), e.layout.partitions(t.Topic)
	switch {
	case have > want && t.Topic != e.layout.Delivery:
		return false, e.tooMany(t.Topic, have)
	case have >= want:
		return true, nil
	case t.Topic != e.layout.Commands:
		return false, nil
	}
	ends, err := e.LogEnds(ctx, t.Topic)
	if err != nil {
		return false, err
	}
	for p, end := range ends {
		if end > 0 {
			return false, fmt.Errorf("topic %s has %d partitions and records already (partition %d ends at %d), so %d partitions would part users from their records: "+
				"start with --partitions %d, or change the number with `maru grow`", t.Topic, have, p, end, want, have)
		}
	}
	return false, nil
}

// compare mends the number of partitions of a topic that is there.
func (e *ensure) compare(ctx context.Context, t kadm.TopicDetail) (again bool, err error) {
	fits, err := e.fits(ctx, t)
	if err != nil {
		return false, err
	}
	if fits {
		for _, p := range t.Partitions {
			if p.Leader < 0 || p.Err != nil {
				again = true
			}
		}
		return again, nil
	}
	want := e.layout.partitions(t.Topic)
	resp, err := e.adm.UpdatePartitions(ctx, int(want), t.Topic)
	if err == nil {
		err = resp.Error()
	}
	switch {
	case err == nil:
		e.report.Grown = append(e.report.Grown, t.Topic)
	case errors.Is(err, kerr.InvalidPartitions), errors.Is(err, kerr.ReassignmentInProgress): // another process was faster: look again
	default:
		return false, fmt.Errorf("adding partitions to topic %s: %w", t.Topic, err)
	}
	return true, nil
}

func (e *ensure) tooMany(topic string, have int32) error {
	if e.first {
		return fmt.Errorf("topic %s has %d partitions, more than the %d asked for, and Kafka cannot remove any: start with --partitions %d, or give another topic name",
			topic, have, e.layout.Partitions, have)
	}
	return fmt.Errorf("topic %s has %d partitions, but this installation has %d: somebody added some, and what other programs put there nobody would read; "+
		"change the installation's number with `maru grow`, or give another topic name", topic, have, e.layout.Partitions)
}

func (e *ensure) compareReplicas(md kadm.Metadata) {
	for _, topic := range e.layout.names() {
		for _, p := range md.Topics[topic].Partitions.Sorted() {
			if n := len(p.Replicas); n != int(e.layout.Replicas) {
				e.report.Warnings = append(e.report.Warnings, fmt.Sprintf(
					"topic %s partition %d has %d replicas, %d were asked for: change an existing topic with kafka-reassign-partitions", topic, p.Partition, n, e.layout.Replicas))
				break
			}
		}
	}
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
