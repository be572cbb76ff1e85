package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// maxMessageBytes is the largest batch of commands: the producer makes none of
// more than a million bytes.
const maxMessageBytes = 1 << 20

// setting is a topic setting (Kafka documentation, topic configs) that protects data.
type setting struct {
	key, value string
	atLeast    bool // a number; more is right too
}

// protected are the settings that commands must have: it is the truth, so it is
// kept until its owner trims it, never compacted, stamped by the broker's clock
// (one fast clock of a gateway would empty windows of record time), and
// acknowledged by two replicas when there are three.
func protected(replicas int) []setting {
	return []setting{
		{key: "cleanup.policy", value: "delete"},
		{key: "retention.ms", value: "-1"},
		{key: "retention.bytes", value: "-1"},
		{key: "message.timestamp.type", value: "LogAppendTime"},
		{key: "max.message.bytes", value: strconv.Itoa(maxMessageBytes), atLeast: true},
		{key: "min.insync.replicas", value: strconv.Itoa(minInsync(replicas)), atLeast: true},
		{key: "unclean.leader.election.enable", value: "false"},
	}
}

func minInsync(replicas int) int {
	if replicas >= 3 {
		return 2
	}
	return 1
}

// configs are the settings with which a topic is created.
func (l *Layout) configs(topic string) map[string]*string {
	m := map[string]*string{}
	set := func(key, value string) { m[key] = &value }
	switch topic {
	case l.Commands:
		for _, s := range protected(int(l.Replicas)) {
			if s.key != "unclean.leader.election.enable" { // the brokers' default; settings mends it where it is not
				set(s.key, s.value)
			}
		}
	case l.Delivery:
		set("cleanup.policy", "delete")
		set("retention.ms", ms(l.DeliveryRetention))
		set("segment.ms", ms(l.DeliveryRetention)) // only closed segments are deleted
	default:
		set("min.insync.replicas", strconv.Itoa(minInsync(int(l.Replicas))))
	}
	return m
}

// settings mends the settings of commands. Of the login pair and of delivery
// nothing is changed: they belong to others too, or nothing depends on them.
func (e *ensure) settings(ctx context.Context) error {
	topic := e.layout.Commands
	md, err := e.adm.Metadata(ctx, topic)
	if err != nil {
		return fmt.Errorf("asking for the replicas of topic %s: %w", topic, err)
	}
	replicas := md.Topics[topic].Partitions.NumReplicas()
	all, err := e.adm.DescribeTopicConfigs(ctx, topic)
	var rc kadm.ResourceConfig
	if err == nil {
		if rc, err = all.On(topic, nil); err == nil {
			err = rc.Err
		}
	}
	if err != nil {
		return fmt.Errorf("reading the settings of topic %s: %w", topic, err)
	}
	var alter []kadm.AlterConfig
	var said []string
	for _, want := range protected(replicas) {
		for _, have := range rc.Configs {
			if have.Key != want.key || want.metBy(have.MaybeValue()) {
				continue
			}
			value := want.value
			alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: want.key, Value: &value})
			said = append(said, fmt.Sprintf("topic %s: %s was %q, it must be %q for the log to keep its records", topic, want.key, have.MaybeValue(), value))
		}
	}
	if len(alter) == 0 {
		return nil
	}
	if err := e.alter(ctx, topic, alter); err != nil {
		return fmt.Errorf("%s; changing it: %w", said[0], err)
	}
	e.report.Changed = append(e.report.Changed, said...)
	return nil
}

func (e *ensure) alter(ctx context.Context, topic string, alter []kadm.AlterConfig) error {
	resp, err := e.adm.AlterTopicConfigs(ctx, alter, topic)
	if err != nil {
		return err
	}
	r, err := resp.On(topic, nil)
	if err == nil {
		err = r.Err
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return fmt.Errorf("maru needs ALTER_CONFIGS on the topic, or set it by hand: %w", err)
	}
	return err
}

func (s setting) metBy(value string) bool {
	if value == s.value {
		return true
	}
	if !s.atLeast {
		return false
	}
	have, err := strconv.Atoi(value)
	want, _ := strconv.Atoi(s.value) // our own constant
	return err == nil && have >= want
}
