package kafka

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maru"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// inbox collects what a Delivery hands on.
type inbox struct {
	mu     sync.Mutex // guards what follows, for the time of an access
	values []string
	lost   []error
}

func (in *inbox) handle(r maru.LogRecord) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.values = append(in.values, string(r.Value))
}

func (in *inbox) gone(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lost = append(in.lost, err)
}

func (in *inbox) got() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.values)
}

func (in *inbox) losses() []error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.lost)
}

func (in *inbox) open(t *testing.T, c Conn) *Delivery {
	t.Helper()
	d, err := OpenDelivery(t.Context(), c, deliveryTopic, 1, in.handle, in.gone)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The leader of a partition that was just made does not know of it for a moment,
// although the metadata name it. A gateway that starts meanwhile waits.
func TestDeliveryWaitsForTheLeaderOfANewTopic(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, deliveryTopic, 4, 1, nil)
		b.put(t, deliveryTopic, 1, "before")
		left := 3
		b.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
			if left == 0 {
				return nil, nil, false
			}
			left--
			b.KeepControl()
			asked := r.(*kmsg.ListOffsetsRequest).Topics[0]
			p := kmsg.NewListOffsetsResponseTopicPartition()
			p.Partition, p.ErrorCode = asked.Partitions[0].Partition, kerr.UnknownTopicOrPartition.Code
			resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
			resp.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: asked.Topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{p}}}
			return resp, nil, true
		})
		var in inbox
		d := in.open(t, b.link("gateway").conn(t))
		defer d.Close()
		if next, _ := d.Position(); next != 1 || left != 0 {
			t.Errorf("delivery is open at %d with %d refusals left, want 1 and none", next, left)
		}
	})
}

// A record that is written right after OpenDelivery returned is read (hazard 2
// of ownership: a reader that starts at the end without listing it missed every
// first reply). The fetch is held back until the record is there.
func TestDeliveryMissesNothingAfterItIsOpen(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, deliveryTopic, 4, 1, nil)
		b.put(t, deliveryTopic, 1, "before")
		l := b.link("gateway")
		var in inbox
		d := in.open(t, l.conn(t))
		defer d.Close()
		l.hold() // before any fetch was answered
		b.put(t, deliveryTopic, 1, "first", "second")
		b.put(t, deliveryTopic, 2, "for another partition")
		l.resume()
		within(t, 5*time.Second, "both replies", func() bool { return len(in.got()) >= 2 })
		synctest.Wait()
		if got := in.got(); !slices.Equal(got, []string{"first", "second"}) {
			t.Errorf("got %v", got)
		}
		if next, end := d.Position(); next != 3 || end != 3 {
			t.Errorf("position %d of %d, want 3 of 3", next, end)
		}
	})
}

func TestDeliverySurvivesABrokenConnection(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, deliveryTopic, 4, 1, nil)
		l := b.link("gateway")
		var in inbox
		d := in.open(t, l.conn(t))
		defer d.Close()
		b.put(t, deliveryTopic, 1, "one")
		within(t, 5*time.Second, "one", func() bool { return len(in.got()) == 1 })
		l.cut()
		b.put(t, deliveryTopic, 1, "two")
		time.Sleep(20 * time.Second)
		l.mend()
		within(t, 10*time.Second, "two", func() bool { return len(in.got()) == 2 })
		if len(in.losses()) > 0 {
			t.Errorf("lost: %v", in.losses())
		}
	})
}

func TestDeliveryTellsThatItsPlaceIsLost(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, deliveryTopic, 4, 1, nil)
		l := b.link("gateway")
		var in inbox
		d := in.open(t, l.conn(t))
		defer d.Close()
		l.cut()
		b.put(t, deliveryTopic, 1, "one", "two", "three")
		if _, err := a.Trim(t.Context(), deliveryTopic, 1, 2); err != nil {
			t.Fatal(err)
		}
		l.mend()
		within(t, 10*time.Second, "the loss is told", func() bool { return len(in.losses()) > 0 })
		time.Sleep(time.Minute)
		if ls := in.losses(); len(ls) != 1 || !strings.Contains(ls[0].Error(), "delivery partition 1") {
			t.Errorf("told %v, want one loss that names topic and partition", ls)
		}
		if len(in.got()) > 0 {
			t.Errorf("records after the loss: %v", in.got())
		}
	})
}

func TestDeliveryIgnoresAnErrorThatPasses(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		create(t, a, deliveryTopic, 4, 1, nil)
		b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: deliveryTopic, Err: kerr.TopicAuthorizationFailed, Count: 3})
		var in inbox
		d := in.open(t, b.conn(t))
		defer d.Close()
		b.put(t, deliveryTopic, 1, "one")
		within(t, 20*time.Second, "one", func() bool { return len(in.got()) == 1 })
		if len(in.losses()) > 0 {
			t.Errorf("lost: %v", in.losses())
		}
	})
}

func TestDeliveryCannotOpenWithoutItsTopic(t *testing.T) {
	bubble(t, 1, func(t *testing.T, b *broker, a *Admin) {
		var in inbox
		if d, err := OpenDelivery(t.Context(), b.conn(t), deliveryTopic, 1, in.handle, in.gone); err == nil {
			d.Close()
			t.Error("no error for a topic that does not exist")
		}
	})
}
