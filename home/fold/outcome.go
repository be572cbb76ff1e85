package fold

import (
	"encoding/json"

	"maru"
	"maru/record"
)

// Outcome is how a command of the last window ended; the same command again gets
// the same answer. The answer is kept whole: the profile that is in it may have
// changed since, and could not be made again byte for byte.
type Outcome struct {
	ID     maru.CommandID  `json:"id"`
	At     int64           `json:"at"`
	Code   maru.Code       `json:"code,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Bytes that outcomes are reckoned at, a little more than they take in the row.
const (
	outcomeSize = 96  // without code and result
	waiterSize  = 224 // of a command that waits: itself, with an address, and the outcome it will have
)

func (o *Outcome) size() int { return outcomeSize + len(o.Code) + len(o.Result) }

// remember adds the outcome of a command. All changes of Outcomes go through
// remember and forget, which keep count of the bytes.
func (u *User) remember(o Outcome) {
	u.Outcomes = append(u.Outcomes, o)
	u.held += o.size()
}

// forget drops the outcomes up to a time.
func (u *User) forget(upTo int64) {
	u.Outcomes = dropWhile(u.Outcomes, func(o Outcome) bool {
		passed := o.At <= upTo
		if passed {
			u.held -= o.size()
		}
		return passed
	})
}

// outcome returns how the command id ended, nil if it was not seen after since.
// There are few enough to look at each: they are bounded by their bytes.
func (u *User) outcome(id maru.CommandID, since int64) *Outcome {
	for i := len(u.Outcomes) - 1; i >= 0 && u.Outcomes[i].At > since; i-- { // a repeat follows soon
		if u.Outcomes[i].ID == id {
			return &u.Outcomes[i]
		}
	}
	return nil
}

// full refuses a change when the user has made too many within the window, or
// their outcomes would make the row too long: a checkpoint writes the whole row,
// however little of it has changed. The refusal is not remembered: there is no
// room, and the client is told to come back.
func (t *turn) full(u *User) bool {
	free := t.roomAt(u) - t.now(u)
	if free <= 0 {
		return false
	}
	t.reply(t.c.Reply, record.Reply{ID: t.c.ID, Code: maru.CodeTooMany, RetryAfterMS: free})
	return true
}

// roomAt is when there is room for one more outcome, 0 if there always was.
func (t *turn) roomAt(u *User) (at int64) {
	held, n := u.held, len(u.Outcomes)
	for i := range u.Pending {
		held += waiterSize * len(u.Pending[i].Waiters)
		n += len(u.Pending[i].Waiters)
	}
	for i := 0; held >= t.Rules.OutcomesBytes || n >= t.Rules.OutcomesMax; i++ {
		if i == len(u.Outcomes) { // what waits is enough to fill it
			return max(at, t.now(u)+busyRetryMS)
		}
		at = u.Outcomes[i].At + t.Rules.WindowMS
		held -= u.Outcomes[i].size()
		n--
	}
	return at
}
