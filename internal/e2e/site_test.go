package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"maru"
	"maru/internal/childproc"
	"maru/internal/realkafka"
)

// partitions is P of the reference set-up.
const partitions = 2

// topics are the names that other programs know.
var topics = []string{"login-request", "login-response", "commands", "delivery"}

// site is where the stories take place: brokers, a database, and the processes of
// maru on them. It belongs to one test.
type site struct {
	tools     *realkafka.Tools
	bootstrap string
	replicas  int
	brokers   *realkafka.Cluster // nil: the embedded broker
	dsn       string             // empty: SQLite
	sqlData   []string           // PostgreSQL's directories for it
	zone      *time.Location
	reach     []string // flags with which a command line reaches the site

	gateway *process
	homes   []*process // the gateway among them if it is one process
	tap     *tap
	foreign *kgo.Client // another program's producer, which chooses partitions itself
	users   [partitions]account
	serial  atomic.Int64
}

// account is a user and the password.
type account struct{ id, password string }

// join connects the test's own programs, once maru has made the topics.
func (s *site) join(t *testing.T) {
	t.Helper()
	seeds := strings.Split(s.bootstrap, ",")
	s.tap = newTap(t, seeds, topics...)
	s.foreign = client(t, seeds, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(8<<20))
}

// embeddedSite starts maru as `maru` alone does, but for ports and P.
func embeddedSite(t *testing.T) *site {
	t.Helper()
	realkafka.Require(t)
	tools, err := realkafka.NewTools()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	s := &site{tools: tools, bootstrap: freeAddress(t), replicas: 1, zone: safeZone(t, false), reach: []string{"--data", data}}
	s.gateway = serve(t, "solo", data, "--kafka-listen", s.bootstrap, "--partitions", strconv.Itoa(partitions),
		"--time-zone", s.zone.String(), "--registrations", "0", "--failed-logins", "0")
	s.homes = []*process{s.gateway}
	s.join(t)
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ports, err := childproc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
}

// safeZone returns a time zone in which the day does not change while a test
// runs, and with other a zone in which it is another day than in UTC, so that a
// date of the wrong zone is found out at any hour.
func safeZone(t *testing.T, other bool) *time.Location {
	t.Helper()
	for _, name := range []string{"Asia/Seoul", "UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		today, later, utc := now.In(zone), now.Add(10*time.Minute).In(zone), now.UTC()
		if today.Day() == later.Day() && (!other || today.Day() != utc.Day()) {
			return zone
		}
	}
	t.Fatal("no time zone fits") // Kiritimati is ahead of UTC from 10:00 on, Pago Pago behind it until 11:00
	return nil
}

// today is a date as the login pair writes it.
func (s *site) today() string {
	y, m, d := time.Now().In(s.zone).Date()
	return fmt.Sprintf("[%d,%d,%d]", y, int(m), d)
}

// failedLine is the answer to a failed login, as in the contract. The id is one
// that JSON does not escape.
func failedLine(id string) string {
	return `{"requestUserID":"` + id + `","isAccept":false,"user":{"userId":null,"userPw":null,"email":null,"userName":null,"userStatus":null,"joinDate":null,"loginDate":null,"logoutDate":null}}`
}

// tool runs a console tool of Kafka against the site.
func (s *site) tool(t *testing.T, input, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return s.toolAt(t, s.bootstrap, input, name, args...)
}

// toolAt runs a console tool against one broker.
func (s *site) toolAt(t *testing.T, bootstrap, input, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return s.tools.ToolInput(ctx, strings.NewReader(input), name, append([]string{"--bootstrap-server", bootstrap}, args...)...)
}

// mustTool runs a console tool that succeeds and returns what it wrote.
func (s *site) mustTool(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	out, _, err := s.tool(t, input, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// put writes a record as another program would, to the partition it names.
func (s *site) put(t *testing.T, r *kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.foreign.ProduceSync(ctx, r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// mark is an id for a request, to know its answer by.
func (s *site) mark() string { return fmt.Sprint("mark-", s.serial.Add(1)) }

// served makes sure that logins of both partitions are answered: a good request
// is put behind whatever is there and accepted.
func (s *site) served(t *testing.T, where ...int32) {
	t.Helper()
	for _, n := range where {
		u, mark := s.users[n], s.mark()
		s.put(t, &kgo.Record{
			Topic: "login-request", Partition: n, Key: []byte(u.id), Value: []byte(credentials(u.id, u.password)),
			Headers: []kgo.RecordHeader{{Key: "maru-id", Value: []byte(mark)}},
		})
		r := s.tap.wait(t, "answer to a good request on partition "+strconv.Itoa(int(n)), 1, on("login-response", mark))[0]
		if !bytes.HasPrefix(r.Value, []byte(`{"requestUserID":"`+u.id+`","isAccept":true,`)) || string(r.Key) != u.id || r.Partition != n {
			t.Fatalf("a good request on partition %d is answered with key %s on partition %d: %s", n, r.Key, r.Partition, r.Value)
		}
	}
}

// total is the sum of a figure over all homes.
func (s *site) total(t *testing.T, metric string) (sum float64) {
	t.Helper()
	for _, h := range s.homes {
		sum += h.metric(t, metric)
	}
	return sum
}

// homeOf is the partition of a user.
func homeOf(user string) int32 { return maru.SlotOf(user, partitions) }

// homeOn is a user id that lives on partition n.
func homeOn(n int32, prefix string) string {
	for i := 0; ; i++ {
		if id := prefix + strconv.Itoa(i); homeOf(id) == n {
			return id
		}
	}
}

// exitStatus is the status of a tool that ended with err, -1 when it did not end
// by itself.
func exitStatus(err error) int {
	var exit interface{ ExitCode() int }
	if !errors.As(err, &exit) {
		return -1
	}
	return exit.ExitCode()
}
