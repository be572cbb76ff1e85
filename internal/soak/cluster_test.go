package soak

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"maru"
	"maru/internal/pgtest"
	"maru/internal/realkafka"
	"maru/kafka"
	"maru/node"
	"maru/store"
)

// partitions of a cluster's topics: more than there are homes at any time.
const partitions = 8

// cluster is maru as several processes, on real brokers and PostgreSQL. It belongs
// to the test's goroutine.
type cluster struct {
	t      *testing.T
	broker *realkafka.Cluster
	db     *pgtest.Server
	kafka  string // bootstrap servers
	dsn    string
	topics node.Topics
	common []string // arguments of every process
	homes  []*machine
	gates  []*machine
	sql    *store.Store // the test's own view
}

// newCluster starts a cluster and waits until every slot has an owner. Its topics
// and group are its own, so that tests can share brokers.
func newCluster(t *testing.T, gateways, homes int) *cluster {
	t.Helper()
	realkafka.Require(t)
	pgtest.Require(t)
	prefix := strings.ToLower(t.Name()) + "-"
	c := &cluster{t: t, broker: realkafka.Shared(t), db: pgtest.Start(t, pgtest.Options{}), topics: node.Topics{
		LoginRequest: prefix + "login-request", LoginResponse: prefix + "login-response", Commands: prefix + "commands", Delivery: prefix + "delivery",
	}}
	c.kafka, c.dsn = c.broker.Bootstrap(), c.db.Database(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := node.NewSecretFile(secret); err != nil {
		t.Fatal(err)
	}
	c.common = append(slices.Clone(cheap),
		"--kafka", c.kafka, "--database", c.dsn, "--secret-file", secret, "--replicas", "3", "--group", prefix+"group",
		"--login-request", c.topics.LoginRequest, "--login-response", c.topics.LoginResponse,
		"--commands", c.topics.Commands, "--delivery", c.topics.Delivery)
	for i := range gateways {
		c.gates = append(c.gates, c.machine(fmt.Sprintf("gate%d", i+1), "gateway"))
	}
	c.gates[0].args = append(c.gates[0].args, "--partitions", fmt.Sprint(partitions)) // it makes the topics
	for i := range homes {
		c.homes = append(c.homes, c.machine(fmt.Sprintf("home%d", i+1), "home"))
	}
	for _, m := range slices.Concat(c.gates, c.homes) {
		m.start()
	}
	var err error
	if c.sql, err = store.Open(t.Context(), store.Config{DSN: c.dsn}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.sql.Close() })
	c.awaitOwners(c.homes...)
	return c
}

func (c *cluster) machine(name, role string) *machine {
	return newMachine(c.t, name, c.t.TempDir(), append([]string{"--role", role}, c.common...)...)
}

func (c *cluster) urls() (all []string) {
	for _, g := range c.gates {
		all = append(all, g.url())
	}
	return all
}

// owners returns which home has claimed each slot.
func (c *cluster) owners() map[int32]string {
	c.t.Helper()
	rows, err := c.sql.Slots(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	owners := map[int32]string{}
	for _, r := range rows {
		owners[r.Slot] = r.Owner
	}
	return owners
}

// awaitOwners waits until the slots are shared among the given homes alone, as
// evenly as they can be.
func (c *cluster) awaitOwners(homes ...*machine) map[int32]string {
	c.t.Helper()
	var owners map[int32]string
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		owners = c.owners()
		held := map[string]int{}
		for _, o := range owners {
			held[o]++
		}
		even := len(owners) == partitions && len(held) == len(homes)
		for _, h := range homes {
			even = even && held[h.name] >= partitions/len(homes)
		}
		if even {
			return owners
		}
	}
	c.t.Fatalf("the slots are not shared evenly after %v: %v", patience, owners)
	return nil
}

// quiesce stops the gateways, waits until all that is in the log is in the
// database, and stops the homes.
func (c *cluster) quiesce() {
	c.t.Helper()
	for _, g := range c.gates {
		g.terminate()
	}
	admin, err := kafka.NewAdmin(c.conn())
	if err != nil {
		c.t.Fatal(err)
	}
	defer admin.Close()
	began, behind := time.Now(), ""
	for still := 0; still < 3; time.Sleep(300 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			c.t.Fatalf("not quiet after a minute without clients: %s", behind)
		}
		if behind = c.behind(admin); behind == "" {
			still++
		} else {
			still = 0
		}
	}
	for _, h := range c.homes {
		h.terminate()
	}
}

// behind names a slot whose checkpoint is not at the end of its log.
func (c *cluster) behind(admin *kafka.Admin) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	ends, err := admin.LogEnds(ctx, c.topics.Commands)
	if err != nil {
		return err.Error()
	}
	rows, err := c.sql.Slots(ctx)
	if err != nil {
		return err.Error()
	}
	for _, r := range rows {
		if r.Next != ends[r.Slot] {
			return fmt.Sprintf("slot %d of %s: checkpoint at %d, log ends at %d", r.Slot, r.Owner, r.Next, ends[r.Slot])
		}
	}
	return ""
}

func (c *cluster) conn() kafka.Conn { return kafka.Conn{Seeds: strings.Split(c.kafka, ",")} }

// mustHold compares everything after quiesce.
func (c *cluster) mustHold(w *town) {
	c.t.Helper()
	conn := c.conn()
	compare(c.t, w, c.dsn, c.topics, conn, []kgo.Opt{kgo.SeedBrokers(conn.Seeds...)})
}

// idInSlot returns a user id that lives in a slot.
func idInSlot(prefix string, slot int32) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("%s%d", prefix, i); maru.SlotOf(id, partitions) == slot {
			return id
		}
	}
}
