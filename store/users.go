package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"maru"
)

const (
	usersByID = `
SELECT user_id, hash, registered, user_name, user_status, email, admin, password, credential_version,
  joined_at, login_at, logout_at, added_by, rev, clock, expires_at, state
FROM users WHERE user_id IN (:list) ORDER BY user_id`
	usersAfter = `
SELECT user_id, hash, registered, user_name, user_status, email, admin, password, credential_version,
  joined_at, login_at, logout_at, added_by, rev, clock, expires_at, state
FROM users WHERE user_id > ? ORDER BY user_id LIMIT ?`
	friendsByID = `
SELECT user_id, friend_id, alias, added_at FROM friends WHERE user_id IN (:list) ORDER BY user_id, friend_id`
)

// LoadUsers reads users of a slot together with their friends, for the slot's
// home. Users that are not stored are absent from the result, which is in order of
// id. When epoch is not the slot's (any more) it returns maru.ErrFenced and no rows.
//
// The epoch is read last, after the snapshot of the rows has ended: epochs only
// rise, so one that is ours then was ours while the rows were read, and nobody else
// wrote them meanwhile. Read first, or inside the snapshot, it would let a home
// that slept in between go on from rows of another owner's past.
func (s *Store) LoadUsers(ctx context.Context, slot int32, epoch int64, ids []string) (users []maru.UserRow, err error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, id := range ids {
		if err := checkTexts("user", id); err != nil {
			return nil, err
		}
	}
	if err := s.at(ctx, PointLoadBegin); err != nil {
		return nil, err
	}
	err = s.read(ctx, func(ctx context.Context, c *session) error {
		if err := c.snapshot(ctx, func() error {
			users, err = c.users(ctx, ids)
			return err
		}); err != nil {
			return err
		}
		if err := s.at(ctx, PointLoadCheck); err != nil {
			return err
		}
		return c.mine(ctx, slot, epoch)
	})
	if err != nil {
		return nil, fmt.Errorf("load users of slot %d: %w", slot, err)
	}
	return users, nil
}

// User reads one user with friends, whoever owns the slot, and tells whether it
// is there. It may be older than what the user's home has answered.
func (s *Store) User(ctx context.Context, id string) (u maru.UserRow, found bool, err error) {
	if err := checkTexts("user", id); err != nil {
		return u, false, err
	}
	err = s.read(ctx, func(ctx context.Context, c *session) error {
		return c.snapshot(ctx, func() error {
			users, err := c.users(ctx, []string{id})
			if len(users) > 0 {
				u, found = users[0], true
			}
			return err
		})
	})
	if err != nil {
		return maru.UserRow{}, false, fmt.Errorf("read a user: %w", err)
	}
	return u, found, nil
}

// Users reads up to limit users with friends, unregistered ones included, in
// byte order of their ids, beginning after the id given ("" for the first). Each
// call sees one moment; the moments of two calls differ.
func (s *Store) Users(ctx context.Context, after string, limit int) (users []maru.UserRow, err error) {
	if err := checkTexts("user", after); err != nil {
		return nil, err
	}
	err = s.read(ctx, func(ctx context.Context, c *session) error {
		return c.snapshot(ctx, func() error {
			users = nil
			err := c.rows(ctx, func(r *sql.Rows) error { return scanUser(r, &users) }, usersAfter, after, max(limit, 0))
			if err != nil {
				return err
			}
			return c.friends(ctx, users)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	return users, nil
}

// users reads the users with these ids, which are sorted and different.
func (c *session) users(ctx context.Context, ids []string) ([]maru.UserRow, error) {
	users := make([]maru.UserRow, 0, len(ids))
	if err := c.list(ctx, func(r *sql.Rows) error { return scanUser(r, &users) }, ids, usersByID); err != nil {
		return nil, err
	}
	return users, c.friends(ctx, users)
}

// friends fills in the friends of users, which are in order of id.
func (c *session) friends(ctx context.Context, users []maru.UserRow) error {
	ids := make([]string, len(users))
	for i := range users {
		ids[i] = users[i].UserID
	}
	i := 0 // friends come in the same order as users
	return c.list(ctx, func(r *sql.Rows) error {
		var f maru.FriendRow
		if err := r.Scan(&f.UserID, &f.FriendID, &f.Alias, &f.AddedAt); err != nil {
			return err
		}
		for users[i].UserID != f.UserID {
			i++
		}
		users[i].Friends = append(users[i].Friends, f)
		return nil
	}, ids, friendsByID)
}

func scanUser(r *sql.Rows, users *[]maru.UserRow) error {
	var u maru.UserRow
	err := r.Scan(&u.UserID, &u.Hash, &u.Registered, &u.UserName, &u.UserStatus, &u.Email, &u.Admin, &u.Password, &u.CredentialVersion,
		&u.JoinedAt, &u.LoginAt, &u.LogoutAt, &u.AddedBy, &u.Rev, &u.Clock, &u.ExpiresAt, &u.State)
	u.State = orNil(u.State)
	*users = append(*users, u)
	return err
}
