package node

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"maru/kafka"
)

// cluster is what all processes of a cluster agree on, as recorded in SQL.
type cluster struct {
	partitions     int32  // P
	loginFromStart bool   // login-request is maru's own topic: no request in it is too old
	commandsID     string // of the topic commands that is there; empty: the brokers have no ids
	replaced       bool   // Repair: the topic is not the one of the checkpoints
}

// ensureCluster reads or, at the first start, decides the facts of the cluster,
// and brings the topics to them. Facts are recorded before they are acted on: who
// is killed between, or starts at the same time, finds the same. What would be
// refused is found before, so that a start that fails leaves nothing behind.
func (n *Node) ensureCluster(ctx context.Context) (c cluster, err error) {
	_, found, err := n.store.Meta(ctx, "partitions")
	if err != nil {
		return c, err
	}
	c.partitions = n.cfg.Partitions
	if c.partitions == 0 {
		c.partitions = DefaultPartitions
	}
	if !found {
		missing, err := n.admin.Survey(ctx, n.cfg.layout(c.partitions))
		if err != nil {
			return c, err
		}
		own := "no"
		if slices.Contains(missing, n.cfg.Topics.LoginRequest) {
			own = "yes"
		}
		if _, _, err := n.store.EnsureMeta(ctx, "login-request.own", own); err != nil {
			return c, err
		}
	}
	if c.partitions, err = n.recordPartitions(ctx, c.partitions); err != nil {
		return c, err
	}
	own, _, err := n.store.EnsureMeta(ctx, "login-request.own", "no")
	if err != nil {
		return c, err
	}
	c.loginFromStart = own == "yes"
	report, err := n.admin.EnsureTopics(ctx, n.cfg.layout(c.partitions), !found)
	n.logReport(report)
	if err != nil {
		return c, err
	}
	err = n.knowLog(ctx, &c)
	return c, err
}

// logID is the fact which topic of commands the checkpoints are of.
const logID = "commands.id"

// knowLog compares the topic of commands with the one that the checkpoints are of.
// One that was made anew has other records at the same offsets.
func (n *Node) knowLog(ctx context.Context, c *cluster) (err error) {
	if c.commandsID, err = n.admin.TopicID(ctx, n.cfg.Topics.Commands); err != nil || c.commandsID == "" {
		return err
	}
	known, _, err := n.store.EnsureMeta(ctx, logID, c.commandsID)
	if err != nil || known == c.commandsID {
		return err
	}
	c.replaced = true
	if n.mending {
		return nil
	}
	return &kafka.ErrLogReplaced{Topic: n.cfg.Topics.Commands, ID: c.commandsID, Wanted: known}
}

// recordLog has the checkpoints be of the topic that is there, after a repair.
func (n *Node) recordLog(ctx context.Context) error {
	if !n.cluster.replaced {
		return nil
	}
	return n.store.SetMeta(ctx, logID, n.cluster.commandsID)
}

// recordPartitions returns the cluster's number of partitions, which is wanted if
// nobody has recorded another one.
func (n *Node) recordPartitions(ctx context.Context, wanted int32) (int32, error) {
	stored, _, err := n.store.EnsureMeta(ctx, "partitions", strconv.Itoa(int(wanted)))
	if err != nil {
		return 0, err
	}
	p, err := strconv.ParseInt(stored, 10, 32)
	if err != nil || p < 1 {
		return 0, fmt.Errorf("the recorded number of partitions is %q: restore the database", stored)
	}
	if asked := n.cfg.Partitions; asked != 0 && asked != int32(p) {
		return 0, &ConfigError{fmt.Errorf("--partitions %d, but this cluster was made with %d and users live by it: leave the setting out, or change the number with `maru grow`", asked, p)}
	}
	return int32(p), nil
}

func (n *Node) logReport(r kafka.Report) {
	for _, t := range r.Created {
		n.log.Info("topic created", "topic", t)
	}
	for _, t := range r.Grown {
		n.log.Info("topic has more partitions now", "topic", t)
	}
	for _, s := range r.Changed {
		n.log.Warn("topic setting changed", "change", s)
	}
	for _, s := range r.Warnings {
		n.log.Warn("topic is not as asked", "warning", s)
	}
}
