package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maru"
)

// A claim of a lower generation finds the row's WHERE false and returns no row.
const claimSlot = `
INSERT INTO slots (slot, epoch, generation, owner, claimed_at, next_offset, login_next, aux, rules_version)
VALUES (?, 1, ?, ?, ?, 0, NULL, ?, 0)
ON CONFLICT (slot) DO UPDATE SET
  epoch = slots.epoch + 1, generation = excluded.generation, owner = excluded.owner, claimed_at = excluded.claimed_at
WHERE excluded.generation >= slots.generation OR CAST(? AS BOOLEAN)
RETURNING epoch, generation, next_offset, login_next, aux`

// Claim makes the caller the owner of a slot: from now on every transaction
// under an older epoch fails with maru.ErrFenced. It returns the checkpoint to go
// on from; a slot never claimed before starts at offset 0. A claim of a lower
// generation than stored is refused with maru.ErrStaleGeneration, unless forced.
// After maru.ErrOutcomeUnknown, Claim may simply be called again: at worst an
// epoch is left unused.
func (s *Store) Claim(ctx context.Context, r maru.ClaimRequest) (maru.Claim, error) {
	if err := checkTexts("slot owner", r.Owner); err != nil {
		return maru.Claim{}, err
	}
	c := maru.Claim{Slot: r.Slot}
	err := s.write(ctx, "claim", func(ctx context.Context, q *session) error {
		var login sql.NullInt64
		err := q.row(ctx, claimSlot, r.Slot, r.Generation, r.Owner, r.Now, []byte{}, r.Force).
			Scan(&c.Epoch, &c.Generation, &c.Next, &login, &c.Aux)
		if errors.Is(err, sql.ErrNoRows) {
			return maru.ErrStaleGeneration
		}
		c.LoginNext, c.Aux = orUnset(login), orNil(c.Aux)
		return err
	})
	if err != nil {
		return maru.Claim{}, fmt.Errorf("claim slot %d: %w", r.Slot, err)
	}
	return c, nil
}

const listSlots = `
SELECT slot, epoch, generation, owner, claimed_at, next_offset, login_next, rules_version FROM slots ORDER BY slot`

// Slots returns every slot ever claimed, in order.
func (s *Store) Slots(ctx context.Context) (all []maru.SlotRow, err error) {
	err = s.read(ctx, func(ctx context.Context, c *session) error {
		all = nil
		return c.rows(ctx, func(r *sql.Rows) error {
			var row maru.SlotRow
			var login sql.NullInt64
			err := r.Scan(&row.Slot, &row.Epoch, &row.Generation, &row.Owner, &row.ClaimedAt, &row.Next, &login, &row.RulesVersion)
			row.LoginNext = orUnset(login)
			all = append(all, row)
			return err
		}, listSlots)
	})
	if err != nil {
		return nil, fmt.Errorf("list slots: %w", err)
	}
	return all, nil
}

const maxRules = `SELECT COALESCE(MAX(rules_version), 0) FROM slots`

// MaxRulesVersion returns the highest version of the rules that a checkpoint is
// of, 0 when there is none. A home that knows only lower ones could not go on.
func (s *Store) MaxRulesVersion(ctx context.Context) (version int, err error) {
	err = s.read(ctx, func(ctx context.Context, c *session) error { return c.row(ctx, maxRules).Scan(&version) })
	if err != nil {
		return 0, fmt.Errorf("read the version of the rules: %w", err)
	}
	return version, nil
}

const epochOfSlot = `SELECT epoch FROM slots WHERE slot = ?`

// mine fails with maru.ErrFenced unless epoch is the slot's.
func (c *session) mine(ctx context.Context, slot int32, epoch int64) error {
	var stored int64
	err := c.row(ctx, epochOfSlot, slot).Scan(&stored)
	if errors.Is(err, sql.ErrNoRows) || err == nil && stored != epoch {
		return maru.ErrFenced
	}
	return err
}

// orUnset and orNull translate between NULL and -1, "never set".
func orUnset(n sql.NullInt64) int64 {
	if !n.Valid {
		return -1
	}
	return n.Int64
}

func orNull(n int64) any {
	if n < 0 {
		return nil
	}
	return n
}

// orNil and orEmpty: no bytes are nil in Go and an empty, non-null value in SQL.
func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
