package embedded

import (
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// topicFacts is what the rules and the trimmer need to know of a topic.
type topicFacts struct {
	parts     int
	stamped   bool          // message.timestamp.type=LogAppendTime
	retention time.Duration // of its own retention.ms; 0: for ever
}

// catalog knows all topics, so that a Produce request need not ask kfake's loop.
// mu guards topics. Every request that changes a topic passes a gate, which
// refreshes the entry before the client has its answer.
type catalog struct {
	cluster *clusterRef
	mu      sync.RWMutex
	topics  map[string]topicFacts
}

func newCatalog(c *clusterRef) *catalog {
	return &catalog{cluster: c, topics: make(map[string]topicFacts)}
}

// refresh reads a topic anew, or forgets it when it is gone.
func (c *catalog) refresh(topic string) {
	var info *kfake.TopicInfo
	var parts int
	c.cluster.use(func(k *kfake.Cluster) {
		info = k.TopicInfo(topic)
		parts = len(k.PartitionInfos(topic))
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if info == nil {
		delete(c.topics, topic)
		return
	}
	f := topicFacts{parts: parts}
	if v := info.Configs["message.timestamp.type"]; v != nil {
		f.stamped = *v == timestampAppend
	}
	if v := info.Configs["retention.ms"]; v != nil {
		if ms, err := strconv.ParseInt(*v, 10, 64); err == nil && ms > 0 {
			f.retention = time.Duration(min(ms, int64(1<<62)/int64(time.Millisecond))) * time.Millisecond
		}
	}
	c.topics[topic] = f
}

// of returns what is known of a topic; the zero value: there is none.
func (c *catalog) of(topic string) topicFacts {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.topics[topic]
}

// stamps tells whether records of the topic carry the broker's time.
func (c *catalog) stamps(topic string) bool { return c.of(topic).stamped }

// partitions counts those of all topics.
func (c *catalog) partitions() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := 0
	for _, f := range c.topics {
		n += f.parts
	}
	return n
}

// all returns a copy.
func (c *catalog) all() map[string]topicFacts {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return maps.Clone(c.topics)
}
