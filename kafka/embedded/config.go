package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"
)

const (
	// maxRecordBytes is the largest record value that clients may write,
	// maxBatchBytes the largest batch (Kafka's message.max.bytes): one such
	// record with its headers.
	maxRecordBytes = 1 << 20
	maxBatchBytes  = maxRecordBytes + 64<<10

	// maxProduceFrame bounds a Produce request from outside, maxFrame any
	// other. Decoding can cost a hundred times the bytes of a request that
	// is all empty array elements, hence the smaller bound for those whose
	// size is not payload.
	maxProduceFrame = 16 << 20
	maxFrame        = 256 << 10
	// maxFramesHeld bounds the bytes of outside requests that are held at
	// one time, over all connections.
	maxFramesHeld = 64 << 20

	// maxPartitions bounds the partitions of all topics together, because
	// each costs two open files.
	maxPartitions = 8192

	defaultMaxOutside = 64
	defaultMinFree    = 128 << 20
	trimEvery         = 30 * time.Second
	idleTimeout       = 10 * time.Minute // connections.max.idle.ms of Kafka
	frameTimeout      = 30 * time.Second // for the rest of a begun frame
	writeTimeout      = 30 * time.Second
)

// Network makes the in-memory connections between the broker and the clients of
// its own process. *kfake.VirtualNetwork is one; the default is NewNetwork. A
// Network whose waits are channel operations works in a testing/synctest
// bubble. It must be safe for concurrent use.
type Network interface {
	// Listen returns a listener for address, which is "host:port".
	Listen(network, address string) (net.Listener, error)
	// DialContext connects to the listener of address.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Config says how to run the broker. The zero value is a broker that keeps
// everything in memory and has no listener.
type Config struct {
	// Dir is the data directory, made when absent. Empty: the log is kept in
	// memory and gone after Close, for tests.
	Dir string
	// Listen is the loopback TCP address for Kafka's own tools, such as
	// "127.0.0.1:8097"; empty: none. With several brokers the next ones
	// listen on the ports that follow.
	Listen string
	// Brokers is how many brokers to show to clients; 0 means 1. They share
	// one directory, so more of them add nothing to safety.
	Brokers int
	// NoSync leaves writes to the operating system's page cache. A power cut
	// then loses what was acknowledged; a crash of the process does not.
	NoSync bool
	// Protected names the topics that outside connections may read but
	// neither write, delete nor alter.
	Protected []string
	// ProtectedGroups names the consumer groups that outside connections may
	// describe and list but neither join, commit to, nor delete.
	ProtectedGroups []string
	// Retention says how long records of a topic are kept at least. A topic
	// that is not named keeps its records for its own retention.ms, and for
	// ever when it has none. The last record of a partition always stays.
	Retention map[string]time.Duration
	// MinFree is the free space in bytes under which writes are refused with
	// an error that producers retry; 0 means 128 MiB.
	MinFree int64
	// MaxOutside bounds the TCP connections that are open at one time; 0
	// means 64. Further ones are closed at once.
	MaxOutside int
	// Network is the in-memory network; nil means one of its own.
	Network Network
	// Logger receives what the operator should know; nil: slog.Default.
	Logger *slog.Logger
	// Fatal is called once, from a goroutine of the broker, when the disk can
	// no longer be trusted (EIO, EROFS). Nothing is acknowledged from then
	// on, and the process should stop. It must not call Close and wait for
	// it. nil: the error is only logged.
	Fatal func(error)

	probe probe // the disk; tests put faults here
	pace  pace
}

// pace is how often the broker's loops run; tests of long times slow them down.
type pace struct{ canary, trim time.Duration }

// withDefaults fills in what was left zero and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.Brokers == 0 {
		c.Brokers = 1
	}
	if c.Brokers < 0 || c.Brokers > 16 {
		return c, fmt.Errorf("%d brokers: choose a number from 1 to 16", c.Brokers)
	}
	if c.MinFree == 0 {
		c.MinFree = defaultMinFree
	}
	if c.MaxOutside == 0 {
		c.MaxOutside = defaultMaxOutside
	}
	if c.MinFree < 0 || c.MaxOutside < 0 {
		return c, errors.New("the free-space floor and the number of connections cannot be negative")
	}
	if c.Network == nil {
		c.Network = NewNetwork()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.pace == (pace{}) {
		c.pace = pace{canary: canaryEvery, trim: trimEvery}
	}
	if c.Fatal == nil {
		c.Fatal = func(error) {}
	}
	for topic, d := range c.Retention {
		if d <= 0 {
			return c, fmt.Errorf("retention of topic %s: %s is not a positive time", topic, d)
		}
	}
	return c, nil
}

// loopback resolves a listen address and refuses one that other machines could
// reach: the broker has no authentication. last is the number of further ports
// needed after the first one.
func loopback(listen string, last int) (*net.TCPAddr, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("kafka listen address %q: write it as 127.0.0.1:8097: %w", listen, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || int(n)+last > 65535 {
		return nil, fmt.Errorf("kafka listen address %q: the port must be a number below %d", listen, 65536-last)
	}
	addr, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("kafka listen address %q: %w", listen, err)
	}
	if host == "" || !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("kafka listen address %q can be reached from other machines, and the embedded broker"+
			" has no authentication: use 127.0.0.1 or localhost, or run Apache Kafka and name it with --kafka", listen)
	}
	return addr, nil
}
