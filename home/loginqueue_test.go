package home

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"maru"
	"maru/record"
)

func TestRetryWhileTheCheckRunsIsHashedOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		release := r.block()
		id := r.id()
		for range 3 { // a gateway repeats what is not answered
			r.gatewayLogin(id, "a", "pw of a", r.keys)
			r.sleep(time.Second)
		}
		if _, at, _ := r.store.saved(); at != 0 {
			t.Errorf("position %d before the first answer", at)
		}
		release()
		r.sleep(time.Second)
		if n := r.hashes() - 2; n != 1 {
			t.Errorf("hashed %d times", n)
		}
		if _, at, _ := r.store.saved(); at != 3 || len(r.replies(id)) != 1 || r.kinds()[record.LoginChecked] != 1 {
			t.Errorf("position %d, replies %+v", at, r.replies(id))
		}
		r.gatewayLogin(id, "a", "pw of a", r.keys)
		r.sleep(time.Second)
		if re := r.replies(id); len(re) != 2 || string(re[0].Result) != string(re[1].Result) {
			t.Errorf("the same id again: %+v", re)
		}
	})
}

// A check may be lost without a word. A gateway that goes on repeating its request
// gets it checked again, however often it repeats.
func TestRetryOfALostCheck(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		release := r.block()
		defer release()
		for range r.keys.pool.Stats().QueueLimit { // the check waits behind these
			if err := r.keys.pool.Submit(t.Context(), func(error) {}); err != nil {
				t.Fatal(err)
			}
		}
		id := r.id()
		lost := 0
		r.log.produce = func(rec *maru.LogRecord) error {
			if c, err := record.ParseCommand(rec.Value); err == nil && c.Kind == record.LoginChecked {
				if lost++; lost == 1 {
					rec.Topic = "nowhere"
				}
			}
			return nil
		}
		for range 9 { // busy: the results come at once
			r.gatewayLogin(id, "a", "pw of a", r.keys)
			r.sleep(time.Second)
		}
		if re := r.replies(id); lost < 2 || len(re) == 0 {
			t.Errorf("checked %d times, replies %+v", lost, re)
		}
	})
}

func TestPositionStaysBehindTheOldestUnanswered(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		release := r.block()
		r.request("a", plain("a", "pw of a"))
		r.request("a", "garbage") // answered at once
		r.request(theirs(), plain(theirs(), "x"))
		r.sleep(time.Second)
		if n := len(r.answers()); n != 1 {
			t.Fatalf("%d answers", n)
		}
		if _, at, _ := r.store.saved(); at != 0 {
			t.Errorf("position %d: a crash would lose the first request", at)
		}
		release()
		r.sleep(time.Second)
		if _, at, _ := r.store.saved(); at != 3 || len(r.answers()) != 2 {
			t.Errorf("position %d, answers %+v", at, r.answers())
		}
	})
}

// A predecessor has answered, and crashed before its checkpoint: the successor meets
// the answer in the log and does not check again.
func TestAnsweredByAPredecessor(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		r.store.before = func(_ context.Context, call string, _ *maru.Checkpoint) error {
			if call == "checkpoint" {
				return errSQL
			}
			return nil
		}
		id := r.id()
		r.gatewayLogin(id, "a", "pw of a", r.keys)
		r.request("a", plain("a", "guess"))
		r.sleep(time.Second)
		hashes := r.hashes()
		r.home.Release([]Lease{r.lease}, false)
		r.store.before = nil
		r.claim()
		r.sleep(time.Second)
		if n := r.hashes() - hashes; n != 0 || r.kinds()[record.LoginChecked] != 2 {
			t.Errorf("%d hashes, %v", n, r.kinds())
		}
		all := r.answers()
		if len(all) != 4 || string(all[0].rec.Value) != string(all[2].rec.Value) || string(all[1].rec.Value) != string(all[3].rec.Value) {
			t.Errorf("answers %+v: the same twice is what a crash may cost", all)
		}
		if _, at, _ := r.store.saved(); at != 2 {
			t.Errorf("position %d", at)
		}
	})
}

// The predecessor crashed between the check and its result: nothing is lost.
func TestUnansweredByAPredecessor(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		release := r.block()
		id := r.id()
		r.gatewayLogin(id, "a", "pw of a", r.keys)
		r.sleep(time.Second)
		r.home.Release([]Lease{r.lease}, false)
		release()
		if r.kinds()[record.LoginChecked] != 0 {
			t.Fatalf("a slot that was given up writes to its log: %v", r.kinds())
		}
		r.claim()
		r.sleep(time.Second)
		if re := r.replies(id); len(re) != 1 || re[0].Code != "" {
			t.Errorf("replies %+v", re)
		}
	})
}

func TestCredentialChangedDuringTheCheck(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		hash, err := r.keys.hasher.Hash([]byte("new"))
		if err != nil {
			t.Fatal(err)
		}
		release := r.block()
		old, young := r.id(), r.id()
		r.gatewayLogin(old, "a", "pw of a", r.keys)
		r.gatewayLogin(young, "a", "new", r.keys)
		synctest.Wait()
		r.put(record.Command{Kind: record.PasswordSet, ID: r.id(), User: "a", PasswordSet: &record.PasswordSetBody{Password: hash}})
		r.sleep(time.Second)
		release()
		r.sleep(time.Second)
		if re := r.replies(old); len(re) != 1 || re[0].Code != maru.CodeLoginFailed {
			t.Errorf("the old password: %+v", re)
		}
		if re := r.replies(young); len(re) != 1 || re[0].Code != "" {
			t.Errorf("the new password: %+v", re)
		}
		if _, at, _ := r.store.saved(); at != 2 || r.kinds()[record.LoginChecked] != 4 {
			t.Errorf("position %d, %v", at, r.kinds())
		}
	})
}

func TestWhatIsHashed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		login := func(user, password string, want int, why string) {
			t.Helper()
			before := r.hashes()
			r.request(user, plain(user, password))
			r.sleep(time.Second)
			if n := r.hashes() - before; n != want {
				t.Errorf("%s: %d hashes, want %d", why, n, want)
			}
		}
		login("a", "pw of a", 1, "the first login")
		login("a", "pw of a", 0, "a remembered password")
		login("a", "guess", 1, "a wrong password")
		login(mine(7), "guess", 1, "an id that nobody has costs as much")
		for range 4 {
			login("a", "guess", 1, "a wrong password")
			login(mine(7), "guess", 1, "nobody's")
		}
		login("a", "pw of a", 0, "a locked account")
		login(mine(7), "guess", 0, "a locked id that nobody has")
		if last := r.answers(); last[len(last)-1].IsAccept || last[len(last)-2].IsAccept {
			t.Error("a locked account was opened")
		}
	})
}

func TestBusyIsAnswered(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		release := r.block()
		limit := r.keys.pool.Stats().QueueLimit
		ids := make([]maru.CommandID, limit+3)
		for i := range ids {
			ids[i] = r.id()
			r.gatewayLogin(ids[i], "a", "pw of a", r.keys)
		}
		r.sleep(time.Second)
		for i, id := range ids {
			re := r.replies(id)
			if i < limit && len(re) != 0 {
				t.Errorf("%d is answered %+v while it waits", i, re)
			}
			if i >= limit && (len(re) != 1 || re[0].Code != maru.CodeTooMany || re[0].RetryAfterMS <= 0) {
				t.Errorf("%d of %d: %+v", i, limit, re)
			}
		}
		release()
		r.sleep(time.Second)
		if re := r.replies(ids[0]); len(re) != 1 || re[0].Code != "" {
			t.Errorf("the first: %+v", re)
		}
	})
}

// The fixed answer knows only right and wrong: a program that asks while too many
// checks wait is answered when its password was looked at, and not before.
func TestBusyIsNotAnsweredToOtherPrograms(t *testing.T) {
	inBubble(t, func(c *Config) { c.MaxResident = 1 }, func(t *testing.T, r *rig) {
		r.register("a")
		r.sleep(time.Second)
		release := r.block()
		const all = 200
		for range all {
			r.request("a", plain("a", "pw of a"))
		}
		r.sleep(10 * time.Second)
		if n := len(r.answers()); n != 0 {
			t.Errorf("%d answers though no password was looked at", n)
		}
		if _, at, _ := r.store.saved(); at != 0 {
			t.Errorf("position %d", at)
		}
		release()
		r.sleep(10 * time.Second)
		for _, a := range r.answers() {
			if !a.IsAccept {
				t.Fatalf("a right password is answered %s", a.rec.Value)
			}
		}
		if _, at, _ := r.store.saved(); at != all || len(r.answers()) != all {
			t.Errorf("position %d, %d answers", at, len(r.answers()))
		}
	})
}

func TestPasswordChange(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.register("a")
		login := r.id()
		r.gatewayLogin(login, "a", "pw of a", r.keys)
		r.sleep(time.Second)
		hash, err := r.keys.hasher.Hash([]byte("new"))
		if err != nil {
			t.Fatal(err)
		}
		change := func(id, sealedFor maru.CommandID, old string) {
			sealed, err := r.keys.sealer.Seal("a", sealedFor.String(), []byte(old))
			if err != nil {
				t.Fatal(err)
			}
			r.put(record.Command{
				Kind: record.PasswordChange, ID: id, User: "a", Session: login.Session(), Reply: &record.Address{Gateway: "g"},
				PasswordChange: &record.PasswordChangeBody{Sealed: sealed, Password: hash},
			})
		}
		want := func(id maru.CommandID, code maru.Code) {
			t.Helper()
			if re := r.replies(id); len(re) != 1 || re[0].Code != code {
				t.Errorf("replies %+v, want %q", re, code)
			}
		}
		wrong, unreadable, right := r.id(), r.id(), r.id()
		change(wrong, wrong, "guess")
		change(unreadable, right, "pw of a")
		r.sleep(time.Second)
		want(wrong, maru.CodeInvalidPassword)
		want(unreadable, maru.CodeInvalidPassword)
		release := r.block()
		wrong2 := r.id()
		for range 3 {
			change(wrong2, wrong2, "guess")
			r.sleep(time.Second)
		}
		release()
		r.sleep(time.Second)
		want(wrong2, maru.CodeInvalidPassword)
		if n := r.kinds()[record.PasswordChecked]; n != 3 {
			t.Errorf("%d checks: a command repeated while it is checked is checked once", n)
		}
		change(right, right, "pw of a")
		r.sleep(time.Second)
		want(right, "")
		if v := r.store.users["a"].CredentialVersion; v != 2 {
			t.Errorf("version %d", v)
		}
	})
}
