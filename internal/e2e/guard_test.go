package e2e

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// intruder is what another program writes where only maru may write.
const intruder = `{"v":1,"kind":"intruder"}`

// protectedFromOutside tries with Kafka's own tools what would harm maru's own
// topics and group on the embedded broker. All is refused, and maru goes on. More of it is in
// kafka/embedded, without the tools.
func (s *site) protectedFromOutside(t *testing.T) {
	owned := "belongs to maru"
	for name, c := range map[string]struct {
		input string
		args  []string
		says  string
	}{
		"produce to commands":  {"a:" + intruder + "\n", []string{"kafka-console-producer", "--topic", "commands", "--property", "parse.key=true", "--property", "key.separator=:", "--sync"}, "TopicAuthorizationException"},
		"produce to delivery":  {intruder + "\n", []string{"kafka-console-producer", "--topic", "delivery", "--sync"}, "TopicAuthorizationException"},
		"join the group":       {"", []string{"kafka-console-consumer", "--topic", "login-request", "--group", group, "--timeout-ms", "15000"}, "GroupAuthorizationException"},
		"delete commands":      {"", []string{"kafka-topics", "--delete", "--topic", "commands"}, owned},
		"add partitions":       {"", []string{"kafka-topics", "--alter", "--topic", "commands", "--partitions", "9"}, owned},
		"change the retention": {"", []string{"kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", "commands", "--add-config", "retention.ms=1"}, owned},
		"delete the group":     {"", []string{"kafka-consumer-groups", "--delete", "--group", group}, "GroupAuthorizationException"},
		"move the group":       {"", []string{"kafka-consumer-groups", "--group", group, "--reset-offsets", "--to-earliest", "--topic", "login-request", "--execute"}, "can only be reset if"},
	} {
		t.Run(name, func(t *testing.T) {
			out, stderr, err := s.tool(t, c.input, c.args[0], c.args[1:]...)
			said := out + stderr
			if err != nil {
				said += err.Error()
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("it says (%v)\n%s\nand not %q", err, said, c.says)
			}
		})
	}
	// Nothing of it has had an effect.
	s.tap.catchUp(t, topics...)
	if got := s.tap.all(func(r *kgo.Record) bool { return string(r.Value) == intruder }); len(got) != 0 {
		t.Errorf("%d records of another program are on %s", len(got), got[0].Topic)
	}
	if head := s.describe(t, "commands", partitions, 1); !strings.Contains(head, "retention.ms=-1") {
		t.Errorf("commands is changed: %s", head)
	}
	s.groupShown(t)
}
