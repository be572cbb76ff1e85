package store

import (
	"context"
	"fmt"

	"maru"
)

// Place is where a slot goes on after its log was lost or replaced.
type Place struct {
	Slot      int32
	Epoch     int64 // under which the caller looked at the slot (SlotRow.Epoch); 0: it was never claimed
	Next      int64
	LoginNext int64 // -1: never set
	Aux       []byte
}

const (
	rebaseSlot = `UPDATE slots SET epoch = epoch + 1, next_offset = ?, login_next = ?, aux = ? WHERE slot = ? AND epoch = ?`
	beginSlot  = `
INSERT INTO slots (slot, epoch, generation, owner, claimed_at, next_offset, login_next, aux, rules_version)
VALUES (?, 1, 0, '', 0, ?, ?, ?, 0)
ON CONFLICT (slot) DO NOTHING`
	auxOfSlot = `SELECT aux FROM slots WHERE slot = ?`
	amendUser = `UPDATE users SET added_by = ?, state = ? WHERE user_id = ? AND rev = ? AND clock = ?`
)

// Rebase moves slots to other places in their logs, also back, all of them or
// none. When the epoch of one has moved meanwhile, a home is at work and nothing is
// changed (maru.ErrFenced). The epochs are raised, so no earlier owner can write.
func (s *Store) Rebase(ctx context.Context, places []Place) error {
	for _, p := range places {
		if p.Next < 0 || p.LoginNext < -1 || p.Epoch < 0 {
			return fmt.Errorf("rebase slot %d: %w: an offset or epoch below 0", p.Slot, ErrRefused)
		}
	}
	err := s.write(ctx, "rebase", func(ctx context.Context, c *session) error {
		for _, p := range places {
			n, err := int64(0), error(nil)
			if p.Epoch == 0 {
				n, err = c.exec(ctx, beginSlot, p.Slot, p.Next, orNull(p.LoginNext), orEmpty(p.Aux))
			} else {
				n, err = c.exec(ctx, rebaseSlot, p.Next, orNull(p.LoginNext), orEmpty(p.Aux), p.Slot, p.Epoch)
			}
			if err == nil && n == 0 {
				err = maru.ErrFenced
			}
			if err != nil {
				return fmt.Errorf("slot %d: %w", p.Slot, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rebase slots: %w", err)
	}
	return nil
}

// Aux returns the slot's own part of its checkpoint, nil before the first one. A
// slot that was never claimed is sql.ErrNoRows.
func (s *Store) Aux(ctx context.Context, slot int32) (aux []byte, err error) {
	err = s.read(ctx, func(ctx context.Context, c *session) error {
		return c.row(ctx, auxOfSlot, slot).Scan(&aux)
	})
	if err != nil {
		return nil, fmt.Errorf("read slot %d: %w", slot, err)
	}
	return orNil(aux), nil
}

// AmendUsers writes AddedBy and State of users whose Rev and Clock are still those
// of the row, all of them or none: when one has changed, a home is at work
// (maru.ErrFenced). It is for repairs, while no home runs.
func (s *Store) AmendUsers(ctx context.Context, users []maru.UserRow) error {
	err := s.write(ctx, unhooked, func(ctx context.Context, c *session) error {
		for i := range users {
			u := &users[i]
			n, err := c.exec(ctx, amendUser, u.AddedBy, orEmpty(u.State), u.UserID, u.Rev, u.Clock)
			if err == nil && n == 0 {
				err = maru.ErrFenced
			}
			if err != nil {
				return fmt.Errorf("user %q: %w", u.UserID, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("amend users: %w", err)
	}
	return nil
}
