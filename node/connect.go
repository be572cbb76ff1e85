package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru/auth"
)

// Connect returns an operator of the cluster that Kafka and Database name, from a
// process that is no part of it. close ends the connections.
func Connect(ctx context.Context, cfg Config) (op *Operator, close func(context.Context) error, err error) {
	if len(cfg.Kafka) == 0 || cfg.Database == "" {
		return nil, nil, &ConfigError{errors.New("both --kafka and --database are needed to reach a cluster; without them the command asks the maru that runs on --data")}
	}
	cfg.Role = RoleGateway
	if err := cfg.Check(); err != nil {
		return nil, nil, &ConfigError{err}
	}
	n := &Node{cfg: cfg, log: cfg.Logger, registry: prometheus.NewRegistry(), dead: make(chan struct{})}
	defer func() {
		if err != nil {
			shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			n.Close(shut)
		}
	}()
	for _, step := range []func(context.Context) error{n.startBroker, n.startStore, n.startKafka, n.startPasswords} {
		if err := step(ctx); err != nil {
			return nil, nil, err
		}
	}
	op = &Operator{n: n}
	n.onClose("operator", func(context.Context) error { op.reset(); return nil })
	return op, n.Close, nil
}

// NewSecretFile makes the secret of a cluster in a file of its own, mode 0600, if
// there is none.
func NewSecretFile(path string) error {
	_, err := auth.LoadOrCreate(path)
	return err
}

// Mended is a slot that Repair has put on a new place in its log.
type Mended struct {
	Slot       int32 `json:"slot"`
	Checkpoint int64 `json:"checkpoint"` // where SQL was
	Next       int64 `json:"next"`       // where it is now
	Lost       int64 `json:"lost"`       // records deleted from the log that no checkpoint has
}

// Repair puts every slot whose checkpoint lies outside of its log back into it,
// so that homes can go on from what the database has. It is for a log that lost
// its newest records (or was replaced by an empty one) while the database kept
// them. With dryRun nothing is changed. No home may be running: on the embedded
// broker the lock of the directory sees to that, otherwise live homes are refused.
func Repair(ctx context.Context, cfg Config, dryRun bool) (mended []Mended, err error) {
	if err := cfg.Check(); err != nil {
		return nil, &ConfigError{err}
	}
	cfg.KafkaListen = ""
	n := &Node{cfg: cfg, log: cfg.Logger, registry: prometheus.NewRegistry(), dead: make(chan struct{})}
	defer func() {
		shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, n.Close(shut))
	}()
	for _, step := range []func(context.Context) error{n.startData, n.startBroker, n.startStore, n.startKafka} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	homes, err := n.store.LiveHomes(ctx, time.Now().Add(-announceLapse).UnixMilli())
	if err != nil {
		return nil, err
	}
	if len(homes) > 0 && n.broker == nil {
		return nil, fmt.Errorf("home %s was alive %v ago: stop all homes, wait %v, and repair then", homes[0].Name, time.Since(time.UnixMilli(homes[0].SeenAt)).Round(time.Second), announceLapse)
	}
	return n.mend(ctx, dryRun)
}

func (n *Node) mend(ctx context.Context, dryRun bool) (mended []Mended, err error) {
	logs, err := n.admin.Describe(ctx, n.cfg.layout(n.cluster.partitions), n.cfg.Group)
	if err != nil {
		return nil, err
	}
	type ends struct{ start, end int64 }
	found := map[string]map[int32]ends{}
	for _, t := range logs {
		found[t.Topic] = map[int32]ends{}
		for _, p := range t.Partitions {
			found[t.Topic][p.Partition] = ends{p.Start, p.End}
		}
	}
	slots, err := n.store.Slots(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range slots {
		log, ok := found[n.cfg.Topics.Commands][s.Slot]
		if !ok || log.start < 0 || log.end < 0 {
			return mended, fmt.Errorf("partition %d of %s cannot be read: start the brokers that have it", s.Slot, n.cfg.Topics.Commands)
		}
		next := min(max(s.Next, log.start), log.end)
		if next == s.Next {
			continue
		}
		login := s.LoginNext
		if l, ok := found[n.cfg.Topics.LoginRequest][s.Slot]; ok && login > l.end {
			login = l.start
		}
		mended = append(mended, Mended{Slot: s.Slot, Checkpoint: s.Next, Next: next, Lost: max(0, next-s.Next)})
		if dryRun {
			continue
		}
		if err := n.store.Rebase(ctx, s.Slot, s.Epoch, next, login); err != nil {
			return mended, fmt.Errorf("slot %d: %w", s.Slot, err)
		}
	}
	return mended, nil
}
