package record

import (
	"encoding/json"
	"fmt"

	"maru"
)

// Delivery is the value of a record on delivery: what the gateway instance To is
// told. Several gateways may read one partition; each skips what is not for it.
type Delivery struct {
	V     int    `json:"v"`
	To    string `json:"to"`
	From  *Cause `json:"from,omitempty"` // nil for what was not brought about by a record
	Reply *Reply `json:"reply,omitempty"`
	Beat  int64  `json:"beat,omitempty"` // a gateway's own sign of life, counted up
}

// Cause names the record that brought an output about, and its place among the
// outputs of that record. A home that takes over sends outputs again: two records
// with one cause have one content, always.
type Cause struct {
	Slot   int32 `json:"slot"`
	Offset int64 `json:"offset"`
	Index  int   `json:"index"`
}

// Reply is the outcome of one command. All replies to one command are equal, as
// often as they are sent. Code is empty when it was accepted.
type Reply struct {
	ID           maru.CommandID  `json:"id"`
	Code         maru.Code       `json:"code,omitempty"`
	Field        string          `json:"field,omitempty"`
	Message      string          `json:"message,omitempty"`
	RetryAfterMS int64           `json:"retryAfterMs,omitempty"`
	Result       json.RawMessage `json:"result,omitempty"`
}

// ParseDelivery reads the value of a record on delivery.
func ParseDelivery(b []byte) (*Delivery, error) {
	var d Delivery
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	if d.V != Version {
		return nil, fmt.Errorf("delivery of envelope version %d, want %d", d.V, Version)
	}
	return &d, nil
}

// User is a user on the wire. Email and Admin are shown to the user alone.
type User struct {
	UserID     string `json:"userId"`
	UserName   string `json:"userName"`
	UserStatus string `json:"userStatus"`
	Email      string `json:"email,omitempty"`
	JoinDate   *Date  `json:"joinDate"`
	Admin      bool   `json:"admin,omitempty"`
	AddedBy    int64  `json:"addedBy,omitempty"` // how many users have me as a friend; own only
}

// Session is a session on the wire. Times are milliseconds since the epoch.
type Session struct {
	ID        string `json:"id"`
	Device    string `json:"device"`
	CreatedAt int64  `json:"createdAt"`
	SeenAt    int64  `json:"seenAt"`
	ExpiresAt int64  `json:"expiresAt"`
}

// Friend is an entry of a friend list: whom, and the owner's own name for them.
type Friend struct {
	UserID  string `json:"userId"`
	Alias   string `json:"alias,omitempty"`
	AddedAt int64  `json:"addedAt"`
}

// Results of replies, by command.
type (
	// UserResult answers user.register, user.update, ask me. Rev counts the
	// changes of the user that the home has applied.
	UserResult struct {
		User User  `json:"user"`
		Rev  int64 `json:"rev"`
	}
	// UsersResult answers ask users, in the order asked; who does not exist is absent.
	UsersResult struct {
		Users []User `json:"users"`
	}
	// FriendsResult answers ask friends. More: there are others after the last one.
	FriendsResult struct {
		Friends []Friend `json:"friends"`
		More    bool     `json:"more,omitempty"`
	}
	// SessionsResult answers ask sessions.
	SessionsResult struct {
		Sessions []Session `json:"sessions"`
	}
	// LoginResultBody answers a login: the answer of login-response, and the
	// session for which the gateway signs a token.
	LoginResultBody struct {
		Answer    LoginAnswer `json:"answer"`
		Session   string      `json:"session,omitempty"`
		ExpiresAt int64       `json:"expiresAt,omitempty"` // milliseconds
	}
	// WhereResult answers where.
	WhereResult struct {
		UserID   string `json:"userId"`
		Slot     int32  `json:"slot"`
		Home     string `json:"home"`
		Epoch    int64  `json:"epoch"`
		Since    int64  `json:"since"` // milliseconds: when the home claimed the slot
		Resident bool   `json:"resident"`
	}
)
