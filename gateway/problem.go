package gateway

import (
	"context"
	"errors"
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

// statusOf is the one table from codes to HTTP statuses (RFC 9110 section 15).
var statusOf = map[maru.Code]int{
	maru.CodeInvalid:         http.StatusBadRequest,
	maru.CodeUnauthenticated: http.StatusUnauthorized,
	maru.CodeLoginFailed:     http.StatusUnauthorized,
	maru.CodeInvalidPassword: http.StatusForbidden,
	maru.CodeForbidden:       http.StatusForbidden,
	maru.CodeNotFound:        http.StatusNotFound,
	maru.CodeCannotFindUser:  http.StatusNotFound,
	codeMethodNotAllowed:     http.StatusMethodNotAllowed,
	maru.CodeDuplicate:       http.StatusConflict,
	maru.CodeLimit:           http.StatusConflict,
	maru.CodeTooLarge:        http.StatusRequestEntityTooLarge,
	codeUnsupportedType:      http.StatusUnsupportedMediaType,
	maru.CodeTooMany:         http.StatusTooManyRequests,
	maru.CodeInternal:        http.StatusInternalServerError,
	maru.CodeUnavailable:     http.StatusServiceUnavailable,
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
	status, known := statusOf[e.Code]
	if !known { // from a home that knows more codes than this gateway
		e = &maru.Error{Code: maru.CodeInternal, Message: "the server gave an answer that this gateway does not know", Err: err}
		status = http.StatusInternalServerError
	}
	p := problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: e.Message, Code: e.Code, Field: e.Field,
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
