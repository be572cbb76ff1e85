package embedded

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func alterTopic(t *testing.T, cl *kgo.Client, topic, name, value string) {
	t.Helper()
	r, err := kadm.NewClient(cl).AlterTopicConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
	if err != nil || r[0].Err != nil {
		t.Fatal(err, r)
	}
}

func TestCommitsBeyondTheEndAreMended(t *testing.T) {
	dir := t.TempDir()
	b := startBroker(t, Config{Dir: dir})
	cl := insideClient(t, b)
	createTopic(t, cl, "talk", 1, nil)
	produce(t, cl, "talk", 10)
	commit(t, cl, "ahead", 10)
	commit(t, cl, "behind", 3)
	cl.Close()
	if err := b.Crash(); err != nil {
		t.Fatal(err)
	}
	// A power cut took the end of the segment: half of it is gone.
	segment := filepath.Join(dir, logDir, "partitions", "talk-0", "0.dat")
	st, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segment, st.Size()/2+10); err != nil {
		t.Fatal(err)
	}
	b = startBroker(t, Config{Dir: dir})
	cl = insideClient(t, b)
	end := span(t, b, "talk").End
	if end == 0 || end >= 10 {
		t.Fatalf("end %d", end)
	}
	if got := committed(t, cl, "ahead"); got != end {
		t.Errorf("commit %d, the log ends at %d", got, end)
	}
	if got := committed(t, cl, "behind"); got != 3 {
		t.Errorf("commit %d, want 3", got)
	}
}

// A group that is left over when the broker closes must not delay the next one
// (K6): closing clients after the broker is wrong, but tools do not know that.
func TestGroupsFormAtOnceAfterARestart(t *testing.T) {
	for name, opts := range map[string][]kgo.Opt{
		"classic": {kgo.SessionTimeout(45 * time.Second)},
		"KIP-848": {kgo.ServerSideBalancer()},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := startBroker(t, Config{Dir: dir})
			cl := insideClient(t, b)
			createTopic(t, cl, "talk", 1, nil)
			produce(t, cl, "talk", 1)
			join := func(b *Broker) *kgo.Client {
				t.Helper()
				member := insideClient(t, b, append(opts, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("talk"),
					kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
				if err := member.PollFetches(within(t, 10*time.Second)).Err(); err != nil {
					t.Fatal(err)
				}
				return member
			}
			join(b) // and never leaves
			if n := len(b.members("readers")); n != 1 {
				t.Fatalf("%d members", n)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			b = startBroker(t, Config{Dir: dir})
			join(b)
			t.Logf("from start to the first record: %s", time.Since(began))
			if d := time.Since(began); d > 8*time.Second {
				t.Errorf("the group took %s", d)
			}
		})
	}
}

func TestLogEndsTellsARemadeTopic(t *testing.T) {
	b := startBroker(t, Config{})
	cl := insideClient(t, b)
	createTopic(t, cl, "talk", 3, nil)
	first, err := b.LogEnds()
	if err != nil || len(first["talk"].Partitions) != 3 {
		t.Fatal(err, first)
	}
	if _, err := kadm.NewClient(cl).DeleteTopic(t.Context(), "talk"); err != nil {
		t.Fatal(err)
	}
	if gone, err := b.LogEnds(); err != nil || len(gone) != 0 {
		t.Fatal(err, gone)
	}
	createTopic(t, cl, "talk", 3, nil)
	again, err := b.LogEnds()
	if err != nil || again["talk"].ID == first["talk"].ID {
		t.Fatal(err, again)
	}
	cl.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.LogEnds(); err == nil {
		t.Fatal("a closed broker answered")
	}
}
