package e2e

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// story is told on both backends.
type story struct {
	name string
	tell func(*site, *testing.T)
}

func (s *site) tell(t *testing.T, stories ...story) {
	t.Helper()
	for _, st := range stories {
		began := time.Now()
		if !t.Run(st.name, func(t *testing.T) { st.tell(s, t) }) {
			return // what follows stands on it
		}
		t.Logf("%s took %v", st.name, time.Since(began).Round(time.Millisecond))
	}
}

var (
	reference = story{"the reference data", (*site).referenceData}
	onTopics  = story{"what REST causes is on the topics", (*site).restOnTopics}
	garbage   = story{"garbage stops no partition", (*site).garbageStopsNothing}
	large     = story{"5 MB stop no partition", (*site).fiveMegabytes}
	asAsked   = story{"topics are as asked", (*site).topicsAsAsked}
	byHand    = story{"a topic made by hand", (*site).topicByHand}
	grouped   = story{"the group shows owners and lag", (*site).groupShown}
	secrets   = story{"secrets are nowhere", (*site).secretsNowhere}
)

func TestEmbeddedBroker(t *testing.T) {
	s := embeddedSite(t)
	s.tell(t, reference, onTopics, garbage, large, asAsked, byHand, grouped,
		story{"maru's topics and group are kept", (*site).protectedFromOutside}, secrets)
	s.gateway.terminate(t)
}

// One process first, then a gateway and two homes on what it left behind.
func TestThreeBrokers(t *testing.T) {
	pg := postgres(t)
	brokers := threeBrokers(t)
	dir := t.TempDir()
	s := &site{
		tools: brokers.Tools, bootstrap: brokers.Bootstrap(), replicas: 3, brokers: brokers,
		dsn: pg.Database(t), zone: safeZone(t, true),
	}
	s.sqlData = dataDirectories(t, pg.AdminDSN("postgres"), s.dsn)
	s.reach = []string{"--kafka", s.bootstrap, "--database", s.dsn, "--replicas", "3"}
	common := append([]string{
		"--secret-file", filepath.Join(dir, "secret"), "--time-zone", s.zone.String(), "--registrations", "0", "--failed-logins", "0",
	}, s.reach...)
	start := func(name string, args ...string) *process {
		return serve(t, name, filepath.Join(dir, name), append(args, common...)...)
	}

	s.gateway = start("solo", "--partitions", strconv.Itoa(partitions))
	s.homes = []*process{s.gateway}
	s.join(t)
	s.tell(t, reference, asAsked, grouped)
	if t.Failed() {
		return
	}
	s.gateway.terminate(t)

	s.homes = []*process{start("home-1", "--role", "home"), start("home-2", "--role", "home")}
	s.gateway = start("gateway-1", "--role", "gateway")
	if strings.Contains(s.gateway.metrics(t), "maru_home_") {
		t.Error("a gateway says that it is a home")
	}
	s.tell(t, grouped, onTopics, garbage, large, byHand, secrets)
	for _, p := range append(s.homes, s.gateway) {
		p.terminate(t)
	}
}
