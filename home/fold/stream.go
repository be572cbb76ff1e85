package fold

import (
	"maru"
	"maru/internal/faultswitch"
	"maru/record"
)

// accept decides on a command from another slot by its number in the stream from
// there: the successor is accepted, what was accepted before is dropped, and a
// number beyond is refused. A plain high-water mark would lose commands: when
// Kafka refuses an output for good, later ones still arrive before the source
// notices, starts over at its checkpoint and sends the missing one again.
//
// So is a kind that these rules do not know: accepted, it could only be skipped, and
// would be lost. The stream stands still, and is counted, until it is sent again to
// rules that know it.
func (t *turn) accept(c *record.Command) bool {
	from := c.From
	if from.Slot < 0 || from.Slot >= t.Partitions {
		t.Skipped = true
		return false
	}
	mark := &t.Marks[from.Slot]
	switch {
	case t.Off.Off(faultswitch.Inbox):
	case from.N <= *mark:
		t.Duplicate = true
		return false
	case from.N > *mark+1 && !t.Off.Off(faultswitch.DenseInbox), !t.knows(c.Kind):
		t.Gap = true
		return false
	}
	*mark = from.N
	return true
}

// knows tells whether commands of the kind are applied at the slot's version of the rules.
func (t *turn) knows(kind record.Kind) bool {
	h, ok := handlers[kind]
	return ok && h.since <= t.Rules.Version
}

// send emits a command to the home of another user, in the stream to its slot.
func (t *turn) send(kind record.Kind, to string, body record.FriendBody) {
	slot := maru.SlotOf(to, t.Partitions)
	t.Out[slot]++
	t.Outputs = append(t.Outputs, Output{
		Topic: ToCommands, Partition: slot, Key: to, Time: t.in.Time,
		Value: record.MustEncode(record.Command{
			V: record.Version, Kind: kind, User: to, Friend: &body,
			From: &record.Stream{Cause: t.cause(), N: t.Out[slot]},
		}),
	})
}
