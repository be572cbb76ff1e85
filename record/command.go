package record

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"maru"
)

// Version of the envelope of commands and deliveries.
const Version = 1

// Kind says what a command is.
type Kind string

// The kinds of commands. Those of one group share their rules: see Command.
const (
	// From gateways, key = user id.
	Register       Kind = "user.register"
	Update         Kind = "user.update"
	PasswordChange Kind = "password.change" // has the current password checked beside the fold
	SessionEnd     Kind = "session.end"
	FriendAdd      Kind = "friend.add"
	FriendRemove   Kind = "friend.remove"
	Ask            Kind = "ask" // changes nothing but when a session was last seen

	// From administrators at the command line, key = user id.
	PasswordSet Kind = "password.set"
	AdminSet    Kind = "user.admin"
	Where       Kind = "where" // answered by the home beside the fold

	// From the home itself, key = user id: results of what happens beside the fold.
	LoginChecked    Kind = "login.checked"
	PasswordChecked Kind = "password.checked"

	// From home to home, numbered within their stream, key = user id.
	FriendAdded   Kind = "friend.added"
	FriendAnswer  Kind = "friend.answer"
	FriendDropped Kind = "friend.dropped"

	// From homes to one slot by explicit partition, without key.
	Rules Kind = "rules"
)

// Command is the value of a record on commands. User names the entity that it
// concerns; records that concern a slot or several entities have none and are
// placed by an explicit partition. Exactly the body that belongs to the kind is
// set.
type Command struct {
	V       int            `json:"v"`
	Kind    Kind           `json:"kind"`
	ID      maru.CommandID `json:"id,omitzero"`
	User    string         `json:"user,omitempty"`
	Session string         `json:"session,omitempty"` // who asks, as the gateway read it from a token
	Reply   *Address       `json:"reply,omitempty"`   // where the answer goes; nil: nobody waits
	From    *Stream        `json:"from,omitempty"`    // set on commands from home to home

	Register        *RegisterBody        `json:"register,omitempty"`
	Update          *UpdateBody          `json:"update,omitempty"`
	PasswordChange  *PasswordChangeBody  `json:"passwordChange,omitempty"`
	PasswordChecked *PasswordCheckedBody `json:"passwordChecked,omitempty"`
	PasswordSet     *PasswordSetBody     `json:"passwordSet,omitempty"`
	AdminSet        *AdminSetBody        `json:"adminSet,omitempty"`
	SessionEnd      *SessionEndBody      `json:"sessionEnd,omitempty"`
	LoginChecked    *LoginCheckedBody    `json:"loginChecked,omitempty"`
	Friend          *FriendBody          `json:"friend,omitempty"`
	Ask             *AskBody             `json:"ask,omitempty"`
	Rules           *RulesBody           `json:"rules,omitempty"`
}

// Address is a waiting gateway: its instance id, new at each start, and the
// partition of delivery that it reads.
type Address struct {
	Gateway   string `json:"gateway"`
	Partition int32  `json:"partition"`
}

// String writes the address as it stands in HeaderReply: gateway@partition.
func (a Address) String() string { return a.Gateway + "@" + strconv.Itoa(int(a.Partition)) }

// ParseAddress reads what String wrote.
func ParseAddress(s string) (Address, error) {
	g, p, ok := strings.Cut(s, "@")
	n, err := strconv.ParseInt(p, 10, 32)
	if !ok || err != nil || n < 0 || g == "" || len(g) > 64 {
		return Address{}, fmt.Errorf("reply address %.80q: want gateway@partition", s)
	}
	return Address{Gateway: g, Partition: int32(n)}, nil
}

// Stream places a command in the dense stream from one slot to another: a home
// accepts only the successor of the last number it accepted from that slot. The
// slot of the Cause is the source.
type Stream struct {
	Cause
	N int64 `json:"n"`
}

// RegisterBody asks for a new account. Password is the argon2id hash, made by
// the gateway: a readable password is never on a topic.
type RegisterBody struct {
	Password string `json:"password"`
	Name     string `json:"name,omitempty"`
	Status   string `json:"status,omitempty"`
	Email    string `json:"email,omitempty"`
	Admin    bool   `json:"admin,omitempty"` // command line only
}

// UpdateBody changes the fields that are not nil.
type UpdateBody struct {
	Name   *string `json:"name,omitempty"`
	Status *string `json:"status,omitempty"`
	Email  *string `json:"email,omitempty"`
}

// PasswordChangeBody carries the current password, sealed to the homes, and the
// hash of the new one.
type PasswordChangeBody struct {
	Sealed   string `json:"sealed"`
	Password string `json:"password"`
}

// PasswordCheckedBody is the result of the check that a PasswordChange asked for.
type PasswordCheckedBody struct {
	OK       bool   `json:"ok"`
	Busy     bool   `json:"busy,omitempty"` // too many checks wait: not looked at
	Version  int64  `json:"version"`        // of the credential that was checked
	Password string `json:"password,omitempty"`
}

// PasswordSetBody sets a password without knowing the old one (command line).
type PasswordSetBody struct {
	Password string `json:"password"`
}

// AdminSetBody makes the user an administrator or no longer one.
type AdminSetBody struct {
	Admin bool `json:"admin"`
}

// SessionEndBody ends one session of the user, or all.
type SessionEndBody struct {
	Session string `json:"session,omitempty"`
	All     bool   `json:"all,omitempty"`
	Logout  bool   `json:"logout,omitempty"` // the user's own logout: sets the logout date
}

// LoginResult says how the check of a login request ended.
type LoginResult string

// Results of a check.
const (
	LoginOK      LoginResult = "ok"
	LoginWrong   LoginResult = "wrong"   // wrong password, or nobody has this id: not told apart
	LoginInvalid LoginResult = "invalid" // could not be read as a login request
	LoginBusy    LoginResult = "busy"    // too many checks wait: not looked at
	LoginLocked  LoginResult = "locked"  // too many failures before: not looked at
)

// LoginCheckedBody is the result of the check of one record of login-request.
type LoginCheckedBody struct {
	Result    LoginResult `json:"result"`
	Requested string      `json:"requested"`        // the user id as it stood in the request
	Version   int64       `json:"version"`          // of the credential that was checked
	Offset    int64       `json:"offset"`           // of the request on login-request
	Echo      string      `json:"echo,omitempty"`   // HeaderID of the request, for the answer
	Device    string      `json:"device,omitempty"` // from valid claims only
	Known     bool        `json:"known,omitempty"`
	Session   bool        `json:"session,omitempty"`  // from a gateway with valid claims: open a session
	SignedAt  int64       `json:"signedAt,omitempty"` // when that gateway signed them; 0: not told
}

// FriendBody serves the kinds friend.*: Friend is the other user, seen from the
// user whose home gets the command.
type FriendBody struct {
	Friend string  `json:"friend"`
	Alias  *string `json:"alias,omitempty"` // friend.add: my own name for the person; nil: leave as is
	OK     bool    `json:"ok,omitempty"`    // friend.answer: the person exists
}

// What can be asked.
const (
	AskMe       = "me"
	AskUsers    = "users" // public profiles of users of one slot; no session, explicit partition
	AskFriends  = "friends"
	AskSessions = "sessions"
)

// AskBody is a question. Limit and After page through lists.
type AskBody struct {
	What  string   `json:"what"`
	Users []string `json:"users,omitempty"`
	After string   `json:"after,omitempty"`
	Limit int      `json:"limit,omitempty"`
}

// RulesBody sets what apply needs besides state and record. Zero values leave a
// setting as it is. Version never falls.
type RulesBody struct {
	Version      int    `json:"version"`
	Zone         string `json:"zone,omitempty"`         // IANA name of the time zone of dates
	WindowMS     int64  `json:"windowMs,omitempty"`     // how long outcomes of commands are kept
	FailMax      int    `json:"failMax,omitempty"`      // failed logins before an account is locked ...
	FailWindowMS int64  `json:"failWindowMs,omitempty"` // ... within this time
	SessionTTLMS int64  `json:"sessionTtlMs,omitempty"` // life of a session
	SessionsMax  int    `json:"sessionsMax,omitempty"`  // sessions of one user; the oldest is dropped
	FriendsMax   int    `json:"friendsMax,omitempty"`   // friends of one user
	OutcomesMax  int    `json:"outcomesMax,omitempty"`  // changes of one user within the window ...
	// ... and what their outcomes may take in the user's row, in bytes.
	OutcomesBytes int   `json:"outcomesBytes,omitempty"`
	SeenAfterMS   int64 `json:"seenAfterMs,omitempty"` // a session's "last seen" is at most this old
	PendingMax    int   `json:"pendingMax,omitempty"`  // unfinished operations of one user
}

// ParseCommand reads the value of a record on commands. Only maru writes there,
// but a home must survive any bytes: the error says what is wrong, and the
// caller counts and skips.
func ParseCommand(b []byte) (*Command, error) {
	var c Command
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	if c.V != Version {
		return nil, fmt.Errorf("command of envelope version %d, want %d", c.V, Version)
	}
	return &c, nil
}
