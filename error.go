package maru

import (
	"errors"
	"time"
)

// Code is a stable, public name of a refusal: clients and tests match on it.
type Code string

// The codes of the public interfaces. Gateways map each to a status in one table.
const (
	CodeInvalid         Code = "INVALID"          // the request itself is wrong; Field says where
	CodeDuplicate       Code = "DUPLICATE"        // the user id is taken (or was, and is never given again)
	CodeUnauthenticated Code = "UNAUTHENTICATED"  // no session, or one that has ended
	CodeLoginFailed     Code = "LOGIN_FAILED"     // wrong password or unknown user: one code for both
	CodeInvalidPassword Code = "INVALID_PASSWORD" // the current password given with a change is wrong
	CodeForbidden       Code = "FORBIDDEN"
	CodeNotFound        Code = "NOT_FOUND"
	CodeCannotFindUser  Code = "CANNOT_FIND_USER"
	CodeTooMany         Code = "TOO_MANY"  // a rate; RetryAfter says when to come back
	CodeLimit           Code = "LIMIT"     // a count (friends, sessions) is at its maximum
	CodeTooLarge        Code = "TOO_LARGE" // a body or a text is longer than allowed
	CodeUnavailable     Code = "UNAVAILABLE"
	CodeInternal        Code = "INTERNAL"
)

// Error is a refusal as a client may see it: a code, a sentence that says what
// to do, and a cause that stays inside (logs only).
type Error struct {
	Code       Code
	Message    string        // public; a whole sentence or clause, no secrets
	Field      string        // with INVALID: which field of the request
	RetryAfter time.Duration // with TOO_MANY and UNAVAILABLE: when to try again
	Err        error         // the cause; never shown to clients
}

func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Invalid returns an error with code INVALID for a field of the request.
func Invalid(field, message string) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: message}
}

// AsError returns the *Error in err's chain, or one with code INTERNAL around it.
func AsError(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "something went wrong inside the server", Err: err}
}
