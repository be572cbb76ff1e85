package e2e

import (
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"maru"
)

// produceWithKeys writes lines of key:value with Kafka's console producer.
func (s *site) produceWithKeys(t *testing.T, topic, lines string) {
	t.Helper()
	s.mustTool(t, lines, "kafka-console-producer", "--topic", topic, "--property", "parse.key=true", "--property", "key.separator=:")
}

// consume reads n records with Kafka's console consumer: partition, key, value,
// sorted by line.
func (s *site) consume(t *testing.T, topic string, n string) []string {
	t.Helper()
	out := s.mustTool(t, "", "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", n, "--timeout-ms", "20000",
		"--property", "print.key=true", "--property", "print.partition=true")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	sort.Strings(lines)
	return lines
}

// referenceData walks through the reference data of the contract with nothing but
// maru's command line and Kafka's console tools, and a logout by REST. Later
// stories use the accounts that it opens.
func (s *site) referenceData(t *testing.T) {
	add := append([]string{"user", "add", "a", "--allow-weak", "--email", "a@naver.com", "--name", "user_A", "--status", "안녕하세요!"}, s.reach...)
	if out := mustRun(t, "1234\n", add...); out != "user a added\n" {
		t.Errorf("user add says %q", out)
	}
	if p := maru.SlotOf("a", partitions); p != 0 {
		t.Fatalf("key a belongs on partition %d of 2: the contract says 0", p)
	}
	s.produceWithKeys(t, "login-request", "a:{\"userId\":\"a\",\"userPw\":\"1234\"}\naa:{\"userId\":\"aa\",\"userPw\":\"1234\"}\na:{\"userId\":\"a\",\"userPw\":\"4321\"}\n")

	accepted := func(logout string) string {
		day := s.today()
		return `{"requestUserID":"a","isAccept":true,"user":{"userId":"a","userPw":null,"email":"a@naver.com","userName":"user_A","userStatus":"안녕하세요!",` +
			`"joinDate":` + day + `,"loginDate":` + day + `,"logoutDate":` + logout + `}}`
	}
	row := func(key, value string) string {
		return "Partition:" + string('0'+rune(maru.SlotOf(key, partitions))) + "\t" + key + "\t" + value
	}
	want := []string{row("a", accepted("null")), row("a", failedLine("a")), row("aa", failedLine("aa"))}
	s.mustConsume(t, want)

	bearer, _ := s.gateway.login(t, "a", "1234")
	s.gateway.do(t, http.StatusNoContent, "POST", "/api/logout", "", "Authorization", bearer)
	s.produceWithKeys(t, "login-request", "a:{\"userId\":\"a\",\"userPw\":\"1234\",\"unknown\":[1]}\n")
	s.mustConsume(t, append(want, row("a", accepted("null")), row("a", accepted(s.today()))))

	s.users[0] = account{"a", "1234"}
	s.users[1] = account{homeOn(1, "b"), "password of b"}
	s.gateway.register(t, s.users[1].id, s.users[1].password)
	s.served(t, 0, 1)
}

// mustConsume compares login-response with what must be on it, no more and no
// less, byte for byte.
func (s *site) mustConsume(t *testing.T, want []string) {
	t.Helper()
	s.tap.wait(t, "answers on login-response", len(want), func(r *kgo.Record) bool { return r.Topic == "login-response" })
	sort.Strings(want)
	got := s.consume(t, "login-response", string('0'+rune(len(want))))
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("on login-response is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.tap.catchUp(t, "login-response")
	if n := len(s.tap.all(func(r *kgo.Record) bool { return r.Topic == "login-response" })); n != len(want) {
		t.Errorf("%d records on login-response, want %d", n, len(want))
	}
}
