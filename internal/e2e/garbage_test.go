package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"maru"
)

// junk is something on login-request that no maru puts there, and what becomes of
// it: answered as a failed login of answer (empty: not answered), forwarded,
// discarded.
type junk struct {
	name      string
	key       []byte // nil: none
	value     []byte // nil: none
	headers   []kgo.RecordHeader
	wrong     bool // put on the partition that the key does not belong to
	answer    string
	quoted    string // the answered id as JSON writes it, when that is not just answer
	accepted  bool   // the answer is not the failed line but of a login that succeeded
	forwarded int
	discarded int
}

func headers(pairs ...string) (hs []kgo.RecordHeader) {
	for i := 0; i+1 < len(pairs); i += 2 {
		hs = append(hs, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return hs
}

// unreadable is what cannot be parsed; with a key that is a user id it is answered.
func unreadable() (all []junk) {
	for name, value := range map[string]string{
		"not JSON": "login me in", "empty value": "", "wrong types": `{"userId":5,"userPw":{"a":[]}}`, "array": `[{"userId":"a"}]`,
		"null": "null", "string": `"a"`, "no userId": `{"userPw":"x"}`, "empty userId": `{"userId":"","userPw":"x"}`,
		"half an object": `{"userId":"a","userPw":"1`, "two objects": `{"userId":"a"}{"userId":"b"}`,
		"NULs": "\x00\x00\x00\x00", "invalid UTF-8": "\xff\xfe\xfd", "other encoding": "{\x00\"\x00u\x00s\x00",
		"Java object": "\xac\xed\x00\x05sr\x00\x11java.util.HashMap", "array nested 15,000 deep": strings.Repeat("[", 15_000),
		"object nested 2,000 deep": strings.Repeat(`{"userId":`, 1500), "more than is read": `{"userId":"a","userPw":"` + strings.Repeat("x", 20_000) + `"}`,
		"userId of 300 bytes": `{"userId":"` + strings.Repeat("u", 300) + `"}`,
	} {
		all = append(all, junk{name: name, value: []byte(value)})
	}
	for i := range all {
		id := homeOn(int32(i%partitions), "unreadable-"+string('a'+rune(i))+"-")
		all[i].key, all[i].answer = []byte(id), id
	}
	value := []byte("neither key nor value says who")
	return append(all,
		junk{name: "tombstone", key: []byte("tombstone"), answer: "tombstone"},
		junk{name: "nothing at all", discarded: 1},
		junk{name: "no key, not JSON", value: value, discarded: 1},
		junk{name: "empty key, not JSON", key: []byte{}, value: value, discarded: 1},
		junk{name: "key that is no id, not JSON", key: []byte("No One!"), value: value, discarded: 1},
		junk{name: "key of invalid UTF-8, not JSON", key: []byte("\xff\xfe"), value: value, discarded: 1},
		junk{name: "key of 100 KB, not JSON", key: []byte(strings.Repeat("k", 100_000)), value: value, discarded: 1},
	)
}

// misplaced is what can be read and stands in the wrong place: forwarded once.
func misplaced() []junk {
	ask := func(id string) []byte { return []byte(`{"userId":"` + id + `","userPw":"x"}`) }
	return []junk{
		{name: "no key", value: ask("no-key"), answer: "no-key", forwarded: 1},
		{name: "no key, wrong partition", value: ask("no-key-2"), wrong: true, answer: "no-key-2", forwarded: 1},
		{name: "empty key", key: []byte{}, value: ask("empty-key"), answer: "empty-key", forwarded: 1},
		{name: "key of another user", key: []byte("somebody"), value: ask("other-key"), answer: "other-key", forwarded: 1},
		{name: "key in other letters", key: []byte("LETTERS"), value: ask("letters"), answer: "letters", forwarded: 1},
		{name: "another partitioner", key: []byte("misplaced"), value: ask("misplaced"), wrong: true, answer: "misplaced", forwarded: 1},
		{name: "another partitioner, not JSON", key: []byte("misplaced-2"), value: []byte("?"), wrong: true, answer: "misplaced-2", forwarded: 1},
		{name: "another partitioner, too long to be read", key: []byte("misplaced-3"), value: []byte(strings.Repeat("?", 500_000)), wrong: true, answer: "misplaced-3", forwarded: 1},
		{name: "forwarded before", key: []byte("twice"), value: ask("twice"), wrong: true, headers: headers("maru-forwarded", "1"), discarded: 1},
		{name: "forwarded before, key of another user", key: []byte("somebody"), value: ask("twice-2"), headers: headers("maru-forwarded", ""), discarded: 1},
		{name: "forwarded, and in its place", key: []byte("placed"), value: ask("placed"), headers: headers("maru-forwarded", "1"), answer: "placed"},
	}
}

// odd is in its place and can be read, and means harm.
func odd() []junk {
	ask := func(id string) []byte { return []byte(`{"userId":"` + id + `","userPw":"x"}`) }
	keyed := func(j junk, id string) junk {
		j.key, j.answer = []byte(id), id
		if j.value == nil {
			j.value = ask(id)
		}
		return j
	}
	long := strings.Repeat("l", 200)
	var many []kgo.RecordHeader
	for range 200 {
		many = append(many, headers(strings.Repeat("h", 500), strings.Repeat("v", 500))...)
	}
	return []junk{
		keyed(junk{name: "Spring type header", headers: headers("__TypeId__", "org.springframework.context.support.ClassPathXmlApplicationContext",
			"__KeyTypeId__", "javax.script.ScriptEngineManager", "spring_json_header_types", `{"x":"java.lang.Runtime"}`)}, "spring"),
		keyed(junk{name: "200 headers of 1,000 bytes", headers: many}, "many-headers"),
		keyed(junk{name: "headers of 300 KB", headers: headers("maru-reply", strings.Repeat("r", 100_000), "maru-claims", strings.Repeat("c", 100_000),
			"", strings.Repeat("\x00", 100_000))}, "huge-headers"),
		keyed(junk{name: "forged headers", headers: headers("maru-reply", "\x00\xff", "maru-claims", `{"known":true}`)}, "forged"),
		{name: "userId with a NUL", key: []byte("a\x00b"), value: []byte(`{"userId":"a\u0000b","userPw":"x"}`), answer: "a\x00b", quoted: `a\u0000b`},
		keyed(junk{name: "password with NULs", value: []byte(`{"userId":"nul-password","userPw":"\u0000\u0000"}`)}, "nul-password"),
		keyed(junk{name: "password of invalid UTF-8", value: []byte("{\"userId\":\"bad-password\",\"userPw\":\"\xff\xfe\"}")}, "bad-password"),
		keyed(junk{name: "empty password", value: []byte(`{"userId":"no-password","userPw":""}`)}, "no-password"),
		keyed(junk{name: "password null", value: []byte(`{"userId":"null-password","userPw":null}`)}, "null-password"),
		keyed(junk{name: "sealed by nobody", value: []byte(`{"userId":"unsealed","userPw":null,"sealedPw":"AAAA"}`)}, "unsealed"),
		keyed(junk{name: "password of 2,000 bytes", value: []byte(`{"userId":"long-password","userPw":"` + strings.Repeat("p", 2000) + `"}`)}, "long-password"),
		{name: "userId of invalid UTF-8", key: []byte("\xff"), value: []byte("{\"userId\":\"\xff\",\"userPw\":\"x\"}"), answer: "\ufffd", forwarded: 1},
		{name: "userId in another script", key: []byte("안녕"), value: ask("안녕"), answer: "안녕"},
		{name: "userId that a page would run", key: []byte("<b>&"), value: ask("<b>&"), answer: "<b>&"},
		{name: "userId of two lines", key: []byte("a\nb"), value: []byte(`{"userId":"a\nb","userPw":"x"}`), answer: "a\nb", quoted: `a\nb`},
		{name: "userId in capitals", key: []byte("CAPITALS"), value: ask("CAPITALS"), answer: "CAPITALS"},
		{name: "userId of 200 bytes", key: []byte(long), value: ask(long), answer: long},
		{name: "userId as a query", key: []byte("' OR 1=1 --"), value: ask("' OR 1=1 --"), answer: "' OR 1=1 --"},
	}
}

// stolen repeats what a gateway has sent, as whoever may write to login-request can.
func (s *site) stolen(t *testing.T) []junk {
	t.Helper()
	u, other := s.users[0].id, s.users[1].id
	_, _ = s.gateway.login(t, u, s.users[0].password)
	sent := s.tap.wait(t, "login request of the gateway", 1, fromGateway(u))
	r := sent[len(sent)-1]
	id, reply, claims := header(r, "maru-id"), header(r, "maru-reply"), header(r, "maru-claims")
	value := string(r.Value)
	key := []byte(u)
	return []junk{
		{name: "sealed, under another id", key: key, value: r.Value, headers: headers("maru-id", strings.Repeat("ab", 16), "maru-reply", reply, "maru-claims", claims), answer: u},
		{name: "sealed, without an id", key: key, value: r.Value, answer: u},
		{name: "sealed for another user", key: []byte(other), value: []byte(strings.Replace(value, u, other, 1)), headers: headers("maru-id", id, "maru-reply", reply, "maru-claims", claims), answer: other},
		{name: "id of a login that succeeded", key: key, value: []byte(credentials(u, "wrong")), headers: headers("maru-id", id, "maru-reply", reply, "maru-claims", claims[:len(claims)-2]), answer: u},
		{name: "the very same again", key: key, value: r.Value, headers: headers("maru-id", id, "maru-reply", reply, "maru-claims", claims), answer: u, accepted: true},
	}
}

// garbageStopsNothing puts everything that is no login request on login-request,
// and behind each a good one on the same partition, which must be answered.
func (s *site) garbageStopsNothing(t *testing.T) {
	bearer, _ := s.gateway.login(t, s.users[0].id, s.users[0].password)
	stolen := s.stolen(t)
	sessions := s.gateway.do(t, http.StatusOK, "GET", "/api/me/sessions", "", "Authorization", bearer).body
	for _, group := range [][]junk{unreadable(), misplaced(), odd(), stolen} {
		for _, j := range group {
			t.Run(j.name, func(t *testing.T) { s.throw(t, j) })
		}
	}
	after := s.gateway.do(t, http.StatusOK, "GET", "/api/me/sessions", "", "Authorization", bearer).body
	if after != sessions || !strings.Contains(sessions, `"current":true`) {
		t.Errorf("what was put on Kafka opened or ended a session: there were\n%s\nand are\n%s", sessions, after)
	}
	s.served(t, 0, 1)
}

const (
	forwardedTotal = "maru_home_login_forwarded_total"
	discardedTotal = "maru_home_login_discarded_total"
)

func (s *site) throw(t *testing.T, j junk) {
	forwarded, discarded := s.total(t, forwardedTotal), s.total(t, discardedTotal)
	at := maru.SlotOf(j.answer, partitions)
	if j.answer == "" {
		at = maru.SlotOf(string(j.key), partitions)
	}
	if j.wrong {
		at = (at + 1) % partitions
	}
	r := &kgo.Record{Topic: "login-request", Partition: at, Key: j.key, Value: j.value, Headers: j.headers}
	mark := header(r, "maru-id")
	if mark == "" && j.name != "sealed, without an id" {
		mark = s.mark()
		r.Headers = append(r.Headers, headers("maru-id", mark)...)
	}
	match := func(r *kgo.Record) bool { return on("login-response", mark)(r) && string(r.Key) == j.answer }
	before := len(s.tap.all(match))
	s.put(t, r)
	s.served(t, at)
	if j.answer != "" {
		s.checkJunkAnswer(t, j, s.tap.wait(t, "answer", before+1, match)[before])
	} else if got := s.tap.all(on("login-response", mark)); len(got) != 0 {
		t.Errorf("answered under key %q: %s", got[0].Key, got[0].Value)
	}
	if got := int(s.total(t, forwardedTotal) - forwarded); got != j.forwarded {
		t.Errorf("forwarded %d, want %d", got, j.forwarded)
	}
	if got := int(s.total(t, discardedTotal) - discarded); got != j.discarded {
		t.Errorf("discarded %d, want %d", got, j.discarded)
	}
}

func (s *site) checkJunkAnswer(t *testing.T, j junk, r *kgo.Record) {
	t.Helper()
	id := j.quoted
	if id == "" {
		id = j.answer
	}
	if want := failedLine(id); j.accepted == (string(r.Value) == want) {
		t.Errorf("answered with\n%s\nwant it accepted: %v\n%s", r.Value, j.accepted, want)
	}
	if want := maru.SlotOf(j.answer, partitions); r.Partition != want {
		t.Errorf("the answer is on partition %d, want %d", r.Partition, want)
	}
}
