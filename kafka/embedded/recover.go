package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// evictTimeout bounds the removal of group members at Close.
const evictTimeout = 2 * time.Second

// recover opens and closes the log once when the last run did not stop cleanly.
// kfake cuts torn tails of segments when it opens them, but leaves the one of
// groups.log, behind which every later commit would be lost at the next crash
// (K5); closing rewrites that file.
func (b *Broker) recover() error {
	if !b.dir.unclean {
		return nil
	}
	began := time.Now()
	var none []net.Listener
	for _, d := range b.doors {
		none = append(none, &deaf{addr: d.addr, done: make(chan struct{})})
	}
	c, err := b.openCluster(none)
	if err != nil {
		return err
	}
	c.Close()
	if b.kfake.failures() > 0 {
		return errors.New("the log could not be saved after an unclean stop: see the lines above, and mind the free space of the disk")
	}
	b.cfg.Logger.Info("embedded broker recovered its log after an unclean stop", "dir", b.dir.path, "took", time.Since(began))
	return nil
}

// deaf is a listener to which nobody ever connects.
type deaf struct {
	addr net.Addr
	done chan struct{}
	once sync.Once
}

func (d *deaf) Accept() (net.Conn, error) {
	<-d.done
	return nil, net.ErrClosed
}

func (d *deaf) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

func (d *deaf) Addr() net.Addr { return d.addr }

// learn asks kfake what it offers, reads which topics there are, and mends
// commits, all before anybody else can connect.
func (b *Broker) learn(ctx context.Context) error {
	offered, err := b.askVersions(ctx)
	if err != nil {
		return fmt.Errorf("ask for the API versions: %w", err)
	}
	b.rules.inside, b.rules.outside = newKeyTables(offered)
	b.admin, err = kgo.NewClient(
		kgo.SeedBrokers(b.Addrs()...),
		kgo.Dialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
			for _, d := range b.doors {
				if d.addr.String() == addr {
					return d.dial(ctx)
				}
			}
			return nil, fmt.Errorf("no broker at %s", addr)
		}),
		kgo.ClientID("maru-broker"),
	)
	if err != nil {
		return fmt.Errorf("make the broker's own client: %w", err)
	}
	adm := kadm.NewClient(b.admin)
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	for name := range topics {
		b.rules.catalog.refresh(name)
	}
	return b.mendCommits(ctx, adm)
}

// askVersions sends one ApiVersions request by hand: the rules, and with them
// every client, need the answer.
func (b *Broker) askVersions(ctx context.Context) ([]kmsg.ApiVersionsResponseApiKey, error) {
	conn, err := b.doors[0].dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req := request{Request: kmsg.NewPtrApiVersionsRequest()}
	if _, err := conn.Write(req.encode()); err != nil {
		return nil, err
	}
	var size [sizeBytes]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, sizeBytes+binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, answer[sizeBytes:]); err != nil {
		return nil, err
	}
	resp, err := decodeResponse(answer, req.Request)
	if err != nil {
		return nil, err
	}
	v := resp.(*kmsg.ApiVersionsResponse)
	return v.ApiKeys, kerr.ErrorForCode(v.ErrorCode)
}

// mendCommits moves committed offsets that lie beyond the end of their partition
// to the end. Such a group would wait, and then miss what is written up to its
// commit (K1); a log that was cut after a power failure leaves such commits.
func (b *Broker) mendCommits(ctx context.Context, adm *kadm.Client) error {
	groups, err := adm.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	for _, group := range groups.Groups() {
		commits, err := adm.FetchOffsets(ctx, group)
		if err != nil {
			return fmt.Errorf("read the commits of group %s: %w", group, err)
		}
		var mended kadm.Offsets
		commits.Each(func(o kadm.OffsetResponse) {
			info := b.rules.partition(o.Topic, o.Partition)
			if info == nil || o.At <= info.HighWatermark {
				return
			}
			b.cfg.Logger.Warn("committed offset lies beyond the end of its partition and was moved there",
				"group", group, "topic", o.Topic, "partition", o.Partition, "commit", o.At, "end", info.HighWatermark)
			mended.AddOffset(o.Topic, o.Partition, info.HighWatermark, -1)
		})
		if len(mended) == 0 {
			continue
		}
		if err := adm.CommitAllOffsets(ctx, group, mended); err != nil {
			return fmt.Errorf("mend the commits of group %s: %w", group, err)
		}
	}
	return nil
}

// evictMembers takes the remaining members out of all groups. kfake would save
// them and, after the next start, wait for their sessions to end before it gives
// their partitions to others (K6).
func (b *Broker) evictMembers() error {
	ctx, cancel := context.WithTimeout(context.Background(), evictTimeout)
	defer cancel()
	groups, err := kadm.NewClient(b.admin).ListGroups(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range groups.Groups() {
		errs = append(errs, b.evictClassic(ctx, name, b.members(name)))
		// Who is left belongs to a group of the newer protocol.
		errs = append(errs, b.evictConsumers(ctx, name, b.members(name)))
		if left := len(b.members(name)); left > 0 {
			errs = append(errs, fmt.Errorf("group %s: %d members left", name, left))
		}
	}
	return errors.Join(errs...)
}

func (b *Broker) members(group string) (members []kfake.GroupMember) {
	b.rules.cluster.use(func(c *kfake.Cluster) {
		if info := c.GroupInfo(group); info != nil {
			members = info.Members
		}
	})
	return members
}

func (b *Broker) evictClassic(ctx context.Context, group string, members []kfake.GroupMember) error {
	if len(members) == 0 {
		return nil
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, m := range members {
		rm := kmsg.NewLeaveGroupRequestMember()
		rm.MemberID, rm.InstanceID = m.MemberID, m.InstanceID
		req.Members = append(req.Members, rm)
	}
	_, err := req.RequestWith(ctx, b.admin)
	return err
}

// evictConsumers does the same for a group of the newer protocol (KIP-848),
// where a member leaves by a heartbeat with epoch -1.
func (b *Broker) evictConsumers(ctx context.Context, group string, members []kfake.GroupMember) error {
	var errs []error
	for _, m := range members {
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Group, req.MemberID, req.InstanceID, req.MemberEpoch = group, m.MemberID, m.InstanceID, -1
		_, err := req.RequestWith(ctx, b.admin)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Span is the part of a partition's log that can be read: Start is the offset of
// its first record, End the one that the next record will get. Partitions is
// indexed by partition.
type Span struct{ Start, End int64 }

// TopicLog is a topic as it lies in the log. ID changes when a topic is deleted
// and made again.
type TopicLog struct {
	ID         [16]byte
	Partitions []Span
}

// LogEnds returns every topic, as the log has it now. At start maru compares it
// with its checkpoint: an End below the checkpoint's next offset, or another ID,
// means that the log lost records which SQL has seen, and new commands would get
// offsets that are skipped as already applied. `maru repair` re-bases the slots
// in SQL by it; the log itself is not changed.
func (b *Broker) LogEnds() (map[string]TopicLog, error) {
	out := make(map[string]TopicLog)
	open := b.rules.cluster.use(func(c *kfake.Cluster) {
		for name := range b.rules.catalog.all() {
			info := c.TopicInfo(name)
			if info == nil {
				continue
			}
			t := TopicLog{ID: info.TopicID}
			parts := c.PartitionInfos(name)
			t.Partitions = make([]Span, len(parts))
			for _, p := range parts {
				t.Partitions[p.Partition] = Span{Start: p.LogStartOffset, End: p.HighWatermark}
			}
			out[name] = t
		}
	})
	if !open {
		return nil, fmt.Errorf("read the ends of the log: the embedded broker is closed")
	}
	return out, nil
}

// Recovered tells whether the last run on this directory did not stop cleanly.
func (b *Broker) Recovered() bool { return b.dir != nil && b.dir.unclean }
