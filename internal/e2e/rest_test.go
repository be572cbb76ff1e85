package e2e

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"maru"
)

var commandID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// restOnTopics follows logins by REST to the login pair.
func (s *site) restOnTopics(t *testing.T) {
	for n := range s.users {
		u := s.users[n]
		s.tap.catchUp(t, "login-request")
		seen := len(s.tap.all(fromGateway(u.id)))
		_, ok := s.gateway.login(t, u.id, u.password)
		wrong := s.gateway.do(t, http.StatusUnauthorized, "POST", "/api/login", credentials(u.id, "not "+u.password))
		if wrong.body != failedLine(u.id) {
			t.Errorf("a failed login is answered with\n%s\nwant\n%s", wrong.body, failedLine(u.id))
		}
		s.tap.catchUp(t, "login-request", "login-response")
		requests := distinct(s.tap.all(fromGateway(u.id))[seen:])
		if len(requests) != 2 {
			t.Fatalf("%d login requests of the gateway, want 2", len(requests))
		}
		for i, want := range []string{strings.Split(ok.body, `,"token"`)[0] + "}", failedLine(u.id)} {
			s.checkRequest(t, requests[i], u.id)
			s.checkAnswer(t, requests[i], want)
		}
		s.checkShown(t, requests[n%2]) // of one user the success, of the other the failure
	}
}

// fromGateway matches the login requests that a gateway made for a user.
func fromGateway(user string) func(*kgo.Record) bool {
	return func(r *kgo.Record) bool {
		return r.Topic == "login-request" && string(r.Key) == user && commandID.MatchString(header(r, "maru-id")) &&
			header(r, "maru-claims") != "" && header(r, "maru-forwarded") == ""
	}
}

func (s *site) checkRequest(t *testing.T, r *kgo.Record, user string) {
	t.Helper()
	value := regexp.MustCompile(`^\{"userId":"` + regexp.QuoteMeta(user) + `","userPw":null,"sealedPw":"[A-Za-z0-9+/_=-]+"\}$`)
	if !value.Match(r.Value) {
		t.Errorf("the gateway's request is %s", r.Value)
	}
	if want := maru.SlotOf(user, partitions); r.Partition != want {
		t.Errorf("the gateway's request for %s is on partition %d, want %d", user, r.Partition, want)
	}
	if header(r, "maru-reply") == "" {
		t.Error("the gateway's request does not say where the answer goes")
	}
}

// checkAnswer finds the answer to a request on login-response: with the same key,
// partition and id, no more often than it was asked for.
func (s *site) checkAnswer(t *testing.T, request *kgo.Record, want string) {
	t.Helper()
	id := header(request, "maru-id")
	r := s.tap.wait(t, "answer to the gateway's request", 1, on("login-response", id))[0]
	if string(r.Value) != want || string(r.Key) != string(request.Key) || r.Partition != request.Partition {
		t.Errorf("partition %d, key %s: %s\nwant partition %d, key %s: %s", r.Partition, r.Key, r.Value, request.Partition, request.Key, want)
	}
	if asked, n := len(s.tap.all(on("login-request", id))), len(s.tap.all(on("login-response", id))); n > asked {
		t.Errorf("asked %d times, answered %d times", asked, n)
	}
}

// distinct leaves out repetitions: a gateway that has no answer after 1.5 s asks
// again under the same id.
func distinct(requests []*kgo.Record) (first []*kgo.Record) {
	seen := map[string]bool{}
	for _, r := range requests {
		if id := header(r, "maru-id"); !seen[id] {
			seen[id] = true
			first = append(first, r)
		}
	}
	return first
}

// checkShown has Kafka's console consumer show the answer to a request, with the id.
func (s *site) checkShown(t *testing.T, request *kgo.Record) {
	t.Helper()
	id := header(request, "maru-id")
	r := s.tap.wait(t, "answer to the gateway's request", 1, on("login-response", id))[0]
	shown := s.mustTool(t, "", "kafka-console-consumer", "--topic", "login-response", "--partition", strconv.Itoa(int(r.Partition)),
		"--offset", strconv.FormatInt(r.Offset, 10), "--max-messages", "1", "--timeout-ms", "20000",
		"--property", "print.headers=true", "--property", "print.key=true")
	if line := "maru-id:" + id + "\t" + string(r.Key) + "\t" + string(r.Value) + "\n"; shown != line {
		t.Errorf("the console consumer shows\n%s\nwant\n%s", shown, line)
	}
}
