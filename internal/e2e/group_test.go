package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

const group = "chatServerGroup"

// groupShown asks Kafka's tool for the owners: one per partition, shared out among
// the homes, and nothing left to answer.
func (s *site) groupShown(t *testing.T) {
	s.served(t, 0, 1)
	eventually(t, "the group has committed all that was answered", func() bool {
		lags, err := s.tap.adm.Lag(t.Context(), group)
		if err != nil || lags.Error() != nil {
			return false
		}
		left := int64(0)
		for _, l := range lags[group].Lag["login-request"] {
			left += max(l.Lag, 0)
			if l.Lag < 0 {
				return false
			}
		}
		return left == 0 && len(lags[group].Lag["login-request"]) == partitions
	})
	rows := s.table(t, "PARTITION", "--describe", "--group", group)
	owners := map[string]string{}
	for _, r := range rows {
		n, name := r["PARTITION"], r["CLIENT-ID"]
		if r["GROUP"] != group || r["TOPIC"] != "login-request" || owners[n] != "" {
			t.Errorf("unexpected row %v", r)
		}
		if r["LAG"] != "0" || r["CURRENT-OFFSET"] != r["LOG-END-OFFSET"] {
			t.Errorf("partition %s: offset %s of %s, lag %s", n, r["CURRENT-OFFSET"], r["LOG-END-OFFSET"], r["LAG"])
		}
		owners[n] = name
	}
	if len(owners) != partitions {
		t.Fatalf("%d partitions have owners: %v", len(owners), rows)
	}
	var want []string
	for i := range partitions {
		want = append(want, s.homes[i%len(s.homes)].name)
	}
	got := []string{owners["0"], owners["1"]}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the owners are %v, want %v", got, want)
	}

	members := s.table(t, "#PARTITIONS", "--describe", "--group", group, "--members")
	if len(members) != len(s.homes) {
		t.Errorf("%d members, want %d: %v", len(members), len(s.homes), members)
	}
	for _, m := range members {
		if each := strconv.Itoa(partitions / len(s.homes)); m["#PARTITIONS"] != each {
			t.Errorf("%s has %s partitions, want %s", m["CLIENT-ID"], m["#PARTITIONS"], each)
		}
	}
	for n, owner := range owners {
		u := s.users[n[0]-'0'].id
		where := mustRun(t, "", append([]string{"where", u}, s.reach...)...)
		if !strings.Contains(where, owner) {
			t.Errorf("maru where %s does not name %s:\n%s", u, owner, where)
		}
	}
}

// table runs kafka-consumer-groups and returns the rows under the head line that
// has the column.
func (s *site) table(t *testing.T, column string, args ...string) (rows []map[string]string) {
	t.Helper()
	out := s.mustTool(t, "", "kafka-consumer-groups", args...)
	var head []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case slices.Contains(fields, column):
			head = fields
		case len(head) > 0 && len(fields) >= len(head):
			row := map[string]string{}
			for i, name := range head {
				row[name] = fields[i]
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("no rows under %s:\n%s", column, out)
	}
	return rows
}
