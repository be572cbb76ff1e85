package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maru"
)

const (
	insertMeta = `INSERT INTO cluster (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING`
	upsertMeta = `INSERT INTO cluster (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
	readMeta   = `SELECT value FROM cluster WHERE key = ?`
)

// EnsureMeta settles a fact of the cluster (its number of partitions, the ids of
// its topics, …): the first writer's value stays. It returns the value that holds
// and whether this call wrote it. Unlike checkpoints, facts are not in the log, so
// they are on disk when EnsureMeta returns.
func (s *Store) EnsureMeta(ctx context.Context, key, value string) (stored string, created bool, err error) {
	if err := checkTexts("fact", key, value); err != nil {
		return "", false, err
	}
	err = s.writeDurably(ctx, func(ctx context.Context, c *session) error {
		n, err := c.exec(ctx, insertMeta, key, value)
		if err != nil {
			return err
		}
		created = n == 1
		// A statement of its own: it sees what a concurrent winner has committed.
		return c.row(ctx, readMeta, key).Scan(&stored)
	})
	if err != nil {
		return "", false, fmt.Errorf("settle the fact %q: %w", key, err)
	}
	return stored, created, nil
}

// Meta returns a fact of the cluster, and whether it is settled.
func (s *Store) Meta(ctx context.Context, key string) (value string, found bool, err error) {
	if err := checkTexts("fact", key); err != nil {
		return "", false, err
	}
	err = s.read(ctx, func(ctx context.Context, c *session) error {
		return c.row(ctx, readMeta, key).Scan(&value)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read the fact %q: %w", key, err)
	}
	return value, true, nil
}

// SetMeta changes a fact, for the operations that do so on purpose.
func (s *Store) SetMeta(ctx context.Context, key, value string) error {
	if err := checkTexts("fact", key, value); err != nil {
		return err
	}
	err := s.writeDurably(ctx, func(ctx context.Context, c *session) error {
		_, err := c.exec(ctx, upsertMeta, key, value)
		return err
	})
	if err != nil {
		return fmt.Errorf("set the fact %q: %w", key, err)
	}
	return nil
}

// HomeRow is a home that has announced itself.
type HomeRow struct {
	Name     string
	RulesMax int   // the highest version of the rules that it can apply
	SeenAt   int64 // milliseconds, by the home's own clock
}

const (
	upsertHome = `
INSERT INTO homes (name, rules_max, seen_at) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET rules_max = excluded.rules_max, seen_at = excluded.seen_at`
	listHomes  = `SELECT name, rules_max, seen_at FROM homes WHERE seen_at >= ? ORDER BY name`
	deleteHome = `DELETE FROM homes WHERE name = ?`
)

// AnnounceHome records that the home called name lives at now (milliseconds)
// and which version of the rules it can apply at most.
func (s *Store) AnnounceHome(ctx context.Context, name string, rulesMax int, now int64) error {
	if err := checkTexts("home", name); err != nil {
		return err
	}
	return s.homes(ctx, func(ctx context.Context, c *session) error {
		_, err := c.exec(ctx, upsertHome, name, rulesMax, now)
		return err
	})
}

// ForgetHome removes a home that leaves in order; one that is not there is no error.
func (s *Store) ForgetHome(ctx context.Context, name string) error {
	if err := checkTexts("home", name); err != nil {
		return err
	}
	return s.homes(ctx, func(ctx context.Context, c *session) error {
		_, err := c.exec(ctx, deleteHome, name)
		return err
	})
}

func (s *Store) homes(ctx context.Context, fn func(context.Context, *session) error) error {
	err := s.write(ctx, unhooked, fn)
	if errors.Is(err, maru.ErrOutcomeUnknown) {
		err = s.write(ctx, unhooked, fn) // the same words twice mean the same as once
	}
	if err != nil {
		return fmt.Errorf("announce or forget a home: %w", err)
	}
	return nil
}

// LiveHomes returns the homes that announced themselves at since (milliseconds)
// or later, in order of name.
func (s *Store) LiveHomes(ctx context.Context, since int64) (homes []HomeRow, err error) {
	err = s.read(ctx, func(ctx context.Context, c *session) error {
		homes = nil
		return c.rows(ctx, func(r *sql.Rows) error {
			var h HomeRow
			err := r.Scan(&h.Name, &h.RulesMax, &h.SeenAt)
			homes = append(homes, h)
			return err
		}, listHomes, since)
	})
	if err != nil {
		return nil, fmt.Errorf("list homes: %w", err)
	}
	return homes, nil
}
