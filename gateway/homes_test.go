package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"maru"
	"maru/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asking is a question of alice, whose session the test home knows.
func (r *rig) asking(session string) record.Command {
	return record.Command{
		Kind: record.Ask, ID: maru.NewCommandID(), User: "alice", Session: session, Ask: &record.AskBody{What: record.AskMe},
	}
}

func wantCode(t *testing.T, err error, code maru.Code) *maru.Error {
	t.Helper()
	e := (*maru.Error)(nil)
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
	return e
}

func TestLostCommandIsSentAgainUnderItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := r.home.add("alice", "x")
		r.home.lose = func(_ maru.LogRecord, n int) bool { return n < 4 }
		start := time.Now()
		cmd := r.asking(session)
		reply, err := r.homes.Do(t.Context(), cmd)
		if err != nil || reply.Code != "" || reply.ID != cmd.ID {
			t.Fatalf("reply %+v, %v", reply, err)
		}
		if took := time.Since(start); took != 3*1500*time.Millisecond {
			t.Errorf("answered after %s, want three retries of 1.5 s", took)
		}
		first := r.home.records[0]
		for _, again := range r.home.records[1:] {
			if string(again.Value) != string(first.Value) || again.Partition != first.Partition {
				t.Errorf("sent again as %s, first as %s", again.Value, first.Value)
			}
		}
		if r.homes.Waiting() != 0 {
			t.Error("a command waits after its answer")
		}
	})
}

func TestCommandWithoutAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := r.home.add("alice", "x")
		r.home.lose = func(maru.LogRecord, int) bool { return true }
		start := time.Now()
		cmd := r.asking(session)
		_, err := r.homes.Do(t.Context(), cmd)
		e := wantCode(t, err, maru.CodeUnavailable)
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("given up after %s", took)
		}
		if e.RetryAfter <= 0 || !strings.Contains(e.Message, "outcome is unknown") {
			t.Errorf("error %+v does not say what to do", e)
		}
		if n := r.home.produced(); n != 7 { // at 0, 1.5, 3 … 9 s
			t.Errorf("sent %d times", n)
		}
		// The reply that comes after all finds nobody and does no harm.
		r.homes.HandleDelivery(delivery(testAddress, record.Reply{ID: cmd.ID}))
		if len(r.homes.calls) != 0 || r.homes.Waiting() != 0 {
			t.Error("the call was not forgotten")
		}
	})
}

func TestOneAnswerServesAllWhoWaitForAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := r.home.add("alice", "x")
		r.home.lose = func(_ maru.LogRecord, n int) bool { return n > 1 }
		r.home.delay = 200 * time.Millisecond
		cmd := r.asking(session)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				reply, err := r.homes.Do(t.Context(), cmd)
				if err != nil || reply.ID != cmd.ID {
					t.Errorf("reply %+v, %v", reply, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestFirstReplyWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := r.home.add("alice", "x")
		cmd := r.asking(session)
		r.home.lose = func(maru.LogRecord, int) bool {
			r.homes.HandleDelivery(delivery(testAddress, record.Reply{ID: cmd.ID, Message: "first"}))
			r.homes.HandleDelivery(delivery(testAddress, record.Reply{ID: cmd.ID, Message: "second"}))
			return true
		}
		reply, err := r.homes.Do(t.Context(), cmd)
		if err != nil || reply.Message != "first" {
			t.Fatalf("reply %+v, %v", reply, err)
		}
	})
}

func TestErrorOfTheLogIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := r.home.add("alice", "x")
		full := errors.New("buffer full")
		r.home.refuse = func(maru.LogRecord, int) error { return full }
		start := time.Now()
		_, err := r.homes.Do(t.Context(), r.asking(session))
		if wantCode(t, err, maru.CodeUnavailable); !errors.Is(err, full) || time.Since(start) != 0 {
			t.Errorf("error %v after %s", err, time.Since(start))
		}
		// A refusal with a code of its own is passed on.
		r.home.refuse = func(maru.LogRecord, int) error { return &maru.Error{Code: maru.CodeTooLarge} }
		_, err = r.homes.Do(t.Context(), r.asking(session))
		wantCode(t, err, maru.CodeTooLarge)
	})
}

func TestErrorOfARepetitionLeavesTheFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := r.home.add("alice", "x")
		r.home.delay = 2 * time.Second
		r.home.refuse = func(_ maru.LogRecord, n int) error {
			if n > 1 {
				return errors.New("buffer full")
			}
			return nil
		}
		if reply, err := r.homes.Do(t.Context(), r.asking(session)); err != nil || reply.Code != "" {
			t.Fatalf("reply %+v, %v: the first attempt was answered after 2 s", reply, err)
		}
	})
}

func TestCommandEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.home.lose = func(maru.LogRecord, int) bool { return true }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.homes.Do(ctx, r.asking("s")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
		if r.homes.Waiting() != 0 {
			t.Error("the call was not forgotten")
		}
	})
}

func TestWaitingCommandsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, h *HomesConfig) { h.MaxWaiting = 3 })
		r.home.lose = func(maru.LogRecord, int) bool { return true }
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := r.homes.Do(t.Context(), r.asking("s")); err == nil {
					t.Error("answered by nobody")
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		_, err := r.homes.Do(t.Context(), r.asking("s"))
		if wantCode(t, err, maru.CodeUnavailable); time.Since(start) != 0 {
			t.Error("the refusal had to be waited for")
		}
		if n := r.home.produced(); n != 3 {
			t.Errorf("%d records, the refused command was sent", n)
		}
		wg.Wait()
	})
}

func TestTooLargeCommandIsNotSent(t *testing.T) {
	r := newRig(t)
	cmd := r.asking("s")
	cmd.Ask.Users = []string{strings.Repeat("x", record.MaxSize)}
	_, err := r.homes.Do(t.Context(), cmd)
	wantCode(t, err, maru.CodeTooLarge)
	if r.home.produced() != 0 {
		t.Error("it was sent")
	}
}

func TestDrainWaitsForAnswersAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		session := r.home.add("alice", "x")
		r.home.delay = time.Second
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.homes.Do(t.Context(), r.asking(session)); err != nil {
				t.Errorf("a command under way: %v", err)
			}
		})
		synctest.Wait()
		start := time.Now()
		wg.Go(func() {
			if err := r.homes.Drain(t.Context()); err != nil || time.Since(start) != time.Second {
				t.Errorf("drained after %s: %v", time.Since(start), err)
			}
		})
		synctest.Wait()
		_, err := r.homes.Do(t.Context(), r.asking(session))
		wantCode(t, err, maru.CodeUnavailable)
		if r.homes.Ready() == nil {
			t.Error("ready while draining")
		}
		wg.Wait()
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.home.lose = func(maru.LogRecord, int) bool { return true }
		go r.homes.Do(t.Context(), r.asking("s"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.homes.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
		time.Sleep(10 * time.Second) // the command is given up, after Drain was
	})
}

func TestDeliveriesForOthersAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, h *HomesConfig) { h.Timeout = time.Second })
		cmd := r.asking("s")
		r.home.lose = func(maru.LogRecord, int) bool {
			reply := record.Reply{ID: cmd.ID}
			r.homes.HandleDelivery(delivery(record.Address{Gateway: "gw-2", Partition: 7}, reply))
			for _, value := range []string{"", "null", "{", `{"v":2,"to":"gw-1","reply":{"id":"` + cmd.ID.String() + `"}}`,
				`{"v":1,"to":"gw-1","event":{}}`, `{"v":1,"to":"gw-1","reply":{"id":"zz"}}`, `{"v":1,"to":"gw-1","reply":{}}`} {
				r.homes.HandleDelivery(maru.LogRecord{Value: []byte(value)})
			}
			return true
		}
		_, err := r.homes.Do(t.Context(), cmd)
		wantCode(t, err, maru.CodeUnavailable)
	})
}

func FuzzHandleDelivery(f *testing.F) {
	id := maru.NewCommandID()
	f.Add(delivery(testAddress, record.Reply{ID: id, Result: json.RawMessage(`{"a":1}`)}).Value)
	f.Add([]byte(`{"v":1,"to":"gw-1","beat":1}`))
	f.Add([]byte(`{"v":1,"to":"gw-1","beat":-9223372036854775808}`))
	f.Add([]byte(`{"v":1,"to":"gw-1","unknown":{"x":[]}}`))
	f.Add([]byte("{\"v\":1,\"to\":\"gw-1\"\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		h, err := NewHomes(HomesConfig{Log: &stuckLog{}, Partitions: 1, Topics: testTopics, Address: testAddress})
		if err != nil {
			t.Fatal(err)
		}
		c, err := h.enter(id)
		if err != nil {
			t.Fatal(err)
		}
		h.HandleDelivery(maru.LogRecord{Value: value})
		h.leave(id, c)
		if h.Ready() == nil {
			t.Error("ready, though no beat was sent")
		}
		select {
		case a := <-c.answer: // only a reply to this very command, addressed to this gateway
			d, err := record.ParseDelivery(value)
			if err != nil || d.To != testAddress.Gateway || d.Reply == nil || d.Reply.ID != id || a.err != nil {
				t.Errorf("%q was taken for the reply", value)
			}
		default:
		}
	})
}

func TestHomesConfigIsChecked(t *testing.T) {
	good := HomesConfig{Log: &stuckLog{}, Partitions: 1, Topics: testTopics, Address: testAddress}
	for name, spoil := range map[string]func(*HomesConfig){
		"log":        func(c *HomesConfig) { c.Log = nil },
		"partitions": func(c *HomesConfig) { c.Partitions = 0 },
		"id":         func(c *HomesConfig) { c.Address.Gateway = "" },
		"names":      func(c *HomesConfig) { c.Topics.Delivery = "" },
	} {
		bad := good
		spoil(&bad)
		if _, err := NewHomes(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
