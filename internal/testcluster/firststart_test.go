//go:build synctests

package testcluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"maru/node"
	"maru/store"
)

// otherTopics are those of a second installation on the same brokers.
var otherTopics = node.Topics{LoginRequest: "lr2", LoginResponse: "ls2", Commands: "c2", Delivery: "d2"}

// newborn is the configuration of a home of an installation that was never started.
func newborn(c *Cluster, name string, partitions int32) node.Config {
	cfg := c.config(&Process{c: c, Name: name, gate: newGate(), role: node.RoleHome})
	cfg.Partitions, cfg.Database, cfg.Topics, cfg.Group = partitions, filepath.Join(c.dir, "second.db"), otherTopics, "g2"
	return cfg
}

// second is the database of the other installation.
func second(c *Cluster) *store.Store {
	c.T.Helper()
	s, err := store.Open(c.T.Context(), store.Config{DSN: filepath.Join(c.dir, "second.db")})
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { s.Close() })
	return s
}

func kafkaTool(c *Cluster) *kadm.Client {
	c.T.Helper()
	cl, err := kgo.NewClient(c.broker.SeedOpts()...)
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

func fact(t *testing.T, s *store.Store, key string) string {
	t.Helper()
	v, found, err := s.Meta(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return "none"
	}
	return v
}

// Two first starts that ask for different numbers: one is refused, and what it
// wanted is nowhere.
func TestFirstStartsAtTheSameTime(t *testing.T) {
	for range 5 {
		synctest.Test(t, func(t *testing.T) {
			c := Start(t, Options{})
			sql, adm := second(c), kafkaTool(c)
			nodes, errs := make([]*node.Node, 2), make([]error, 2)
			numbers := []int32{4, 8}
			var wg sync.WaitGroup
			for i, p := range numbers {
				cfg := newborn(c, "n"+strconv.Itoa(i), p)
				wg.Go(func() { nodes[i], errs[i] = node.Start(t.Context(), cfg) })
			}
			wg.Wait()
			winner := slices.Index(errs, nil)
			var refused *node.ConfigError
			if winner < 0 || !errors.As(errs[1-winner], &refused) {
				t.Fatalf("started: %v", errs)
			}
			if got := fact(t, sql, "partitions"); got != strconv.Itoa(int(numbers[winner])) {
				t.Errorf("recorded are %s partitions, the winner asked for %d", got, numbers[winner])
			}
			if got := fact(t, sql, "login-request.own"); got != "yes" {
				t.Errorf("login-request is recorded as maru's own: %s", got)
			}
			md, err := adm.Metadata(t.Context(), otherTopics.LoginRequest, otherTopics.LoginResponse, otherTopics.Commands)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range md.Topics {
				if len(d.Partitions) != int(numbers[winner]) {
					t.Errorf("topic %s has %d partitions, the cluster %d", d.Topic, len(d.Partitions), numbers[winner])
				}
			}
			if err := nodes[winner].Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// killer is a connection whose process is killed by its request to create a topic.
type killer struct {
	net.Conn
	kill func()
}

func (k killer) Write(p []byte) (int, error) {
	n, err := k.Conn.Write(p)
	// Kafka protocol: length, API key; near the end of the body whether only to validate.
	if len(p) > 8 && kmsg.Key(binary.BigEndian.Uint16(p[4:])) == kmsg.CreateTopics &&
		bytes.Contains(p, []byte(otherTopics.LoginRequest)) && p[len(p)-2] == 0 {
		k.kill()
	}
	return n, err
}

// A first start that is killed once it has made login-request: the topic is maru's
// own, so what others have put there meanwhile is not too old for the next start.
func TestFirstStartAfterOneThatWasKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{})
		sql, adm := second(c), kafkaTool(c)
		ctx, kill := context.WithCancel(t.Context())
		defer kill()
		cfg := newborn(c, "killed", 4)
		cfg.Seams.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := c.broker.Dial(ctx, network, addr)
			return killer{conn, kill}, err
		}
		if _, err := node.Start(ctx, cfg); err == nil {
			t.Fatal("it was not killed")
		}
		md, err := adm.Metadata(t.Context(), otherTopics.LoginRequest)
		if err != nil || md.Topics[otherTopics.LoginRequest].Err != nil {
			t.Fatalf("it was killed before it made the topic: %v", err)
		}
		n, err := node.Start(t.Context(), newborn(c, "next", 4))
		if err != nil {
			t.Fatal(err)
		}
		if got := fact(t, sql, "login-request.own"); got != "yes" {
			t.Errorf("login-request is recorded as maru's own: %s", got)
		}
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A login topic that was there before is not maru's own.
func TestFirstStartOnATopicOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Start(t, Options{})
		sql, adm := second(c), kafkaTool(c)
		if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, otherTopics.LoginRequest); err != nil {
			t.Fatal(err)
		}
		n, err := node.Start(t.Context(), newborn(c, "n", 4))
		if err != nil {
			t.Fatal(err)
		}
		if got := fact(t, sql, "login-request.own"); got != "no" {
			t.Errorf("login-request is recorded as maru's own: %s", got)
		}
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What a first start is refused for binds nobody: the next may ask for something else.
func TestFirstStartThatIsRefused(t *testing.T) {
	for name, fault := range map[string]struct {
		spoil func(t *testing.T, adm *kadm.Client, cfg *node.Config)
		says  string
	}{
		"too few brokers": {func(_ *testing.T, _ *kadm.Client, cfg *node.Config) { cfg.Replicas = 3 }, "--replicas 1"},
		"too many partitions": {func(t *testing.T, adm *kadm.Client, _ *node.Config) {
			if _, err := adm.CreateTopic(t.Context(), 6, 1, nil, otherTopics.LoginResponse); err != nil {
				t.Fatal(err)
			}
		}, "--partitions 6"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Start(t, Options{})
				sql, adm := second(c), kafkaTool(c)
				cfg := newborn(c, "refused", 4)
				fault.spoil(t, adm, &cfg)
				if _, err := node.Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), fault.says) {
					t.Fatalf("refused with %v", err)
				}
				for _, key := range []string{"partitions", "login-request.own"} {
					if got := fact(t, sql, key); got != "none" {
						t.Errorf("%s is recorded: %s", key, got)
					}
				}
				n, err := node.Start(t.Context(), newborn(c, "next", 6))
				if err != nil {
					t.Fatal(err)
				}
				if err := n.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
