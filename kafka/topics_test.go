package kafka

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func bubble(t *testing.T, brokers int, fn func(t *testing.T, b *broker, a *Admin), opts ...kfake.Opt) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, brokers, opts...)
		a := b.admin(t)
		defer a.Close()
		fn(t, b, a)
	})
}

func settingsOf(t *testing.T, a *Admin, topic string) map[string]string {
	t.Helper()
	all, err := a.adm.DescribeTopicConfigs(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := all.On(topic, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, c := range rc.Configs {
		m[c.Key] = c.MaybeValue()
	}
	return m
}

func partitionsOf(t *testing.T, a *Admin, topic string) int {
	t.Helper()
	md, err := a.adm.Metadata(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return len(md.Topics[topic].Partitions)
}

func create(t *testing.T, a *Admin, topic string, partitions int32, replicas int16, configs map[string]*string) {
	t.Helper()
	if _, err := a.adm.CreateTopic(t.Context(), partitions, replicas, configs, topic); err != nil {
		t.Fatal(err)
	}
}

func TestMissingTopicsAreCreatedAsAsked(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *broker, a *Admin) {
		r, err := a.EnsureTopics(t.Context(), testLayout(2, 3), true)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{loginTopic, responseTopic, commandsTopic, deliveryTopic}; !slices.Equal(r.Created, want) {
			t.Errorf("created %v, want %v", r.Created, want)
		}
		if len(r.Warnings)+len(r.Changed)+len(r.Grown) > 0 {
			t.Errorf("report %+v, want only created topics", r)
		}
		infos, err := a.Describe(t.Context(), testLayout(2, 3), "chatServerGroup")
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{2, 2, 2, 4} {
			if n := len(infos[i].Partitions); n != want {
				t.Errorf("%s has %d partitions, want %d", infos[i].Topic, n, want)
			}
			for _, p := range infos[i].Partitions {
				if len(p.Replicas) != 3 || len(p.ISR) != 3 || p.Leader < 0 || p.End != 0 || p.Lag != -1 {
					t.Errorf("%s: %+v", infos[i].Topic, p)
				}
			}
		}
		got := settingsOf(t, a, commandsTopic)
		for key, want := range map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "LogAppendTime",
			"cleanup.policy": "delete", "min.insync.replicas": "2", "max.message.bytes": "1048576"} {
			if got[key] != want {
				t.Errorf("commands: %s is %q, want %q", key, got[key], want)
			}
		}
		if got := settingsOf(t, a, deliveryTopic)["retention.ms"]; got != "600000" {
			t.Errorf("delivery: retention.ms is %q", got)
		}
		again, err := a.EnsureTopics(t.Context(), testLayout(2, 3), false)
		if err != nil || len(again.Created)+len(again.Grown)+len(again.Changed)+len(again.Warnings) > 0 {
			t.Errorf("second start: %+v, %v; want nothing to do", again, err)
		}
	})
}

func TestOneReplicaNeedsOneInSync(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		if _, err := a.EnsureTopics(t.Context(), testLayout(2, 1), true); err != nil {
			t.Fatal(err)
		}
		if got := settingsOf(t, a, commandsTopic)["min.insync.replicas"]; got != "1" {
			t.Errorf("min.insync.replicas is %q with one replica", got)
		}
	})
}

func TestFewerBrokersThanReplicasIsRefused(t *testing.T) {
	bubble(t, 2, func(t *testing.T, b *broker, a *Admin) {
		_, err := a.EnsureTopics(t.Context(), testLayout(2, 3), true)
		if err == nil {
			t.Fatal("no error with 3 replicas on 2 brokers")
		}
		for _, part := range []string{"3 replicas", "2 brokers", "--replicas 2"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not say %q", err, part)
			}
		}
	})
}

func TestMissingPartitionsAreAdded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, loginTopic, 1, 1, nil)
		create(t, a, responseTopic, 3, 1, nil)
		create(t, a, commandsTopic, 2, 1, nil)
		b.put(t, loginTopic, 0, "a login of before")
		r, err := a.EnsureTopics(t.Context(), testLayout(4, 1), true)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{loginTopic, responseTopic, commandsTopic}; !slices.Equal(r.Grown, want) {
			t.Errorf("grown %v, want %v", r.Grown, want)
		}
		if !slices.Equal(r.Created, []string{deliveryTopic}) {
			t.Errorf("created %v", r.Created)
		}
		for _, topic := range r.Grown {
			if n := partitionsOf(t, a, topic); n != 4 {
				t.Errorf("%s has %d partitions, want 4", topic, n)
			}
		}
		if got := b.readAll(t, loginTopic, 0); len(got) != 1 {
			t.Errorf("login-request has %v after growing", got)
		}
	})
}

func TestCommandsWithRecordsAreNotGrown(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, commandsTopic, 2, 1, nil)
		b.put(t, commandsTopic, 1, "a command")
		_, err := a.EnsureTopics(t.Context(), testLayout(4, 1), false)
		if err == nil || !strings.Contains(err.Error(), "maru grow") {
			t.Errorf("error %v, want one that names maru grow", err)
		}
		if n := partitionsOf(t, a, commandsTopic); n != 2 {
			t.Errorf("commands has %d partitions now", n)
		}
	})
}

// Partition counts are verified at every start (hazard 10 of ownership).
func TestMorePartitionsThanPAreRefused(t *testing.T) {
	for _, topic := range []string{loginTopic, responseTopic, commandsTopic} {
		for _, first := range []bool{true, false} {
			bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
				create(t, a, topic, 5, 1, nil)
				_, err := a.EnsureTopics(t.Context(), testLayout(4, 1), first)
				if err == nil || !strings.Contains(err.Error(), "has 5 partitions") {
					t.Errorf("%s, first %v: error %v", topic, first, err)
				}
				if first && err != nil && !strings.Contains(err.Error(), "--partitions 5") {
					t.Errorf("%s: error %q does not say what to do", topic, err)
				}
			})
		}
	}
}

func TestSettingsThatLoseDataAreMended(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *broker, a *Admin) {
		compact, hour, small := "compact", "3600000", "1000"
		create(t, a, commandsTopic, 2, 3, map[string]*string{"cleanup.policy": &compact, "retention.ms": &hour, "max.message.bytes": &small})
		r, err := a.EnsureTopics(t.Context(), testLayout(2, 3), true)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Changed) != 5 { // and the timestamps, and min.insync.replicas
			t.Errorf("changed %q", r.Changed)
		}
		got := settingsOf(t, a, commandsTopic)
		if got["cleanup.policy"] != "delete" || got["retention.ms"] != "-1" || got["max.message.bytes"] != "1048576" ||
			got["min.insync.replicas"] != "2" || got["message.timestamp.type"] != "LogAppendTime" {
			t.Errorf("settings of commands are %v", got)
		}
	})
}

func TestMoreThanEnoughIsLeft(t *testing.T) {
	s := setting{key: "min.insync.replicas", value: "2", atLeast: true}
	for value, want := range map[string]bool{"1": false, "2": true, "3": true, "": false, "x": false} {
		if s.metBy(value) != want {
			t.Errorf("min.insync.replicas=%q: met %v", value, !want)
		}
	}
}

func TestOtherReplicasAreToldAndLeft(t *testing.T) {
	bubble(t, 3, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, loginTopic, 2, 1, nil)
		r, err := a.EnsureTopics(t.Context(), testLayout(2, 3), true)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "has 1 replicas, 3 were asked for") {
			t.Errorf("warnings %q", r.Warnings)
		}
	})
}

func TestTwoProcessesCreateAtOnce(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var created []string
		for range 4 {
			wg.Go(func() {
				a := b.admin(t)
				defer a.Close()
				r, err := a.EnsureTopics(t.Context(), testLayout(4, 1), true)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				created = append(created, r.Created...)
			})
		}
		wg.Wait()
		slices.Sort(created)
		if want := []string{commandsTopic, deliveryTopic, loginTopic, responseTopic}; !slices.Equal(created, want) {
			t.Errorf("created in all %v, want each once", created)
		}
	})
}

func TestLayoutIsChecked(t *testing.T) {
	for name, l := range map[string]Layout{
		"no partitions": testLayout(0, 1),
		"no replicas":   testLayout(2, 0),
		"equal names":   {Partitions: 1, Replicas: 1, LoginRequest: "a", LoginResponse: "a", Commands: "c", Delivery: "d"},
		"no name":       {Partitions: 1, Replicas: 1, LoginRequest: "a", LoginResponse: "b", Commands: "c"},
	} {
		if err := l.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTrimNeverEmptiesALog(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, commandsTopic, 2, 1, nil)
		if start, err := a.Trim(t.Context(), commandsTopic, 0, 10); err != nil || start != 0 {
			t.Errorf("trimming an empty log: start %d, %v", start, err)
		}
		b.put(t, commandsTopic, 0, "a", "b", "c", "d")
		for _, c := range []struct{ before, start int64 }{{-5, 0}, {2, 2}, {1, 2}, {4, 3}, {99, 3}} {
			start, err := a.Trim(t.Context(), commandsTopic, 0, c.before)
			if err != nil || start != c.start {
				t.Errorf("trim before %d: start %d, %v; want %d", c.before, start, err, c.start)
			}
		}
		if got := b.readAll(t, commandsTopic, 0); !slices.Equal(got, []string{"d"}) {
			t.Errorf("left %v, want d", got)
		}
		ends, err := a.LogEnds(t.Context(), commandsTopic)
		if err != nil || ends[0] != 4 || ends[1] != 0 || len(ends) != 2 {
			t.Errorf("ends %v, %v", ends, err)
		}
	})
}

func TestOffsetAtTime(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, commandsTopic, 1, 1, nil)
		begin := time.Now()
		for range 3 {
			b.put(t, commandsTopic, 0, "x")
			time.Sleep(time.Hour)
		}
		for after, want := range map[time.Duration]int64{-time.Hour: 0, 30 * time.Minute: 1, 90 * time.Minute: 2, 5 * time.Hour: 3} {
			at, err := a.OffsetAtTime(t.Context(), commandsTopic, 0, begin.Add(after).UnixMilli())
			if err != nil || at != want {
				t.Errorf("after %v: offset %d, %v; want %d", after, at, err, want)
			}
		}
		if at, err := a.OffsetAtTime(t.Context(), commandsTopic, 0, -2); err != nil || at != 0 {
			t.Errorf("a negative time: offset %d, %v; want 0", at, err)
		}
	})
}

func TestNoBrokerIsAnError(t *testing.T) {
	if _, err := NewAdmin(Conn{}); err == nil {
		t.Error("no seeds: accepted")
	}
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		if err := a.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		l := b.link("cut")
		l.cut()
		x, err := NewAdmin(l.conn(t))
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		if err := x.Ping(t.Context()); err == nil {
			t.Error("no error without a network")
		}
	})
}

func TestDescribeOfNothing(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, "somebody-elses", 1, 1, nil)
		infos, err := a.Describe(t.Context(), testLayout(2, 1), "chatServerGroup")
		if err != nil || len(infos) != 0 {
			t.Errorf("%+v, %v; want nothing", infos, err)
		}
	})
}

func TestRefusedCreationIsAnError(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		b.Fault(kfake.Fault{Resource: commandsTopic, Err: kerr.PolicyViolation, Count: -1})
		_, err := a.EnsureTopics(t.Context(), testLayout(2, 1), true)
		if !errors.Is(err, kerr.PolicyViolation) || !strings.Contains(err.Error(), commandsTopic) {
			t.Errorf("error %v", err)
		}
	})
}

// Right after a topic was made, some brokers have not heard of it.
func TestBrokersHearLateOfATopic(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		late := 3
		onRequest(b, func(r *kmsg.DescribeConfigsRequest) (kmsg.Response, error, bool) {
			if late == 0 {
				return nil, nil, false
			}
			late--
			resp := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
			for _, asked := range r.Resources {
				res := kmsg.NewDescribeConfigsResponseResource()
				res.ResourceType, res.ResourceName, res.ErrorCode = asked.ResourceType, asked.ResourceName, kerr.UnknownTopicOrPartition.Code
				resp.Resources = append(resp.Resources, res)
			}
			return resp, nil, true
		})
		report, err := a.EnsureTopics(t.Context(), testLayout(2, 1), true)
		if err != nil || len(report.Created) != 4 || late != 0 {
			t.Errorf("%+v, %v; %d late answers left", report, err, late)
		}
	})
}
