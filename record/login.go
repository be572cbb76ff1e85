package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Headers of the login pair that maru itself adds and understands. Others (such
// as the __TypeId__ of Spring) are tolerated and never acted on.
const (
	HeaderID        = "maru-id"        // the command id, 32 hex digits; echoed on the answer
	HeaderReply     = "maru-reply"     // the gateway that waits for the answer, as Address.String
	HeaderClaims    = "maru-claims"    // what that gateway asserts, with its MAC
	HeaderForwarded = "maru-forwarded" // set once on a request that was moved to its right partition
)

// MaxLoginRequest bounds the value of a login request in bytes: what is longer
// is not parsed. A sealed password of 1,024 bytes needs less than 2 KiB.
const MaxLoginRequest = 16 << 10

// LoginRequest is the value of a record on login-request. Exactly one of UserPw
// (other programs) and SealedPw (maru's own gateways) is meant to be set.
type LoginRequest struct {
	UserID   string  `json:"userId"`
	UserPw   *string `json:"userPw"`
	SealedPw string  `json:"sealedPw,omitempty"`
}

// ParseLoginRequest reads a login request. Unknown fields are ignored, for other
// programs may have more; a value that is not one JSON object with a userId is
// an error.
func ParseLoginRequest(b []byte) (LoginRequest, error) {
	var r LoginRequest
	if len(b) > MaxLoginRequest {
		return r, fmt.Errorf("login request of %d bytes, at most %d are read", len(b), MaxLoginRequest)
	}
	if t := bytes.TrimLeft(b, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return r, errors.New("login request is not a JSON object")
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return LoginRequest{}, fmt.Errorf("login request: %w", err)
	}
	if r.UserID == "" {
		return LoginRequest{}, errors.New("login request without userId")
	}
	return r, nil
}

// LoginAnswer is the value of a record on login-response, and the body of the
// answer to POST /api/login. The order of the fields is part of the format.
type LoginAnswer struct {
	RequestUserID string    `json:"requestUserID"`
	IsAccept      bool      `json:"isAccept"`
	User          LoginUser `json:"user"`
}

// LoginUser is the user of a LoginAnswer; all fields are null in a refusal.
type LoginUser struct {
	UserID     *string `json:"userId"`
	UserPw     *string `json:"userPw"` // always null: consumers have the field, maru never fills it
	Email      *string `json:"email"`
	UserName   *string `json:"userName"`
	UserStatus *string `json:"userStatus"`
	JoinDate   *Date   `json:"joinDate"`
	LoginDate  *Date   `json:"loginDate"`
	LogoutDate *Date   `json:"logoutDate"`
}

// Date is a day in the server's time zone, written as [year, month, day].
type Date [3]int

// DateOf returns the day of ms (milliseconds since the epoch) in loc, nil for 0.
func DateOf(ms int64, loc *time.Location) *Date {
	if ms == 0 {
		return nil
	}
	y, m, d := time.UnixMilli(ms).In(loc).Date()
	return &Date{y, int(m), d}
}

// Text returns a pointer to s, nil for the empty string: what is unknown is null.
func Text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// LoginClaims is what a gateway asserts beside a login request, in HeaderClaims
// behind a MAC: without a valid MAC a request opens no session and gets no
// answer on delivery, for anybody may write to login-request.
type LoginClaims struct {
	Device string  `json:"device,omitempty"` // name of the device, for the list of sessions
	Known  bool    `json:"known,omitempty"`  // the device has signed in to this account before
	Reply  Address `json:"reply"`

	// SignedAt is when the gateway signed, milliseconds since the epoch: the MAC
	// of a request fits for ever, and by its time an old one is told from a new.
	// 0: not told.
	SignedAt int64 `json:"signedAt,omitempty"`
}
