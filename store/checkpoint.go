package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"maru"
)

// The fence: it also takes the row's lock, so that another checkpoint or claim of
// this slot waits until this transaction has ended.
const (
	advanceSlot = `
UPDATE slots SET next_offset = ?, login_next = COALESCE(CAST(? AS BIGINT), login_next), aux = ?, rules_version = ?
WHERE slot = ? AND epoch = ? AND next_offset <= ?`
	placeOfSlot = `SELECT epoch, next_offset FROM slots WHERE slot = ?`
)

const upsertUsers = `
INSERT INTO users (user_id, hash, registered, user_name, user_status, email, admin, password, credential_version,
  joined_at, login_at, logout_at, added_by, rev, clock, expires_at, state)
VALUES :rows
ON CONFLICT (user_id) DO UPDATE SET
  registered = excluded.registered, user_name = excluded.user_name, user_status = excluded.user_status,
  email = excluded.email, admin = excluded.admin, password = excluded.password,
  credential_version = excluded.credential_version, joined_at = excluded.joined_at, login_at = excluded.login_at,
  logout_at = excluded.logout_at, added_by = excluded.added_by, rev = excluded.rev, clock = excluded.clock,
  expires_at = excluded.expires_at, state = excluded.state`

const (
	upsertFriends = `
INSERT INTO friends (user_id, friend_id, alias, added_at) VALUES :rows
ON CONFLICT (user_id, friend_id) DO UPDATE SET alias = excluded.alias, added_at = excluded.added_at`
	deleteFriends = `
DELETE FROM friends WHERE (user_id, friend_id) IN (VALUES :rows)`
	expireUsers = `
DELETE FROM users WHERE NOT registered AND expires_at <= ? AND hash % CAST(? AS BIGINT) = ?`
)

// Checkpoint writes cp in one transaction that begins with the fence. Its errors
// decide what the home does next:
//   - maru.ErrFenced: another owner has claimed the slot; nothing was written.
//   - ErrBackwards, ErrRefused: nothing was written, and it never will be.
//   - maru.ErrOutcomeUnknown: COMMIT was sent and its outcome is not known; cp must
//     not be tried again under this epoch.
//   - anything else: definitely not written; the same cp may be tried again.
//
// A row both in Friends and in Unfriended is deleted. LoginNext -1 leaves the
// stored position as it is.
func (s *Store) Checkpoint(ctx context.Context, cp *maru.Checkpoint) error {
	if err := checkRows(cp); err != nil {
		return fmt.Errorf("checkpoint of slot %d: %w", cp.Slot, err)
	}
	err := s.write(ctx, "checkpoint", func(ctx context.Context, c *session) error {
		if err := c.advance(ctx, cp); err != nil {
			return err
		}
		if err := c.bulk(ctx, len(cp.Users), 17, func(a []any, i int) []any { return userArgs(a, &cp.Users[i]) }, upsertUsers); err != nil {
			return fmt.Errorf("users: %w", err)
		}
		if err := c.bulk(ctx, len(cp.Friends), 4, func(a []any, i int) []any {
			f := &cp.Friends[i]
			return append(a, f.UserID, f.FriendID, f.Alias, f.AddedAt)
		}, upsertFriends); err != nil {
			return fmt.Errorf("friends: %w", err)
		}
		if err := c.bulk(ctx, len(cp.Unfriended), 2, func(a []any, i int) []any {
			return append(a, cp.Unfriended[i].UserID, cp.Unfriended[i].FriendID)
		}, deleteFriends); err != nil {
			return fmt.Errorf("former friends: %w", err)
		}
		if cp.Expired <= 0 {
			return nil
		}
		_, err := c.exec(ctx, expireUsers, cp.Expired, cp.Partitions, cp.Slot)
		return err
	})
	if err != nil {
		return fmt.Errorf("checkpoint of slot %d: %w", cp.Slot, err)
	}
	return nil
}

func (c *session) advance(ctx context.Context, cp *maru.Checkpoint) error {
	n, err := c.exec(ctx, advanceSlot, cp.Next, orNull(cp.LoginNext), orEmpty(cp.Aux), cp.RulesVersion, cp.Slot, cp.Epoch, cp.Next)
	if err != nil || n == 1 {
		return err
	}
	var epoch, next int64
	err = c.row(ctx, placeOfSlot, cp.Slot).Scan(&epoch, &next)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && epoch != cp.Epoch:
		return maru.ErrFenced
	case err == nil:
		return fmt.Errorf("%w: next offset %d, stored %d", ErrBackwards, cp.Next, next)
	}
	return err
}

func userArgs(a []any, u *maru.UserRow) []any {
	return append(a, u.UserID, u.Hash, u.Registered, u.UserName, u.UserStatus, u.Email, u.Admin, u.Password, u.CredentialVersion,
		u.JoinedAt, u.LoginAt, u.LogoutAt, u.AddedBy, u.Rev, u.Clock, u.ExpiresAt, orEmpty(u.State))
}

// checkRows refuses what only one of the databases would refuse, or neither, and
// what two rows of one statement may not do (PostgreSQL: "cannot affect row a second time").
func checkRows(cp *maru.Checkpoint) error {
	if cp.Expired > 0 && cp.Partitions <= 0 {
		return fmt.Errorf("%w: expiry without the number of partitions", ErrRefused)
	}
	users := make(map[string]struct{}, len(cp.Users))
	for i := range cp.Users {
		u := &cp.Users[i]
		if err := checkTexts("user", u.UserID, u.UserName, u.UserStatus, u.Email, u.Password); err != nil {
			return err
		}
		if _, twice := users[u.UserID]; twice {
			return fmt.Errorf("%w: user %q is in it twice", ErrRefused, u.UserID)
		}
		users[u.UserID] = struct{}{}
	}
	friends := make(map[maru.FriendKey]struct{}, len(cp.Friends))
	for i := range cp.Friends {
		f := &cp.Friends[i]
		if err := checkTexts("friend of", f.UserID, f.FriendID, f.Alias); err != nil {
			return err
		}
		key := maru.FriendKey{UserID: f.UserID, FriendID: f.FriendID}
		if _, twice := friends[key]; twice {
			return fmt.Errorf("%w: friend %q of %q is in it twice", ErrRefused, f.FriendID, f.UserID)
		}
		friends[key] = struct{}{}
	}
	for _, k := range cp.Unfriended {
		if err := checkTexts("former friend of", k.UserID, k.FriendID); err != nil {
			return err
		}
	}
	return nil
}

// checkTexts refuses texts that PostgreSQL cannot hold, on both databases alike. The
// first text names the row; the others may be secret and are not repeated.
func checkTexts(what string, texts ...string) error {
	for _, t := range texts {
		if !utf8.ValidString(t) || strings.IndexByte(t, 0) >= 0 {
			return fmt.Errorf("%w: %s %q has a text with a NUL byte or invalid UTF-8", ErrRefused, what, texts[0])
		}
	}
	return nil
}
