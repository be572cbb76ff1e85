package e2e

import (
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var partitionLine = regexp.MustCompile(`Partition: (\d+)\s+Leader: (\d+)\s+Replicas: ([\d,]+)\s+Isr: ([\d,]+)`)

// describe returns the head of what kafka-topics --describe says of a topic,
// having checked that it has so many partitions with so many replicas.
func (s *site) describe(t *testing.T, topic string, partitions, replicas int) string {
	t.Helper()
	return described(t, s.mustTool(t, "", "kafka-topics", "--describe", "--topic", topic), topic, partitions, replicas)
}

// described is describe of one topic among those that the tool has shown.
func described(t *testing.T, shown, topic string, partitions, replicas int) string {
	t.Helper()
	var rows []string
	for line := range strings.Lines(shown) {
		if strings.Contains(line, "Topic: "+topic+"\t") {
			rows = append(rows, line)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s is not described:\n%s", topic, shown)
	}
	head, out := rows[0], strings.Join(rows[1:], "")
	for _, want := range []string{"PartitionCount: " + strconv.Itoa(partitions) + "\t", "ReplicationFactor: " + strconv.Itoa(replicas) + "\t"} {
		if !strings.Contains(head, want) {
			t.Errorf("%s lacks %q: %s", topic, want, head)
		}
	}
	lines := partitionLine.FindAllStringSubmatch(out, -1)
	if len(lines) != partitions {
		t.Errorf("%s: %d partitions are listed, want %d", topic, len(lines), partitions)
	}
	for _, l := range lines {
		on := strings.Split(l[3], ",")
		slices.Sort(on)
		if distinct := len(slices.Compact(on)); distinct != replicas {
			t.Errorf("%s partition %s is on brokers %s, want %d", topic, l[1], l[3], replicas)
		}
	}
	return head
}

// topicsAsAsked compares the topics that maru made with what was asked for.
func (s *site) topicsAsAsked(t *testing.T) {
	shown := s.mustTool(t, "", "kafka-topics", "--describe")
	for _, topic := range topics {
		n := partitions
		if topic == "delivery" {
			n = 64
		}
		head := described(t, shown, topic, n, s.replicas)
		if topic != "commands" {
			continue
		}
		insync := "1"
		if s.replicas == 3 {
			insync = "2"
		}
		for _, want := range []string{"retention.ms=-1", "retention.bytes=-1", "message.timestamp.type=LogAppendTime", "cleanup.policy=delete", "min.insync.replicas=" + insync} {
			if !strings.Contains(head, want) {
				t.Errorf("commands lacks %s: %s", want, head)
			}
		}
	}
}

// topicByHand makes a topic on the first broker, writes on the second and reads on
// the third. The embedded broker is all three.
func (s *site) topicByHand(t *testing.T) {
	at := func(i int) string {
		if s.brokers == nil {
			return s.bootstrap
		}
		return s.brokers.Address(i)
	}
	if _, _, err := s.toolAt(t, at(1), "", "kafka-topics", "--create", "--topic", "by-hand", "--partitions", "3", "--replication-factor", strconv.Itoa(s.replicas)); err != nil {
		t.Fatal(err)
	}
	s.describe(t, "by-hand", 3, s.replicas)
	lines := "a:하나\nb:둘\nc:셋\n"
	if _, _, err := s.toolAt(t, at(2), lines, "kafka-console-producer", "--topic", "by-hand", "--property", "parse.key=true", "--property", "key.separator=:"); err != nil {
		t.Fatal(err)
	}
	out, _, err := s.toolAt(t, at(3), "", "kafka-console-consumer", "--topic", "by-hand", "--from-beginning", "--max-messages", "3", "--timeout-ms", "20000",
		"--property", "print.key=true", "--property", "key.separator=:")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.SplitAfter(out, "\n")
	slices.Sort(got)
	if strings.Join(got, "") != lines {
		t.Errorf("read %q, want %q", out, lines)
	}
}

// named are the flags of a further cluster on the same brokers, with names of its own.
func named(prefix string) (flags []string) {
	for _, name := range topics {
		flags = append(flags, "--"+name, prefix+name)
	}
	return append(flags, "--group", prefix+"group")
}

// What is there when maru starts for the first time: created, modified or refused.
func TestTopicsAtStart(t *testing.T) {
	pg := postgres(t)
	brokers := threeBrokers(t)
	s := &site{tools: brokers.Tools, bootstrap: brokers.Bootstrap(), replicas: 3, brokers: brokers}
	cl := client(t, strings.Split(s.bootstrap, ","), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	adm := kadm.NewClient(cl)
	create := func(t *testing.T, topic string, n int32) {
		t.Helper()
		if _, err := adm.CreateTopic(t.Context(), n, 3, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	args := func(prefix, dsn string, more ...string) []string {
		return append(append([]string{"--kafka", s.bootstrap, "--database", dsn, "--replicas", "3"}, named(prefix)...), more...)
	}
	first := func(t *testing.T, prefix string, more ...string) []string {
		return append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"}, args(prefix, pg.Database(t), more...)...)
	}

	t.Run("more replicas than brokers", func(t *testing.T) {
		refused(t, 1, "topic four-login-request cannot be created with 4 replicas, the cluster has 3 brokers: start more brokers, or ask for --replicas 3",
			first(t, "four-", "--replicas", "4")...)
		listed, err := adm.ListTopics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if listed.Has("four-login-request") || listed.Has("four-commands") {
			t.Error("what was refused left topics behind")
		}
	})
	t.Run("more partitions than asked for", func(t *testing.T) {
		create(t, "five-login-request", 5)
		refused(t, 1, "topic five-login-request has 5 partitions, more than the 2 asked for, and Kafka cannot remove any: start with --partitions 5, or give another topic name",
			first(t, "five-", "--partitions", "2")...)
		s.describe(t, "five-login-request", 5, 3)
	})
	t.Run("fewer partitions, and later another number", func(t *testing.T) {
		create(t, "one-login-request", 1)
		dsn, data := pg.Database(t), t.TempDir()
		p := serve(t, "grower", data, args("one-", dsn, "--partitions", "2")...)
		shown := s.mustTool(t, "", "kafka-topics", "--describe")
		described(t, shown, "one-login-request", 2, 3)
		described(t, shown, "one-login-response", 2, 3)
		p.terminate(t)
		refused(t, 2, "--partitions 3, but this cluster was made with 2 and users live by it: leave the setting out, or change the number with `maru grow`",
			append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, args("one-", dsn, "--partitions", "3")...)...)
		s.describe(t, "one-login-request", 2, 3)
	})
	t.Run("requests from before maru", func(t *testing.T) {
		s.requestsFromBefore(t, cl, adm, args("old-", pg.Database(t), "--partitions", "2"))
	})
}

// requestsFromBefore: of a topic that others made, a partition is read from the
// group's committed offset, and without one from its end.
func (s *site) requestsFromBefore(t *testing.T, cl *kgo.Client, adm *kadm.Client, args []string) {
	if _, err := adm.CreateTopic(t.Context(), partitions, 3, nil, "old-login-request"); err != nil {
		t.Fatal(err)
	}
	foreign := &site{bootstrap: s.bootstrap, foreign: cl}
	ask := func(n int32, prefix string) string {
		id := homeOn(n, prefix)
		foreign.put(t, &kgo.Record{Topic: "old-login-request", Partition: n, Key: []byte(id), Value: []byte(credentials(id, "x"))})
		return id
	}
	ask(0, "before-")
	ask(1, "before-")
	want := []string{ask(0, "committed-")}
	var offsets kadm.Offsets
	offsets.AddOffset("old-login-request", 0, 1, -1)
	if err := adm.CommitAllOffsets(t.Context(), "old-group", offsets); err != nil {
		t.Fatal(err)
	}

	p := serve(t, "late", filepath.Join(t.TempDir(), "data"), args...)
	p.do(t, http.StatusOK, "GET", "/readyz", "")
	want = append(want, ask(0, "after-"), ask(1, "after-"))
	answers := newTap(t, strings.Split(s.bootstrap, ","), "old-login-response")
	for _, id := range want {
		answers.wait(t, "answer for "+id, 1, func(r *kgo.Record) bool { return string(r.Key) == id && string(r.Value) == failedLine(id) })
	}
	answers.catchUp(t, "old-login-response")
	if n := len(answers.all(func(*kgo.Record) bool { return true })); n != len(want) {
		t.Errorf("%d answers, want %d: some requests from before the committed offset were taken, or twice", n, len(want))
	}
	p.terminate(t)
}

// The same for the embedded broker, whose topics others make while it runs.
func TestTopicsAtStartEmbedded(t *testing.T) {
	data, kafka := t.TempDir(), freeAddress(t)
	p := serve(t, "solo", data, "--partitions", "2", "--kafka-listen", kafka)
	adm := kadm.NewClient(client(t, []string{kafka}))
	for topic, n := range map[string]int32{"early": 1, "wide": 5} {
		if _, err := adm.CreateTopic(t.Context(), n, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	p.terminate(t)
	p = serve(t, "solo", data, "--kafka-listen", kafka, "--login-request", "early")
	md, err := adm.Metadata(t.Context(), "early")
	if err != nil || len(md.Topics["early"].Partitions) != 2 {
		t.Errorf("early has %d partitions, want 2 (%v)", len(md.Topics["early"].Partitions), err)
	}
	p.terminate(t)
	start := []string{"serve", "--data", data, "--kafka-listen", "", "--listen", "127.0.0.1:0"}
	refused(t, 1, "topic wide has 5 partitions, but this installation has 2", append(start, "--login-request", "wide")...)
	refused(t, 2, "change the number with `maru grow`", append(start, "--partitions", "4")...)
	refused(t, 2, "the embedded one is single", append(start, "--replicas", "3")...)
	p = serve(t, "solo", data, "--kafka-listen", kafka)
	p.terminate(t)
}
