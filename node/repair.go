package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru"
	"maru/home/fold"
	"maru/kafka"
	"maru/store"
)

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
	n := &Node{cfg: cfg, log: cfg.Logger, registry: prometheus.NewRegistry(), dead: make(chan struct{}), mending: true}
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

// mend decides where slots go on. When one is moved, all begin their streams anew:
// the others have sent to it what is lost, and heard from it what it will not know.
//
// The slots come last: a repair that was interrupted finds them as they were and
// does everything once more.
func (n *Node) mend(ctx context.Context, dryRun bool) (mended []Mended, err error) {
	places, mended, err := n.places(ctx)
	if err != nil || len(mended) == 0 && !n.cluster.replaced || dryRun {
		return mended, err
	}
	states := make([]*fold.State, len(places))
	for i, p := range places {
		states[i] = fold.New(p.Slot, n.cluster.partitions, deliveryPartitions)
		if err := states[i].SetAux(p.Aux); err != nil {
			return nil, err
		}
	}
	if err := fold.Align(states); err != nil {
		return nil, err
	}
	for i := range places {
		places[i].Aux = states[i].Aux()
	}
	if err := n.settleUsers(ctx); err != nil {
		return nil, err
	}
	if err := n.store.Rebase(ctx, places); err != nil {
		return nil, err
	}
	return mended, n.recordLog(ctx)
}

// places returns where each slot of the cluster goes on, and those of them that are
// moved. Nothing of a log that is another topic is in a checkpoint, whatever its
// offsets: it is read from its start.
func (n *Node) places(ctx context.Context) (places []store.Place, mended []Mended, err error) {
	logs, err := n.admin.Describe(ctx, n.cfg.layout(n.cluster.partitions), n.cfg.Group)
	if err != nil {
		return nil, nil, err
	}
	rows, err := n.store.Slots(ctx)
	if err != nil {
		return nil, nil, err
	}
	known := map[int32]maru.SlotRow{}
	for _, r := range rows {
		known[r.Slot] = r
	}
	for slot := range n.cluster.partitions {
		r, claimed := known[slot]
		p := store.Place{Slot: slot, Epoch: r.Epoch, Next: r.Next, LoginNext: r.LoginNext}
		if !claimed {
			p.LoginNext = kafka.Unset
		} else if p.Aux, err = n.store.Aux(ctx, slot); err != nil {
			return nil, nil, err
		}
		log, ok := partition(logs, n.cfg.Topics.Commands, slot)
		if !ok {
			return nil, nil, fmt.Errorf("partition %d of %s cannot be read: start the brokers that have it", slot, n.cfg.Topics.Commands)
		}
		lost := max(0, log.Start-p.Next)
		if n.cluster.replaced {
			p.Next, lost = log.Start, 0
		}
		p.Next = min(max(p.Next, log.Start), log.End)
		if p.Next != r.Next {
			mended = append(mended, Mended{Slot: slot, Checkpoint: r.Next, Next: p.Next, Lost: lost})
			if l, ok := partition(logs, n.cfg.Topics.LoginRequest, slot); ok && p.LoginNext > l.End {
				p.LoginNext = l.Start
			}
		}
		places = append(places, p)
	}
	return places, mended, nil
}

// partition finds one with a log that can be read.
func partition(logs []kafka.TopicInfo, topic string, number int32) (kafka.PartitionInfo, bool) {
	for _, t := range logs {
		for _, p := range t.Partitions {
			if t.Topic == topic && p.Partition == number {
				return p, p.Start >= 0 && p.End >= 0
			}
		}
	}
	return kafka.PartitionInfo{}, false
}

// settleUsers ends what is under way between users: who waits for another slot
// waits no more, and how many users have one as a friend is counted from the
// friends themselves. It is done page by page, and twice is as good as once.
func (n *Node) settleUsers(ctx context.Context) error {
	addedBy := map[string]int64{}
	err := n.eachUser(ctx, func(users []maru.UserRow) error {
		for _, u := range users {
			for _, f := range u.Friends {
				addedBy[f.FriendID]++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return n.eachUser(ctx, func(users []maru.UserRow) error {
		var changed []maru.UserRow
		for _, u := range users {
			state, pending, err := fold.DropPending(u.State)
			if err != nil {
				return fmt.Errorf("user %q: %w", u.UserID, err)
			}
			if pending || u.AddedBy != addedBy[u.UserID] {
				u.State, u.AddedBy = state, addedBy[u.UserID]
				changed = append(changed, u)
			}
		}
		if len(changed) == 0 {
			return nil
		}
		return n.store.AmendUsers(ctx, changed)
	})
}

// eachUser shows all users to f, in pages.
func (n *Node) eachUser(ctx context.Context, f func([]maru.UserRow) error) error {
	const page = 1000
	for after := ""; ; {
		users, err := n.store.Users(ctx, after, page)
		if err != nil || len(users) == 0 {
			return err
		}
		if err := f(users); err != nil {
			return err
		}
		after = users[len(users)-1].UserID
	}
}
