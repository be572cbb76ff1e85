package embedded

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"
)

// rules decide what becomes of a request. Those about topics and configurations
// hold for every connection, because kfake accepts what would lose data; those
// about protected names hold for connections from outside. All fields are set
// before the first connection and are safe for concurrent use.
type rules struct {
	log       *slog.Logger
	protected map[string]bool // topics
	groups    map[string]bool // protected consumer groups
	brokers   int
	inside    keyTable
	outside   keyTable

	frames   *semaphore.Weighted // bytes of outside requests held
	decoding *semaphore.Weighted // requests and batches from outside being decoded
	inflater *inflater

	cluster *clusterRef
	catalog *catalog
	disk    *disk
	clock   stampClock
}

// ruledInside are the requests of this process's own clients that a rule may be
// about.
var ruledInside = map[kmsg.Key]bool{
	kmsg.ApiVersions: true, kmsg.Produce: true, kmsg.CreateTopics: true, kmsg.DeleteTopics: true,
	kmsg.DeleteRecords: true, kmsg.CreatePartitions: true, kmsg.AlterConfigs: true,
	kmsg.IncrementalAlterConfigs: true, kmsg.AlterPartitionAssignments: true,
}

// judge applies the rules to one decoded request, which it may change.
func (r *rules) judge(req kmsg.Request, outside bool) verdict {
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		return r.produce(req, outside)
	case *kmsg.CreateTopicsRequest:
		return r.createTopics(req, outside)
	case *kmsg.DeleteTopicsRequest:
		return r.deleteTopics(req, outside)
	case *kmsg.DeleteRecordsRequest:
		return r.deleteRecords(req, outside)
	case *kmsg.CreatePartitionsRequest:
		return r.createPartitions(req, outside)
	case *kmsg.AlterConfigsRequest:
		return r.alterConfigs(req, outside)
	case *kmsg.IncrementalAlterConfigsRequest:
		return r.incrementalAlterConfigs(req, outside)
	case *kmsg.AlterPartitionAssignmentsRequest:
		return r.alterAssignments(req, outside)
	}
	if outside {
		return r.judgeGroup(req)
	}
	return verdict{}
}

// sealed tells whether a topic may not be changed over this connection.
func (r *rules) sealed(topic string, outside bool) bool { return outside && r.protected[topic] }

func (r *rules) sealedReason(topic string) *string {
	return reason("topic %s belongs to maru: other programs may read it, but not write or change it", topic)
}

func reason(format string, args ...any) *string {
	s := fmt.Sprintf(format, args...)
	return &s
}

// partition describes a partition as kfake has it now; nil: there is none.
func (r *rules) partition(topic string, p int32) (info *kfake.PartitionInfo) {
	r.cluster.use(func(c *kfake.Cluster) { info = c.PartitionInfo(topic, p) })
	return info
}

// stampClock is a stamper for all connections; mu guards it.
type stampClock struct {
	mu sync.Mutex
	s  stamper
}

func (c *stampClock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s.now()
}

// clusterRef is the way to kfake's own methods, which wait for its loop and
// would wait for ever once that has ended. mu guards c; take sets it to nil
// after the last use has returned.
type clusterRef struct {
	mu sync.RWMutex
	c  *kfake.Cluster
}

// use calls fn unless the cluster is closing, and tells whether it did.
func (r *clusterRef) use(fn func(*kfake.Cluster)) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.c == nil {
		return false
	}
	fn(r.c)
	return true
}

func (r *clusterRef) set(c *kfake.Cluster) {
	r.mu.Lock()
	r.c = c
	r.mu.Unlock()
}

// take ends all use and returns the cluster, nil when it was taken before.
func (r *clusterRef) take() *kfake.Cluster {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.c
	r.c = nil
	return c
}
