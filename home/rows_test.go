package home

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru"
	"maru/record"
)

// befriend adds friends to a's list or takes them off, through one session.
func (r *rig) befriend(kind record.Kind, session string, friends ...string) {
	for _, f := range friends {
		r.put(record.Command{Kind: kind, ID: r.id(), User: "a", Session: session, Friend: &record.FriendBody{Friend: f}})
	}
}

func TestRowsOfFriends(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxResident = 1 }, func(t *testing.T, r *rig) {
		r.register("a")
		var friends []string
		for i := range 6 {
			friends = append(friends, mine(i))
			r.register(mine(i))
		}
		login := r.id()
		r.gatewayLogin(login, "a", "pw of a", r.keys)
		r.sleep(time.Second)
		s := login.Session()

		_, _, before := r.store.saved()
		backwards := slices.Clone(friends)
		slices.Reverse(backwards)
		r.befriend(record.FriendAdd, s, backwards...)
		r.sleep(time.Second)
		r.wantFriends(friends...)
		for _, c := range r.store.written[before:] {
			if !slices.IsSortedFunc(c.Users, func(a, b maru.UserRow) int { return strings.Compare(a.UserID, b.UserID) }) ||
				!slices.IsSortedFunc(c.Friends, func(a, b maru.FriendRow) int { return strings.Compare(a.FriendID, b.FriendID) }) {
				t.Errorf("rows out of order: %+v", c)
			}
		}

		_, _, before = r.store.saved()
		r.befriend(record.FriendRemove, s, friends[1], friends[0], friends[2])
		r.befriend(record.FriendAdd, s, friends[2]) // within the same checkpoint
		r.befriend(record.FriendRemove, s, "nobody")
		r.sleep(time.Second)
		r.wantFriends(friends[2:]...)
		if c := r.store.written[before]; !slices.Equal(c.Unfriended, []maru.FriendKey{{UserID: "a", FriendID: friends[0]}, {UserID: "a", FriendID: friends[1]}}) {
			t.Errorf("deleted: %v", c.Unfriended)
		}
		if n := r.store.users[friends[2]].AddedBy; n != 1 {
			t.Errorf("added by %d", n)
		}

		ask := r.id() // all were evicted, and come back from their rows
		r.put(record.Command{Kind: record.Ask, ID: ask, User: "a", Session: s, Reply: &record.Address{Gateway: "g"}, Ask: &record.AskBody{What: record.AskFriends}})
		synctest.Wait()
		got := decode[record.FriendsResult](t, r.replies(ask)[0].Result)
		if len(got.Friends) != 4 || got.Friends[0].UserID != friends[2] {
			t.Errorf("friends %+v", got)
		}
	})
}

func (r *rig) wantFriends(want ...string) {
	r.t.Helper()
	var got []string
	for k, row := range r.store.friends {
		if k.UserID != "a" || row.AddedAt == 0 {
			r.t.Errorf("row %+v", row)
		}
		got = append(got, k.FriendID)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		r.t.Errorf("friends in SQL %v, want %v", got, want)
	}
}

// Ids that nobody has leave SQL when what is known of them has passed, once.
func TestExpiredRowsAreDeleted(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.gatewayLogin(r.id(), mine(3), "guess", r.keys)
		r.sleep(time.Second)
		if row, ok := r.store.users[mine(3)]; !ok || row.Registered || row.ExpiresAt <= time.Now().UnixMilli() {
			t.Fatalf("row %+v, %v", row, ok)
		}
		r.sleep(time.Hour)
		r.register(mine(0)) // time is the record's: without one nothing passes
		r.sleep(time.Second)
		if row, ok := r.store.users[mine(3)]; ok {
			t.Errorf("still there: %+v", row)
		}
		r.register(mine(1))
		r.sleep(time.Second)
		if c := r.store.written[len(r.store.written)-1]; c.Expired != 0 || c.Partitions != nSlots {
			t.Errorf("deletes again what has expired: %+v", c)
		}
	})
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	inBubble(t, func(c *Config) { c.Metrics = NewMetrics(reg) }, func(t *testing.T, r *rig) {
		reg.MustRegister(r.home.Collector())
		r.register("a")
		r.register("a")
		r.log.append(maru.LogRecord{Topic: topics.Commands, Value: []byte(`{"v":1,"kind":"?"}`)}, nil)
		c := record.Command{Kind: record.FriendAdded, User: "a", Friend: &record.FriendBody{Friend: theirs()}, From: &record.Stream{Cause: record.Cause{Slot: 1}, N: 1}}
		r.put(c)
		r.put(c)
		c.From.N = 9
		r.put(c)
		r.request("", "garbage")
		r.request(theirs(), plain(theirs(), "x"))
		r.sleep(time.Second)
		got := gather(t, reg)
		if got["maru_home_resident_bytes 0"] <= 0 {
			t.Error("a resident user takes no memory")
		}
		holds := map[string]float64{"maru_home_slots": 1, "maru_home_resident_users 0": 1, "maru_home_checkpoint_offset 0": 6}
		for name, want := range holds {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		r.home.Records(r.lease, []maru.LogRecord{{Topic: topics.Commands, Offset: 99}})
		synctest.Wait()
		got = gather(t, reg)
		for name, want := range map[string]float64{
			"maru_home_records_applied_total":           6,
			"maru_home_records_skipped_total":           1,
			"maru_home_stream_duplicates_total":         1,
			"maru_home_stream_gaps_total":               1,
			"maru_home_users_loaded_total":              1,
			"maru_home_login_discarded_total":           1,
			"maru_home_login_forwarded_total":           1,
			"maru_home_slots":                           0, // dropped, and nothing of it kept
			"maru_home_slot_drops_total gap":            1,
			"maru_home_slot_drops_total other":          0,
			"maru_home_slot_drops_total unknown commit": 0,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		r.dropped()
	})
}

// gather returns the values of counters and gauges, by name and label.
func gather(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	all, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}
