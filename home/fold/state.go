// Package fold is the state of one slot as a pure function of its log.
//
// State.Apply takes the next record and returns what follows from it: replies,
// commands for other slots, work to be done beside the fold. It reads no clock
// (time is the record's), uses no randomness and no configuration (settings are
// records too), and its outputs never depend on the order of a map: every home
// that applies the same prefix of the log holds the same state and has published
// the same bytes. Everything else (loading, publishing, checkpoints, checking
// passwords) is the business of package home.
//
// A State has one owner, the goroutine of its slot.
package fold

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"maru/internal/faultswitch"
	"maru/record"
)

// MaxVersion is the highest version of the rules that this binary can apply.
const MaxVersion = 1

// State is what the log of one slot says, as far as it is resident: Users holds
// the entities that were loaded; the rest is the slot's own and always there.
type State struct {
	Slot       int32
	Partitions int32 // P: slots in all
	Delivery   int32 // partitions of delivery

	Users map[string]*User

	Rules  Rules
	Clock  int64   // highest record time applied, milliseconds
	Purged int64   // unregistered users that expired by then are forgotten
	Marks  []int64 // by source slot: number of the last command accepted from its stream
	Out    []int64 // by target slot: number of the last command emitted to its stream

	Off *faultswitch.Set // tests only
}

// New returns the state of a slot before its first record.
func New(slot, partitions, delivery int32) *State {
	return &State{
		Slot: slot, Partitions: partitions, Delivery: delivery,
		Users: map[string]*User{},
		Rules: defaultRules(),
		Marks: make([]int64, partitions),
		Out:   make([]int64, partitions),
	}
}

// aux is the slot's own part of a checkpoint.
type aux struct {
	Rules  record.RulesBody `json:"rules"`
	Clock  int64            `json:"clock"`
	Purged int64            `json:"purged"`
	Marks  []int64          `json:"marks"`
	Out    []int64          `json:"out"`
}

// Aux returns the slot's own part of a checkpoint; equal states give equal bytes.
func (s *State) Aux() []byte {
	return record.MustEncode(aux{Rules: s.Rules.RulesBody, Clock: s.Clock, Purged: s.Purged, Marks: s.Marks, Out: s.Out})
}

// SetAux restores what Aux returned; nil leaves the state of an empty log. A
// version of the rules above MaxVersion is a *TooNewError.
func (s *State) SetAux(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var a aux
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("slot %d: checkpoint: %w", s.Slot, err)
	}
	if len(a.Marks) != int(s.Partitions) || len(a.Out) != int(s.Partitions) {
		return fmt.Errorf("slot %d: checkpoint of %d slots, the cluster has %d", s.Slot, len(a.Marks), s.Partitions)
	}
	if a.Rules.Version > MaxVersion {
		return &TooNewError{Slot: s.Slot, Version: a.Rules.Version}
	}
	rules, err := s.Rules.with(a.Rules)
	if err != nil {
		return fmt.Errorf("slot %d: checkpoint: %w", s.Slot, err)
	}
	s.Rules, s.Clock, s.Purged, s.Marks, s.Out = rules, a.Clock, a.Purged, a.Marks, a.Out
	return nil
}

// TooNewError: the slot's rules are of a version that this binary does not know.
type TooNewError struct {
	Slot    int32
	Version int
}

func (e *TooNewError) Error() string {
	return fmt.Sprintf("slot %d is at version %d of the rules, this maru knows %d: start a newer maru here", e.Slot, e.Version, MaxVersion)
}

// Rules is what Apply needs besides state and record, set by records of kind
// rules alone.
type Rules struct {
	record.RulesBody
	loc *time.Location
}

func defaultRules() Rules {
	return Rules{
		RulesBody: record.RulesBody{
			Version:      1,
			Zone:         "UTC",
			WindowMS:     (15 * time.Minute).Milliseconds(),
			FailMax:      5,
			FailWindowMS: (30 * time.Minute).Milliseconds(),
			SessionTTLMS: (30 * 24 * time.Hour).Milliseconds(),
			SessionsMax:  100,
			FriendsMax:   5000,
			OutcomesMax:  4096,
			// 600 small outcomes, or 180 logins, or 40 changes of the longest profile.
			OutcomesBytes: 64 << 10,
			SeenAfterMS:   time.Minute.Milliseconds(),
			PendingMax:    256,
		},
		loc: time.UTC,
	}
}

// with returns the rules changed by what is set in b.
func (r Rules) with(b record.RulesBody) (Rules, error) {
	if b.Zone == "Local" {
		return r, errors.New("time zone: Local is another one on every machine")
	}
	if b.Zone != "" {
		loc, err := time.LoadLocation(b.Zone)
		if err != nil {
			return r, fmt.Errorf("time zone: %w", err)
		}
		r.Zone, r.loc = b.Zone, loc
	}
	r.Version = max(r.Version, b.Version)
	setPositive(&r.WindowMS, b.WindowMS)
	setPositive(&r.FailMax, b.FailMax)
	setPositive(&r.FailWindowMS, b.FailWindowMS)
	setPositive(&r.SessionTTLMS, b.SessionTTLMS)
	setPositive(&r.SessionsMax, b.SessionsMax)
	setPositive(&r.FriendsMax, b.FriendsMax)
	setPositive(&r.OutcomesMax, b.OutcomesMax)
	setPositive(&r.OutcomesBytes, b.OutcomesBytes)
	setPositive(&r.SeenAfterMS, b.SeenAfterMS)
	setPositive(&r.PendingMax, b.PendingMax)
	return r, nil
}

func setPositive[T int | int64](dst *T, v T) {
	if v > 0 {
		*dst = v
	}
}

// Differs tells whether a record with these settings would change the rules.
func (r Rules) Differs(b record.RulesBody) bool {
	n, err := r.with(b)
	return err == nil && n.RulesBody != r.RulesBody
}
