package realkafka_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"maru/internal/childproc"
	"maru/internal/realkafka"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := realkafka.StopShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// mustTool runs a tool with input for at most a minute and returns its standard output.
func mustTool(t *testing.T, c *realkafka.Cluster, input, tool string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	stdout, stderr, err := c.ToolInput(ctx, strings.NewReader(input), tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	if stderr != "" {
		t.Logf("%s wrote to standard error:\n%s", tool, stderr)
	}
	t.Logf("%s took %d ms", tool, time.Since(begin).Milliseconds())
	return stdout
}

func createTopic(t *testing.T, c *realkafka.Cluster, topic string) {
	t.Helper()
	mustTool(t, c, "", "kafka-topics", "--bootstrap-server", c.Address(1),
		"--create", "--topic", topic, "--partitions", "3", "--replication-factor", "3")
}

// partitionLine is one partition in the answer of kafka-topics --describe.
var partitionLine = regexp.MustCompile(`Partition: (\d+)\s+Leader: (\d+)\s+Replicas: ([\d,]+)\s+Isr: ([\d,]+)`)

func describe(t *testing.T, c *realkafka.Cluster, topic string) [][]string {
	t.Helper()
	out := mustTool(t, c, "", "kafka-topics", "--bootstrap-server", c.Bootstrap(), "--describe", "--topic", topic)
	lines := partitionLine.FindAllStringSubmatch(out, -1)
	if len(lines) != 3 {
		t.Fatalf("describe shows %d partitions, want 3:\n%s", len(lines), out)
	}
	return lines
}

func TestTopicOnOneProduceOnTwoConsumeOnThree(t *testing.T) {
	c := realkafka.Shared(t)
	createTopic(t, c, "walk")
	for _, line := range describe(t, c, "walk") {
		if replicas, isr := line[3], line[4]; len(strings.Split(replicas, ",")) != 3 || len(strings.Split(isr, ",")) != 3 {
			t.Errorf("partition %s: replicas %s, in sync %s, want three each", line[1], replicas, isr)
		}
	}

	mustTool(t, c, "a:{\"userId\":\"a\"}\nb:안녕하세요!\n", "kafka-console-producer.sh", "--bootstrap-server", c.Address(2),
		"--topic", "walk", "--property", "parse.key=true", "--property", "key.separator=:")
	out := mustTool(t, c, "", "kafka-console-consumer", "--bootstrap-server", c.Address(3),
		"--topic", "walk", "--from-beginning", "--property", "print.key=true", "--property", "key.separator=:",
		"--group", "walkers", "--max-messages", "2", "--timeout-ms", "20000")
	for _, want := range []string{"a:{\"userId\":\"a\"}\n", "b:안녕하세요!\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("consumer printed %q, want a line %q", out, want)
		}
	}

	groups := mustTool(t, c, "", "kafka-consumer-groups", "--bootstrap-server", c.Bootstrap(), "--describe", "--group", "walkers")
	if !strings.Contains(groups, "walk ") || !strings.Contains(groups, "CURRENT-OFFSET") {
		t.Errorf("describe of the group shows no offsets of the topic:\n%s", groups)
	}
}

func TestInternalListenerTellsInternalAddresses(t *testing.T) {
	c := realkafka.Shared(t)
	// The tool lists every broker under the address that the listener it asked advertises.
	for listener, address := range map[string]func(int) string{"INTERNAL": c.InternalAddress, "EXTERNAL": c.Address} {
		out := mustTool(t, c, "", "kafka-broker-api-versions", "--bootstrap-server", address(2))
		for i := 1; i <= 3; i++ {
			if !strings.Contains(out, address(i)+" (id: "+fmt.Sprint(i)) {
				t.Errorf("%s of broker 2 does not tell %s as broker %d", listener, address(i), i)
			}
		}
	}
}

func TestUnknownTopicIsNotCreated(t *testing.T) {
	c := realkafka.Shared(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, stderr, err := c.ToolInput(ctx, strings.NewReader("x\n"), "kafka-console-producer", "--bootstrap-server", c.Address(1),
		"--topic", "nobody-made-me", "--producer-property", "max.block.ms=1000")
	if err == nil && !strings.Contains(stderr, "nobody-made-me") {
		t.Errorf("producing to a missing topic: no error, and standard error says %q", stderr)
	}
	if list := mustTool(t, c, "", "kafka-topics", "--bootstrap-server", c.Address(1), "--list"); strings.Contains(list, "nobody-made-me") {
		t.Errorf("the topic was created:\n%s", list)
	}
}

func TestToolFailureTellsWhy(t *testing.T) {
	c := realkafka.Shared(t)
	_, _, err := c.Tool(t.Context(), "kafka-topics", "--bootstrap-server", c.Address(1), "--describe", "--topic", "missing")
	if err == nil || !strings.Contains(err.Error(), "Topic 'missing' does not exist") {
		t.Errorf("got %v, want the tool's own words", err)
	}
}

func TestToolEndsWithItsContext(t *testing.T) {
	c := realkafka.Shared(t)
	createTopic(t, c, "silent")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	begin := time.Now()
	_, _, err := c.Tool(ctx, "kafka-console-consumer", "--bootstrap-server", c.Address(1), "--topic", "silent")
	if err == nil || ctx.Err() == nil {
		t.Fatalf("a consumer without end returned: %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("returned %v after its context ended at 3 s", took)
	}
}

func TestBrokerKilledAndBack(t *testing.T) {
	c := realkafka.Shared(t)
	createTopic(t, c, "fault")
	if err := c.Kill(3); err != nil {
		t.Fatal(err)
	}
	if pid := c.PID(3); pid != 0 {
		t.Errorf("killed broker has process %d", pid)
	}
	// Until the controller misses the broker (broker.session.timeout.ms, 9 s) it counts as in sync,
	// and a record waits for it: the producer must be more patient than by its default.
	mustTool(t, c, "while one is dead\n", "kafka-console-producer", "--bootstrap-server", c.Address(1)+","+c.Address(2),
		"--topic", "fault", "--sync", "--request-timeout-ms", "30000")
	for _, line := range describe(t, c, "fault") {
		if strings.Contains(line[4], "3") || line[2] == "3" {
			t.Errorf("partition %s has the dead broker as leader %s or in sync %s", line[1], line[2], line[4])
		}
	}

	if err := c.Start(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	waitInSync(t, c, "fault")
	if err := c.Start(t.Context(), 3); err == nil {
		t.Error("a running broker was started again")
	}

	// The one that came back holds what it missed: now it and one more are all there is.
	if err := c.Stop(1); err != nil {
		t.Fatal(err)
	}
	out := mustTool(t, c, "", "kafka-console-consumer", "--bootstrap-server", c.Address(3),
		"--topic", "fault", "--from-beginning", "--max-messages", "1", "--timeout-ms", "30000")
	if out != "while one is dead\n" {
		t.Errorf("read %q after the broker was back", out)
	}
	if err := c.Start(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

func TestBrokerPaused(t *testing.T) {
	c := realkafka.Shared(t)
	createTopic(t, c, "pause")
	if err := c.Pause(2); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	_, _, err := c.Tool(ctx, "kafka-topics", "--bootstrap-server", c.Address(2), "--list")
	cancel()
	if err == nil {
		t.Error("a paused broker answered")
	}
	if err := c.Resume(2); err != nil {
		t.Fatal(err)
	}
	mustTool(t, c, "", "kafka-topics", "--bootstrap-server", c.Address(2), "--list")
	waitInSync(t, c, "pause")
}

func TestBrokersAreSmall(t *testing.T) {
	c := realkafka.Shared(t)
	total := 0
	for i := 1; i <= 3; i++ {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID(i)))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		var kilobytes int
		if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
			t.Fatal(err)
		}
		t.Logf("kafka%d has %d MiB in memory", i, kilobytes>>10)
		total += kilobytes
	}
	if total > 1<<20 {
		t.Errorf("three brokers have %d MiB in memory, want at most 1 GiB", total>>10)
	}
}

func TestOneBrokerAtItsPort(t *testing.T) {
	realkafka.Require(t)
	ports, err := childproc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c := realkafka.Start(t, realkafka.Options{Brokers: 1, BasePort: ports[0], Settings: map[string]string{"log.retention.hours": "7"}})
	t.Logf("one broker served after %d ms", time.Since(begin).Milliseconds())
	if want := fmt.Sprintf("localhost:%d", ports[0]); c.Bootstrap() != want {
		t.Errorf("bootstrap %s, want %s", c.Bootstrap(), want)
	}
	out := mustTool(t, c, "", "kafka-configs", "--bootstrap-server", c.Bootstrap(), "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1")
	for _, want := range []string{"log.retention.hours=7 ", "auto.create.topics.enable=false ", "min.insync.replicas=1 ", "group.min.session.timeout.ms=6000 "} {
		if !strings.Contains(out, want) {
			t.Errorf("the broker does not say %s", want)
		}
	}
}

func TestPortInUseIsRefused(t *testing.T) {
	c := realkafka.Shared(t)
	var port int
	if _, err := fmt.Sscanf(c.Address(1), "localhost:%d", &port); err != nil {
		t.Fatal(err)
	}
	second, err := realkafka.Launch(t.Context(), realkafka.Options{Brokers: 1, BasePort: port})
	if err == nil {
		second.Close()
		t.Fatal("two brokers on one port")
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("port %d is in use", port)) {
		t.Errorf("got %v, want the port named", err)
	}
}

// waitInSync waits until every replica of the topic is in sync.
func waitInSync(t *testing.T, c *realkafka.Cluster, topic string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		behind := 0
		for _, line := range describe(t, c, topic) {
			if len(strings.Split(line[4], ",")) != 3 {
				behind++
			}
		}
		if behind == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute %d partitions have fewer than 3 replicas in sync", behind)
		}
	}
}
