package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fiveMegabytes puts requests of 5 MB on login-request: brokers refuse them, and
// where an administrator has allowed them, homes live with them.
func (s *site) fiveMegabytes(t *testing.T) {
	large := []byte(`{"userId":"large","userPw":"` + strings.Repeat("x", 5<<20) + `"}`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := s.foreign.ProduceSync(ctx, &kgo.Record{Topic: "login-request", Partition: 0, Key: []byte("large"), Value: large}).FirstErr()
	if !errors.Is(err, kerr.MessageTooLarge) {
		t.Fatalf("5 MB as the topic was made: %v, want %v", err, kerr.MessageTooLarge)
	}
	s.served(t, 0, 1)

	raise := []string{"--alter", "--entity-type", "topics", "--entity-name", "login-request", "--add-config", "max.message.bytes=6000000"}
	if s.brokers == nil {
		_, stderr, err := s.tool(t, "", "kafka-configs", raise...)
		if exitStatus(err) <= 0 || !strings.Contains(err.Error(), "give a number from") {
			t.Errorf("the embedded broker takes max.message.bytes=6000000: %v\n%s", err, stderr)
		}
		large = large[:1<<20] // the largest that it takes
	} else {
		s.mustTool(t, "", "kafka-configs", raise...)
	}
	ends := homeOn(0, "large-")
	for _, j := range []junk{
		{name: "keyed", key: []byte(ends), value: large, answer: ends},
		{name: "misplaced", key: []byte("large-misplaced"), value: large, wrong: true, answer: "large-misplaced", forwarded: 1},
		{name: "no key", value: large, discarded: 1},
	} {
		t.Run(j.name, func(t *testing.T) { s.throw(t, j) })
	}
	s.served(t, 0, 1)
}
