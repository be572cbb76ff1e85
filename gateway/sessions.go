package gateway

import (
	"net/http"
	"time"

	"maru"
	"maru/record"
)

// sessionBody is a session on the wire: a device on which the user is signed in.
type sessionBody struct {
	ID        string `json:"id"`
	Device    string `json:"device"`
	CreatedAt string `json:"createdAt"`
	SeenAt    string `json:"seenAt"`
	ExpiresAt string `json:"expiresAt"`
	Current   bool   `json:"current"` // the session of this very request
}

// sessionsBody is the answer to a question for sessions.
type sessionsBody struct {
	Sessions []sessionBody `json:"sessions"`
}

// timeText writes milliseconds since the epoch as RFC 3339 with milliseconds, in UTC.
func timeText(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// getSessions lists the devices on which the user is signed in.
func (s *Server) getSessions(w http.ResponseWriter, r *request) error {
	var result record.SessionsResult
	if err := s.ask(r, record.AskBody{What: record.AskSessions}, &result); err != nil {
		return err
	}
	body := sessionsBody{Sessions: make([]sessionBody, len(result.Sessions))}
	for i, session := range result.Sessions {
		body.Sessions[i] = sessionBody{
			ID: session.ID, Device: session.Device,
			CreatedAt: timeText(session.CreatedAt), SeenAt: timeText(session.SeenAt), ExpiresAt: timeText(session.ExpiresAt),
			Current: session.ID == r.who.Session,
		}
	}
	return writeJSON(w, http.StatusOK, body)
}

// deleteSession ends one session of the user. An id that no session can have is
// refused like one that none has.
func (s *Server) deleteSession(w http.ResponseWriter, r *request) error {
	id := r.PathValue("id")
	if !maru.ValidSessionID(id) {
		if err := s.checkSession(r); err != nil {
			return err
		}
		return &maru.Error{Code: maru.CodeNotFound}
	}
	cmd := s.command(r, record.SessionEnd)
	cmd.SessionEnd = &record.SessionEndBody{Session: id}
	if err := s.do(r.Context(), cmd, nil); err != nil {
		return err
	}
	return noContent(w)
}
