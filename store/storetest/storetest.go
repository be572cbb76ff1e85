// Package storetest is the one suite of behaviour that every database of package
// store passes. What is true only of one of them is tested beside the store.
package storetest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"maru"
	"maru/store"
)

// Run runs the suite. fresh returns the DSN of a new, empty database that lasts
// as long as t; the suite opens it as often as it needs.
func Run(t *testing.T, fresh func(t *testing.T) string) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, dsn string)
	}{
		{"ClaimRaisesEpoch", claimRaisesEpoch},
		{"ClaimOrderedByGeneration", claimOrderedByGeneration},
		{"ConcurrentClaimsAreGapless", concurrentClaimsAreGapless},
		{"RebaseMovesBackAndFences", rebaseMovesBackAndFences},
		{"HighestRules", highestRules},
		{"AuxIsReadBack", auxIsReadBack},
		{"AmendsUsersThatRest", amendsUsersThatRest},
		{"CheckpointIsReadBack", checkpointIsReadBack},
		{"CheckpointCoalesces", checkpointCoalesces},
		{"CheckpointDeletesFriends", checkpointDeletesFriends},
		{"CheckpointExpires", checkpointExpires},
		{"CheckpointFenced", checkpointFenced},
		{"CheckpointFencedWhileWaiting", checkpointFencedWhileWaiting},
		{"CheckpointNeverGoesBack", checkpointNeverGoesBack},
		{"CheckpointAllOrNothing", checkpointAllOrNothing},
		{"CheckpointOutcomeUnknown", checkpointOutcomeUnknown},
		{"CheckpointCancelledIsDefinite", checkpointCancelledIsDefinite},
		{"ManyRows", manyRows},
		{"HostileTexts", hostileTexts},
		{"RefusedValues", refusedValues},
		{"LoadChecksEpoch", loadChecksEpoch},
		{"LoadChecksEpochLast", loadChecksEpochLast},
		{"LoadSeesOneMoment", loadSeesOneMoment},
		{"LoadHonoursContext", loadHonoursContext},
		{"UsersInOrder", usersInOrder},
		{"MetaFirstWriterWins", metaFirstWriterWins},
		{"Homes", homes},
		{"ClosedStore", closedStore},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

// hook is Config.Hook as the tests of this package write it.
type hook func(ctx context.Context, point string) error

func open(t *testing.T, dsn string, h hook) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{
		DSN: dsn, Hook: h, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func claim(t *testing.T, s *store.Store, slot int32) maru.Claim {
	t.Helper()
	c, err := s.Claim(t.Context(), maru.ClaimRequest{Slot: slot, Generation: 1, Owner: "home-1", Now: 1_700_000_000_000})
	if err != nil {
		t.Fatalf("claim slot %d: %v", slot, err)
	}
	return c
}

func write(t *testing.T, s *store.Store, cp *maru.Checkpoint) {
	t.Helper()
	if err := s.Checkpoint(t.Context(), cp); err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
}

func load(t *testing.T, s *store.Store, c maru.Claim, ids ...string) []maru.UserRow {
	t.Helper()
	users, err := s.LoadUsers(t.Context(), c.Slot, c.Epoch, ids)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return users
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

// definite fails unless err says that nothing was written and that a repetition may succeed.
func definite(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, other := range []error{maru.ErrOutcomeUnknown, maru.ErrFenced, store.ErrRefused, store.ErrBackwards} {
		if errors.Is(err, other) {
			t.Fatalf("error is %v, want one that allows a repetition", err)
		}
	}
}

func slotRow(t *testing.T, s *store.Store, slot int32) maru.SlotRow {
	t.Helper()
	rows, err := s.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(rows, func(r maru.SlotRow) bool { return r.Slot == slot })
	if i < 0 {
		t.Fatalf("slot %d is not among %v", slot, rows)
	}
	return rows[i]
}

// User returns a registered user in whom every column has a value of its own, so that
// two exchanged columns are seen.
func User(id string) maru.UserRow {
	return maru.UserRow{
		UserID: id, Hash: maru.KeyHash(id), Registered: true, UserName: "name of " + id, UserStatus: "안녕하세요!",
		Email: id + "@example.org", Admin: true, Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
		CredentialVersion: 3, JoinedAt: 1_671_235_200_001, LoginAt: 1_671_235_200_002, LogoutAt: 1_671_235_200_003,
		AddedBy: 4, Rev: 5, Clock: 1_671_235_200_006, ExpiresAt: 7, State: []byte(`{"sessions":[{"id":"` + id + `"}]}`),
	}
}
