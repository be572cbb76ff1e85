package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"maru"
	"maru/record"
)

// Codes that only HTTP knows; no home ever answers them.
const (
	codeMethodNotAllowed maru.Code = "METHOD_NOT_ALLOWED"
	codeUnsupportedType  maru.Code = "UNSUPPORTED_TYPE"
)

// meaning is what a code means in HTTP, and what to tell clients when a home
// sent the code alone.
type meaning struct {
	status int
	detail string
}

// meanings is the one table from codes to HTTP statuses (RFC 9110 section 15).
var meanings = map[maru.Code]meaning{
	maru.CodeInvalid:         {http.StatusBadRequest, "the request is not valid"},
	maru.CodeUnauthenticated: {http.StatusUnauthorized, "the session has ended: sign in again"},
	maru.CodeLoginFailed:     {http.StatusUnauthorized, "wrong password or unknown user"},
	maru.CodeInvalidPassword: {http.StatusForbidden, "the current password is wrong"},
	maru.CodeForbidden:       {http.StatusForbidden, "this is not allowed"},
	maru.CodeNotFound:        {http.StatusNotFound, "there is no such thing"},
	maru.CodeCannotFindUser:  {http.StatusNotFound, "there is no user with this id"},
	codeMethodNotAllowed:     {http.StatusMethodNotAllowed, "the path does not take this method"},
	maru.CodeDuplicate:       {http.StatusConflict, "the user id is taken: choose another"},
	maru.CodeLimit:           {http.StatusConflict, "the greatest possible number is reached: remove something first"},
	maru.CodeTooLarge:        {http.StatusRequestEntityTooLarge, "the request is too large"},
	codeUnsupportedType:      {http.StatusUnsupportedMediaType, "the body has a type that is not taken"},
	maru.CodeTooMany:         {http.StatusTooManyRequests, "too many attempts: wait before the next one"},
	maru.CodeInternal:        {http.StatusInternalServerError, "something went wrong inside the server"},
	maru.CodeUnavailable:     {http.StatusServiceUnavailable, "the server cannot answer at the moment: repeat the request"},
}

// problem is the body of every refusal but that of a login (RFC 9457). Code is
// the stable name of the refusal, Field the field of the request that it is about.
// RequestID is given with a 500, so that a report can be matched with the log.
type problem struct {
	Type      string    `json:"type"`
	Title     string    `json:"title"`
	Status    int       `json:"status"`
	Detail    string    `json:"detail,omitempty"`
	Code      maru.Code `json:"code"`
	Field     string    `json:"field,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
}

// refuse answers r with err as a problem.
func (s *Server) refuse(w http.ResponseWriter, r *request, err error) {
	e := asRefusal(err)
	m, known := meanings[e.Code]
	if !known { // from a home that knows more codes than this gateway
		err = fmt.Errorf("a home answered with an unknown code: %w", err)
		e, m = &maru.Error{Code: maru.CodeInternal}, meanings[maru.CodeInternal]
	}
	status := m.status
	p := problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: cmp.Or(e.Message, m.detail), Code: e.Code, Field: e.Field,
	}
	if status == http.StatusInternalServerError {
		p.RequestID = r.id
	}
	if status >= http.StatusInternalServerError {
		r.failure = err
	}
	if e.Code == maru.CodeUnauthenticated && r.usesCookie() {
		clearSessionCookie(w, r)
	}
	writeRetryAfter(w, e.RetryAfter)
	w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
	writeBody(w, status, record.MustEncode(p))
}

// asRefusal is maru.AsError for what handlers return. A request whose client went
// away, or whose context ended otherwise, is one without an answer.
func asRefusal(err error) *maru.Error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return unavailable("the request ended before there was an answer; repeating it with the same Idempotency-Key is safe", err)
	}
	return maru.AsError(err)
}

// writeRetryAfter sets Retry-After (RFC 9110 section 10.2.3) in whole seconds, rounded up.
func writeRetryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10))
	}
}

// writeJSON answers with the JSON of v on one line.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := record.Encode(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	writeBody(w, status, body)
	return nil
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 9110 section 11.6.1 asks for it
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // an error means that the client is gone
}

func noContent(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
