package realkafka

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"maru/deploy"
	"maru/internal/childproc"
)

// started is what a broker logs when it is registered, unfenced and takes requests.
const started = "Kafka Server started"

// stopPatience is how long a broker may take to hand over its leaderships before it is killed.
const stopPatience = 30 * time.Second

// sizing makes brokers small; it is the only difference to the settings of compose.yaml beside
// hosts, ports and folders. The cleaner's buffer alone is 128 MiB of heap by default.
var sizing = map[string]string{
	"log.cleaner.dedupe.buffer.size": "4194304",
	"log.segment.bytes":              "67108864",
	"num.io.threads":                 "4",
	"num.network.threads":            "2",
	"background.threads":             "4",
}

// jvm are the flags of a broker's Java: a small heap, and compiling for a fast start.
var jvm = []string{
	"-Xmx192m", "-Xss256k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=48m",
	"-Dmaru.log=INFO",
}

// broker is one node: its settings, which never change, and its process. mu guards process.
type broker struct {
	node  deploy.Node
	tools *Tools
	dir   string // holds server.properties and the data
	log   childproc.Log

	mu      sync.Mutex
	process *childproc.Process
}

// newBroker writes the node's settings and formats its storage, as the image does at its first start.
func newBroker(ctx context.Context, tools *Tools, dir string, node deploy.Node, settings map[string]string) (*broker, error) {
	b := &broker{node: node, tools: tools, dir: dir}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	var properties strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&properties, "%s=%s\n", name, settings[name])
	}
	if err := os.WriteFile(b.properties(), []byte(properties.String()), 0o600); err != nil {
		return nil, err
	}
	if _, _, err := tools.Tool(ctx, "kafka-storage", "format", "--cluster-id", clusterID, "--config", b.properties()); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *broker) properties() string { return filepath.Join(b.dir, "server.properties") }

func (b *broker) String() string { return fmt.Sprintf("kafka%d", b.node.ID) }

// start starts the node's process; the returned function waits until it serves. The nodes of a new
// cluster are all started before any is waited for, since none serves without a majority of them.
func (b *broker) start() (ready func(context.Context) error, err error) {
	classpath, err := os.ReadFile(filepath.Join(b.tools.home, "classpath"))
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process.Running() {
		return nil, fmt.Errorf("start %v: it is running", b)
	}
	args := slices.Concat(jvm, []string{
		"-Dlog4j2.configurationFile=" + filepath.Join(b.tools.home, "log4j2.properties"),
		"-cp", strings.TrimSpace(string(classpath)), "kafka.Kafka", b.properties(),
	})
	serving := b.log.Expect(started)
	cmd := exec.Command("java", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, &b.log, &b.log
	process, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	b.process = process
	return func(ctx context.Context) error {
		select {
		case <-serving:
			return nil
		case <-process.Done():
			return fmt.Errorf("%v ended before it served: %w\n%s", b, process.Err(), b.log.Tail(40))
		case <-ctx.Done():
			return fmt.Errorf("wait until %v serves: %w\n%s", b, context.Cause(ctx), b.log.Tail(40))
		}
	}, nil
}

// end stops the node by the signals, one after another.
func (b *broker) end(signals ...syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.process.Running() {
		return nil
	}
	// A stopped process takes no signal but SIGKILL.
	if err := b.process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := b.process.Stop(stopPatience, signals...); err != nil {
		return fmt.Errorf("stop %v: %w", b, err)
	}
	return nil
}

// signal sends sig to the node's process.
func (b *broker) signal(sig syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.process.Running() {
		return fmt.Errorf("send %v to %v: it is not running", sig, b)
	}
	return b.process.Signal(sig)
}

// pid is the id of the node's process, 0 when there is none.
func (b *broker) pid() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.process.Running() {
		return 0
	}
	return b.process.PID()
}
