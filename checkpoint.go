package maru

import "errors"

// Errors of the store that decide what a home does next.
var (
	// ErrFenced: the slot's epoch in SQL is not the caller's. Nothing was read or
	// written; the caller forgets what it knows of the slot.
	ErrFenced = errors.New("the slot has a newer owner")
	// ErrStaleGeneration: a claim of a higher group generation is there already.
	ErrStaleGeneration = errors.New("a claim of a newer group generation exists")
	// ErrOutcomeUnknown: the transaction may or may not have been committed. It
	// must not be tried again under the same epoch: a late first attempt would
	// overwrite newer state.
	ErrOutcomeUnknown = errors.New("the outcome of the commit is unknown")
	// ErrNotStorable: nothing was written, and trying again never helps: the database
	// cannot hold a value, or a newer checkpoint of the same claim is there already.
	ErrNotStorable = errors.New("the checkpoint cannot be stored")
)

// ClaimRequest asks for the ownership of a slot.
type ClaimRequest struct {
	Slot       int32
	Generation int32  // of the consumer group; a claim of a lower one than stored is refused
	Force      bool   // claim whatever generation is stored (the group was made anew)
	Owner      string // name of the claiming process, for people
	Now        int64  // milliseconds; only shown to people
}

// Claim is what a successful claim found: the checkpoint to go on from.
type Claim struct {
	Slot       int32
	Epoch      int64 // the fence: every transaction of this owner checks it
	Next       int64 // first offset of commands that is not in the checkpoint
	LoginNext  int64 // first offset of login-request not finished, -1 when never set
	Aux        []byte
	Generation int32
}

// SlotRow is a slot as people and tools see it.
type SlotRow struct {
	Slot         int32
	Epoch        int64
	Generation   int32
	Owner        string
	ClaimedAt    int64 // milliseconds
	Next         int64
	LoginNext    int64
	RulesVersion int
}

// Checkpoint is the dirty state of one slot exactly as of Next, serialised. It
// is immutable once made.
type Checkpoint struct {
	Slot         int32
	Epoch        int64
	Next         int64
	LoginNext    int64 // -1: not known yet
	Aux          []byte
	RulesVersion int
	Users        []UserRow
	Friends      []FriendRow
	Unfriended   []FriendKey // rows of friends to delete
	Expired      int64       // when > 0: delete the slot's unregistered users with ExpiresAt <= Expired
	Partitions   int32       // P, for Expired
}

// UserRow is a user as stored. State holds what only the user's home reads
// (sessions, failed logins, outcomes of recent commands, unfinished operations).
type UserRow struct {
	UserID            string
	Hash              int32 // KeyHash of UserID
	Registered        bool  // false: only failed logins are kept, for an id nobody has
	UserName          string
	UserStatus        string
	Email             string
	Admin             bool
	Password          string // argon2id in PHC string format
	CredentialVersion int64
	JoinedAt          int64 // milliseconds, 0 unknown
	LoginAt           int64
	LogoutAt          int64
	AddedBy           int64 // how many users have this one among their friends
	Rev               int64 // number of changes applied
	Clock             int64 // highest record time applied
	ExpiresAt         int64 // unregistered users only: when the row means nothing any more
	State             []byte
	Friends           []FriendRow // filled when loaded; written through Checkpoint.Friends
}

// FriendKey names a row of friends.
type FriendKey struct{ UserID, FriendID string }

// FriendRow is one friend in a user's list.
type FriendRow struct {
	UserID   string
	FriendID string
	Alias    string
	AddedAt  int64 // milliseconds
}
