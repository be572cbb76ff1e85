package deploy

import (
	"fmt"
	"strconv"
	"strings"
)

// Node is one Kafka node, broker and controller at once, and where it is reached.
type Node struct {
	// ID is node.id, from 1.
	ID int
	// Bind is the host that the node listens at; empty means all interfaces.
	Bind string
	// InternalHost is the node's name for the other nodes and for clients beside them.
	InternalHost string
	// ExternalHost is the node's name for clients elsewhere.
	ExternalHost string
	// InternalPort, ExternalPort and ControllerPort are the ports of the three listeners.
	InternalPort, ExternalPort, ControllerPort int
	// LogDir is the directory of the node's data.
	LogDir string
}

// ReferenceNodes are the three nodes of compose.yaml: INTERNAL kafka1:9092 and so on in the
// container network, EXTERNAL localhost:8097 to 8099 on the host.
func ReferenceNodes() []Node {
	nodes := make([]Node, 3)
	for i := range nodes {
		nodes[i] = Node{
			ID:             i + 1,
			InternalHost:   fmt.Sprintf("kafka%d", i+1),
			ExternalHost:   "localhost",
			InternalPort:   9092,
			ExternalPort:   8097 + i,
			ControllerPort: 9093,
			LogDir:         "/var/lib/kafka/data",
		}
	}
	return nodes
}

// KafkaSettings are the server properties of nodes[i] in a cluster of all nodes. compose.yaml states
// them as environment (see KafkaEnvName), the tests against real brokers write them to a file, and a
// test keeps the two equal. Replication is three-fold where there are three nodes, and a write needs
// all in-sync replicas but one, so that one broker may be lost. See "Broker Configs" in the Apache
// Kafka documentation for each property.
func KafkaSettings(nodes []Node, i int) map[string]string {
	node := nodes[i]
	replicas := min(3, len(nodes))
	inSync := strconv.Itoa(max(1, replicas-1))

	voters := make([]string, len(nodes))
	for j, n := range nodes {
		voters[j] = fmt.Sprintf("%d@%s:%d", n.ID, n.InternalHost, n.ControllerPort)
	}
	return map[string]string{
		"node.id":                        strconv.Itoa(node.ID),
		"process.roles":                  "broker,controller",
		"controller.quorum.voters":       strings.Join(voters, ","),
		"log.dirs":                       node.LogDir,
		"listeners":                      fmt.Sprintf("INTERNAL://%[1]s:%[2]d,EXTERNAL://%[1]s:%[3]d,CONTROLLER://%[1]s:%[4]d", node.Bind, node.InternalPort, node.ExternalPort, node.ControllerPort),
		"advertised.listeners":           fmt.Sprintf("INTERNAL://%s:%d,EXTERNAL://%s:%d", node.InternalHost, node.InternalPort, node.ExternalHost, node.ExternalPort),
		"listener.security.protocol.map": "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":     "INTERNAL",
		"controller.listener.names":      "CONTROLLER",

		// A topic that nobody created would have the wrong number of partitions.
		"auto.create.topics.enable":  "false",
		"default.replication.factor": strconv.Itoa(replicas),
		"min.insync.replicas":        inSync,

		"offsets.topic.replication.factor":         strconv.Itoa(replicas),
		"offsets.topic.num.partitions":             "8",
		"transaction.state.log.replication.factor": strconv.Itoa(replicas),
		"transaction.state.log.min.isr":            inSync,
		"transaction.state.log.num.partitions":     "8",

		// The default of 3 s is waited by the first home of a group, before it owns anything.
		"group.initial.rebalance.delay.ms": "100",
	}
}

// KafkaEnvName is the environment variable by which the apache/kafka image takes a server property:
// upper case, with one underscore for a dot, two for an underscore and three for a dash.
func KafkaEnvName(property string) string {
	return "KAFKA_" + strings.ToUpper(strings.NewReplacer(".", "_", "_", "__", "-", "___").Replace(property))
}
