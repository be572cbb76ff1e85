package fold

import (
	"encoding/json"
	"fmt"

	"maru/record"
)

// Era is how far Align moves the numbers of a stream: more than were ever given
// since the checkpoints it is told of.
const Era = int64(1) << 32

// Align begins every stream between slots anew, for checkpoints whose logs no
// longer are the ones they were taken from. states are all slots of a cluster, by
// number, and have no users resident.
//
// Where a log was cut, commands are gone whose numbers their source has given
// already, and those that it gives again are others. Either would be refused or
// dropped by the number for ever. So source and target agree on a number beyond
// all that are under way: what a log still has of before is dropped as a
// duplicate, and the next command follows. What is dropped with it, DropPending
// takes back at the other end.
func Align(states []*State) error {
	for i, s := range states {
		if s.Slot != int32(i) || int(s.Partitions) != len(states) {
			return fmt.Errorf("slot %d of %d is not number %d of %d", s.Slot, s.Partitions, i, len(states))
		}
	}
	for _, source := range states {
		for _, target := range states {
			n := max(source.Out[target.Slot], target.Marks[source.Slot]) + Era
			source.Out[target.Slot], target.Marks[source.Slot] = n, n
		}
	}
	return nil
}

// DropPending removes what a user waits for from other slots, from the State of a
// row; it tells whether there was any. Nobody is answered: who repeats the command
// begins it anew.
func DropPending(state []byte) ([]byte, bool, error) {
	if len(state) == 0 {
		return state, false, nil
	}
	var d details
	if err := json.Unmarshal(state, &d); err != nil {
		return nil, false, fmt.Errorf("stored state: %w", err)
	}
	if len(d.Pending) == 0 {
		return state, false, nil
	}
	d.Pending = nil
	return record.MustEncode(d), true, nil
}
