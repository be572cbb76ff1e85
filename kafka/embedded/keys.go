package embedded

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// versionRange is the versions of one API key that a connection may use.
type versionRange struct{ min, max int16 }

// outsideKeys are the requests that connections from outside may make, with the
// highest version that the gate understands, -1 standing for all of kfake's. It
// is a list of what is allowed, so that a request that a newer kfake learns
// stays shut out until somebody has thought about it. Left out are what only
// brokers send, what would change accounts, quotas and features, and share
// groups, which maru does not use. DescribeTopicPartitions is left out because
// kfake answers it with a null that Kafka's own client fails at; that client
// then describes topics by Metadata.
//
// Produce and DeleteTopics stop at the last version that names topics by name:
// what is protected is protected by name. AddPartitionsToTxn stops at the last
// one that clients use.
var outsideKeys = map[kmsg.Key]int16{
	kmsg.Produce:                    12,
	kmsg.Fetch:                      -1,
	kmsg.ListOffsets:                -1,
	kmsg.Metadata:                   -1,
	kmsg.OffsetCommit:               -1,
	kmsg.OffsetFetch:                -1,
	kmsg.FindCoordinator:            -1,
	kmsg.JoinGroup:                  -1,
	kmsg.Heartbeat:                  -1,
	kmsg.LeaveGroup:                 -1,
	kmsg.SyncGroup:                  -1,
	kmsg.DescribeGroups:             -1,
	kmsg.ListGroups:                 -1,
	kmsg.ApiVersions:                -1,
	kmsg.CreateTopics:               -1,
	kmsg.DeleteTopics:               5,
	kmsg.DeleteRecords:              -1,
	kmsg.InitProducerID:             -1,
	kmsg.OffsetForLeaderEpoch:       -1,
	kmsg.AddPartitionsToTxn:         3,
	kmsg.AddOffsetsToTxn:            -1,
	kmsg.EndTxn:                     -1,
	kmsg.TxnOffsetCommit:            -1,
	kmsg.DescribeACLs:               -1,
	kmsg.DescribeConfigs:            -1,
	kmsg.AlterConfigs:               -1,
	kmsg.DescribeLogDirs:            -1,
	kmsg.CreatePartitions:           -1,
	kmsg.DeleteGroups:               -1,
	kmsg.IncrementalAlterConfigs:    -1,
	kmsg.AlterPartitionAssignments:  -1,
	kmsg.ListPartitionReassignments: -1,
	kmsg.OffsetDelete:               -1,
	kmsg.DescribeCluster:            -1,
	kmsg.DescribeProducers:          -1,
	kmsg.DescribeTransactions:       -1,
	kmsg.ListTransactions:           -1,
	kmsg.ConsumerGroupHeartbeat:     -1,
	kmsg.ConsumerGroupDescribe:      -1,
	kmsg.ListConfigResources:        -1,
}

// insideKeys caps what clients of this process may use, for the reason given at
// outsideKeys; all else is as kfake offers it.
var insideKeys = map[kmsg.Key]int16{kmsg.Produce: 12, kmsg.DeleteTopics: 5}

// keyTable holds the versions that kfake offers, as connections of one kind may
// use them. It does not change after it was made.
type keyTable map[int16]versionRange

// newKeyTables narrows what kfake offers to what each kind of connection may
// use.
func newKeyTables(offered []kmsg.ApiVersionsResponseApiKey) (inside, outside keyTable) {
	inside, outside = make(keyTable), make(keyTable)
	for _, k := range offered {
		if kmsg.RequestForKey(k.ApiKey) == nil {
			continue
		}
		key := kmsg.Key(k.ApiKey)
		in := versionRange{k.MinVersion, k.MaxVersion}
		if limit, ok := insideKeys[key]; ok {
			in.max = min(in.max, limit)
		}
		inside[k.ApiKey] = in
		if limit, ok := outsideKeys[key]; ok {
			if limit >= 0 {
				in.max = min(in.max, limit)
			}
			outside[k.ApiKey] = in
		}
	}
	return inside, outside
}

// narrow rewrites kfake's answer to ApiVersions.
func (t keyTable) narrow(resp *kmsg.ApiVersionsResponse) {
	kept := resp.ApiKeys[:0]
	for _, k := range resp.ApiKeys {
		if r, ok := t[k.ApiKey]; ok {
			k.MinVersion, k.MaxVersion = r.min, r.max
			kept = append(kept, k)
		}
	}
	resp.ApiKeys = kept
}

// unsupported answers an ApiVersions request of a version that is not known: in
// version 0, which every client understands, naming the versions of ApiVersions
// itself (KIP-511).
func (t keyTable) unsupported() kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	k := kmsg.NewApiVersionsResponseApiKey()
	r := t[int16(kmsg.ApiVersions)]
	k.ApiKey, k.MinVersion, k.MaxVersion = int16(kmsg.ApiVersions), r.min, r.max
	resp.ApiKeys = append(resp.ApiKeys, k)
	return resp
}
