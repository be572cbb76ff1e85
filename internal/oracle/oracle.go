// Package oracle says what a cluster must have stored and published: it folds the
// whole log from its first record and compares the result with the rows of SQL and
// with every record on the topics.
//
// It knows neither processes nor clients: tests stop a cluster, take a View of what
// it left behind, and ask. It is for tests only.
package oracle

import (
	"fmt"

	"maru"
	"maru/home/fold"
	"maru/record"
)

// View is everything that a cluster has left behind. Records are those of each
// partition in order.
type View struct {
	Partitions int32 // of all topics but Delivery
	Shards     int32 // partitions of Delivery

	Commands, Delivery, LoginRequest, LoginResponse map[int32][]maru.LogRecord

	// Trimmed names the partitions of Delivery whose oldest records were deleted:
	// what is missing there is not held against the homes.
	Trimmed map[int32]bool

	Slots []maru.SlotRow
	Users []maru.UserRow
}

// Check compares everything with everything and returns what it found, at most
// some twenty sentences: one broken step breaks everything.
func (v *View) Check() []string {
	f := &findings{}
	slots := v.fold(f)
	v.checkSlots(f, slots)
	v.checkRows(f, slots)
	v.checkOutputs(f, slots)
	v.checkAnswers(f, slots)
	checkStreams(f, slots)
	v.checkLogins(f)
	v.checkFriends(f)
	if f.more > 0 {
		f.list = append(f.list, fmt.Sprintf("and %d more", f.more))
	}
	return f.list
}

// findings are bounded.
type findings struct {
	list []string
	more int
}

func (f *findings) add(format string, args ...any) {
	if len(f.list) < 20 {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	} else {
		f.more++
	}
}

// folded is a slot as its whole log makes it.
type folded struct {
	state   *fold.State
	next    int64
	outputs map[record.Cause]fold.Output
	answers map[string]bool // of login-response: key, id and value
}

// fold folds every slot from its first record, everything resident.
func (v *View) fold(f *findings) map[int32]*folded {
	slots := map[int32]*folded{}
	for n := range v.Partitions {
		o := &folded{state: fold.New(n, v.Partitions, v.Shards), outputs: map[record.Cause]fold.Output{}, answers: map[string]bool{}}
		slots[n] = o
		for _, r := range v.Commands[n] {
			o.apply(f, n, r)
		}
	}
	return slots
}

func (o *folded) apply(f *findings, n int32, r maru.LogRecord) {
	if r.Offset != o.next {
		f.add("slot %d: offset %d after %d", n, r.Offset, o.next)
	}
	cmd, err := record.ParseCommand(r.Value)
	if err != nil {
		f.add("slot %d offset %d: %v", n, r.Offset, err)
	} else {
		o.state.Needs(cmd, func(id string) {
			if o.state.Users[id] == nil {
				o.state.RestoreAbsent(id)
			}
		})
	}
	e := o.state.Apply(fold.Input{Offset: r.Offset, Time: r.Time, Command: cmd})
	for i, out := range e.Outputs {
		if out.Topic == fold.ToLoginResponse {
			o.answers[answerKey([]byte(out.Key), out.ID, out.Value)] = true
		} else {
			o.outputs[record.Cause{Slot: n, Offset: r.Offset, Index: i}] = out
		}
	}
	o.next = r.Offset + 1
}

func answerKey(key []byte, id string, value []byte) string {
	return fmt.Sprintf("%s|%s|%s", key, id, value)
}
