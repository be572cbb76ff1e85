package embedded

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wholeFrame puts the size before a request body.
func wholeFrame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// FuzzDecode: what decode accepts, encode writes so that it means the same.
func FuzzDecode(f *testing.F) {
	for key := range outsideKeys {
		req := kmsg.RequestForKey(int16(key))
		for v := range req.MaxVersion() + 1 {
			req.SetVersion(v)
			f.Add([]byte(request{Request: req, clientID: ptr("tool")}.encode()))
		}
	}
	f.Add(wholeFrame([]byte{0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < frameHeader || len(b) > maxFrame {
			return
		}
		known := kmsg.RequestForKey(frame(b).key())
		if known == nil || frame(b).version() < 0 || frame(b).version() > known.MaxVersion() {
			return // gates look at that first
		}
		if known.SetVersion(frame(b).version()); known.IsFlexible() && hugeCount(b) {
			return
		}
		req, err := decode(frame(b))
		if err != nil {
			return
		}
		once := req.encode()
		again, err := decode(once)
		if err != nil {
			t.Fatalf("not readable any more: %v\n%x\n%x", err, b, once)
		}
		if twice := again.encode(); string(twice) != string(once) {
			t.Fatalf("not the same:\n%x\n%x", once, twice)
		}
	})
}

// hugeCount tells whether a number could be read somewhere that keeps kmsg busy
// for seconds (K10), which a fuzzer takes for a hang.
func hugeCount(b []byte) bool {
	for i := range b {
		if n, used := binary.Uvarint(b[i:]); used != 0 && n > 1<<22 {
			return true
		}
	}
	return false
}

// FuzzGate sends requests through a gate from outside to kfake. Whatever comes,
// the process lives, protected topics stay as they are, and inside clients are
// served.
func FuzzGate(f *testing.F) {
	b, err := Start(f.Context(), Config{Protected: []string{"commands"}, ProtectedGroups: []string{"homes"}, Logger: testLog(f)})
	if err != nil {
		f.Fatal(err)
	}
	defer b.Close()
	cl := insideClient(f, b)
	defer cl.Close()
	createTopic(f, cl, "commands", 1, nil)
	createTopic(f, cl, "talk", 1, nil)
	produce(f, cl, "commands", 3)
	before := span(f, b, "commands")

	for key := range outsideKeys {
		req := kmsg.RequestForKey(int16(key))
		for v := range req.MaxVersion() + 1 {
			req.SetVersion(v)
			f.Add([]byte(request{Request: req}.encode()), []byte(nil))
		}
	}
	for _, name := range []string{"commands", "talk"} {
		for _, req := range seedRequests(name) {
			f.Add([]byte(request{Request: req, clientID: ptr("tool")}.encode()), newBatch(time.Now(), "a"))
		}
	}
	f.Fuzz(func(t *testing.T, first, records []byte) {
		client := outsidePipe(t, b)
		defer client.Close()
		second := request{Request: seedProduce("talk", records), corr: 2}.encode()
		last := request{Request: kmsg.NewPtrApiVersionsRequest(), corr: 77}.encode()
		go func() {
			for _, f := range []frame{first, second, last} {
				if _, err := client.Write(f); err != nil {
					return
				}
			}
		}()
		// Some requests wait, such as a Fetch or a JoinGroup: not for long here.
		client.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for {
			body, err := readAnswer(client)
			if err != nil || binary.BigEndian.Uint32(body) == 77 {
				break
			}
		}
		if got := span(t, b, "commands"); got != before {
			t.Fatalf("commands changed to %v by %x", got, first)
		}
		if state, _ := b.Disk(); state != DiskOK {
			t.Fatal(state)
		}
	})
}

// outsidePipe is a connection from outside without TCP.
func outsidePipe(t testing.TB, b *Broker) net.Conn {
	t.Helper()
	client, server := newPipe(b.doors[0].addr)
	if !b.doors[0].seats.take() {
		t.Fatal("no seat")
	}
	if err := b.doors[0].admit(t.Context(), server, true, false); err != nil {
		t.Fatal(err)
	}
	return client
}

// readAnswer reads one answer without its size.
func readAnswer(r io.Reader) ([]byte, error) {
	var size [sizeBytes]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, body)
	return body, err
}

// seedRequests are requests that mean something for a topic.
func seedRequests(topic string) []kmsg.Request {
	create := kmsg.NewPtrCreateTopicsRequest()
	ct := kmsg.NewCreateTopicsRequestTopic()
	ct.Topic, ct.NumPartitions, ct.ReplicationFactor = topic, 1, 1
	create.Topics = append(create.Topics, ct)
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.TopicNames = []string{topic}
	records := kmsg.NewPtrDeleteRecordsRequest()
	dt := kmsg.NewDeleteRecordsRequestTopic()
	dp := kmsg.NewDeleteRecordsRequestTopicPartition()
	dp.Offset = -1
	dt.Topic, dt.Partitions = topic, append(dt.Partitions, dp)
	records.Topics = append(records.Topics, dt)
	list := kmsg.NewPtrListOffsetsRequest()
	lt := kmsg.NewListOffsetsRequestTopic()
	lp := kmsg.NewListOffsetsRequestTopicPartition()
	lp.Timestamp = 1
	lt.Topic, lt.Partitions = topic, append(lt.Partitions, lp)
	list.Topics = append(list.Topics, lt)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.ProtocolType, join.SessionTimeoutMillis = "homes", "consumer", 6000
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	ar := kmsg.NewIncrementalAlterConfigsRequestResource()
	ar.ResourceType, ar.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	ac := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	ac.Name, ac.Value = "retention.ms", ptr("1")
	ar.Configs = append(ar.Configs, ac)
	alter.Resources = append(alter.Resources, ar)
	produce := seedProduce(topic, newBatch(time.Now(), "a", "b"))
	requests := []kmsg.Request{create, remove, records, list, join, alter, produce}
	for i, v := range []int16{4, 4, 1, 6, 5, 0, 9} {
		requests[i].SetVersion(v)
	}
	return requests
}

func seedProduce(topic string, records []byte) kmsg.Request {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks = 9, -1
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// TestHalfSentFrames: whoever stops in the middle of a request loses the
// connection and gives back what the request held.
func TestHalfSentFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBroker(t, Config{})
		for i, send := range [][]byte{{0}, {0, 0, 1, 0, 0, 3, 0, 4, 0, 0, 0, 1, 0}, wholeFrame(make([]byte, 7))} {
			client := outsidePipe(t, b)
			if _, err := client.Write(send); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := client.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("case %d: %v", i, err)
			}
			if d := time.Since(began); d > frameTimeout+time.Second {
				t.Errorf("case %d: cut off after %s", i, d)
			}
			client.Close()
		}
		idle := outsidePipe(t, b)
		began := time.Now()
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF || time.Since(began) > idleTimeout+time.Second {
			t.Errorf("idle connection: %v after %s", err, time.Since(began))
		}
		idle.Close()
		// One whose request is under way when its client goes.
		createTopic(t, insideClient(t, b), "talk", 1, nil)
		fetch := kmsg.NewPtrFetchRequest()
		fetch.Version, fetch.MaxWaitMillis, fetch.MinBytes, fetch.MaxBytes = 11, 20_000, 1, 1<<20
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic, ft.Partitions = "talk", append(ft.Partitions, kmsg.NewFetchRequestTopicPartition())
		fetch.Topics = append(fetch.Topics, ft)
		waiting := outsidePipe(t, b)
		if _, err := waiting.Write(request{Request: fetch}.encode()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.rules.frames.TryAcquire(maxFramesHeld) {
			t.Fatal("the fetch is not under way")
		}
		waiting.Close()
		synctest.Wait()
		if !b.rules.frames.TryAcquire(maxFramesHeld) {
			t.Error("the frame budget was not given back")
		}
		b.rules.frames.Release(maxFramesHeld)
		seats := b.doors[0].seats
		seats.mu.Lock()
		defer seats.mu.Unlock()
		if seats.taken != 0 {
			t.Errorf("%d seats taken", seats.taken)
		}
	})
}

// TestAnswersKeepTheirOrder: requests sent without waiting are answered in the
// order they came, whether by kfake or by the gate.
func TestAnswersKeepTheirOrder(t *testing.T) {
	b := startBroker(t, Config{Listen: "127.0.0.1:0", Protected: []string{"commands"}})
	createTopic(t, insideClient(t, b), "talk", 1, nil)
	conn, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	const n = 200
	var all []byte
	for i := range int32(n) {
		topic := []string{"talk", "commands"}[i%2]
		all = append(all, request{Request: seedProduce(topic, newBatch(time.Now(), strconv.Itoa(int(i)))), corr: i}.encode()...)
	}
	sent := make(chan error, 1)
	go func() { _, err := conn.Write(all); sent <- err }()
	for i := range int32(n) {
		body, err := readAnswer(conn)
		if err != nil {
			t.Fatal(err)
		}
		if got := int32(binary.BigEndian.Uint32(body)); got != i {
			t.Fatalf("answer to request %d came as number %d", got, i)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}
