package gateway

import (
	"fmt"
	"net/http"
	"time"

	"maru"
	"maru/auth"
	"maru/record"
)

// loginBody is the answer to a login that succeeded: the answer that Kafka's
// consumers read, and what only the client may know.
type loginBody struct {
	record.LoginAnswer
	Token     string `json:"token,omitempty"`
	ExpiresAt string `json:"expiresAt"`
}

// loginInput is the body of a login.
type loginInput struct {
	UserID string `json:"userId"`
	UserPw secret `json:"userPw"`
}

// postLogin opens a session. A wrong password, an unknown user and an id that
// nobody can have are answered alike.
func (s *Server) postLogin(w http.ResponseWriter, r *request) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	asCookie, err := flag(query, "cookie")
	if err != nil {
		return err
	}
	var body loginInput
	defer func() { clear(body.UserPw) }()
	if err := decode(r, &body); err != nil {
		return err
	}
	if err := s.limits.allow("login", s.cfg.FailedLogins, r.client, time.Now()); err != nil {
		return err
	}
	user, result, err := s.login(r, body)
	if err != nil {
		return s.loginFailed(w, r, body.UserID, err)
	}
	result.Answer.RequestUserID = body.UserID
	return s.signIn(w, r, user, result, asCookie)
}

// busyRetry is when to come back to a home, or to this gateway, that had no room to
// check a password: that was no guess, and is not the client's doing. A lock has
// longer to go, but for its last second.
const busyRetry = time.Second

// loginFailed counts what may have been a guess, and answers it.
func (s *Server) loginFailed(w http.ResponseWriter, r *request, given string, err error) error {
	switch maru.AsError(err).Code {
	case maru.CodeLoginFailed:
		s.limits.spend("login", s.cfg.FailedLogins, r.client, time.Now())
		return writeJSON(w, http.StatusUnauthorized, record.LoginAnswer{RequestUserID: given})
	case maru.CodeTooMany: // a locked account costs the home something, too
		if maru.AsError(err).RetryAfter > busyRetry {
			s.limits.spend("login", s.cfg.FailedLogins, r.client, time.Now())
		}
	}
	return err
}

// login has the password checked by the user's home, and returns the folded id.
func (s *Server) login(r *request, body loginInput) (user string, result record.LoginResultBody, err error) {
	user, err = maru.ParseUserID(body.UserID)
	if err != nil || len(body.UserPw) == 0 || len(body.UserPw) > auth.MaxPasswordBytes {
		// No home would look at it; it is to cost as much as if one had.
		if err := s.onPool(r.Context(), s.verifyNothing); err != nil {
			return "", result, err
		}
		return "", result, &maru.Error{Code: maru.CodeLoginFailed}
	}
	id := s.commandID(r, user, string(body.UserPw))
	req := LoginRequest{ID: id, User: user}
	if req.Sealed, err = s.sealer.Seal(user, id.String(), body.UserPw); err != nil {
		return "", result, err
	}
	claims := record.LoginClaims{
		Device:   deviceName(r.UserAgent()),
		Known:    s.knownDevice(r, user, time.Now()) != "",
		Reply:    s.homes.Address(),
		SignedAt: time.Now().UnixMilli(), // repetitions follow within 10 s and carry the same
	}
	if req.Claims, err = s.claims.Sign(user, id.String(), record.MustEncode(claims)); err != nil {
		return "", result, err
	}
	reply, err := s.homes.Login(r.Context(), req)
	if err := outcome(reply, err, &result); err != nil {
		return "", result, err
	}
	if !result.Answer.IsAccept || !maru.ValidSessionID(result.Session) {
		return "", result, fmt.Errorf("login %s was accepted without a session", id)
	}
	return user, result, nil
}

// verifyNothing takes the time of a password check and has no result.
func (s *Server) verifyNothing() {
	s.cfg.Hasher.Verify(s.cfg.Hasher.Dummy(), []byte("no password"))
}

// signIn gives the client the token of the session that a login opened.
func (s *Server) signIn(w http.ResponseWriter, r *request, user string, result record.LoginResultBody, asCookie bool) error {
	now := time.Now()
	expires := time.UnixMilli(result.ExpiresAt).UTC().Truncate(time.Second)
	token, err := s.tokens.Sign(auth.Token{User: user, Session: result.Session, IssuedAt: now, ExpiresAt: expires})
	if err != nil {
		return err
	}
	device := s.knownDevice(r, user, now)
	if device == "" {
		device = result.Session // as good a name as any, and tells nothing new
	}
	if err := s.rememberDevice(w, r, asCookie, auth.DeviceToken{User: user, Device: device, IssuedAt: now}); err != nil {
		return err
	}
	body := loginBody{LoginAnswer: result.Answer, Token: token, ExpiresAt: expires.Format(time.RFC3339)}
	if asCookie {
		setSessionCookie(w, r, token, expires)
		body.Token = ""
	}
	return writeJSON(w, http.StatusOK, body)
}

// postLogout ends the session of the request, or with all=true every session of the user.
func (s *Server) postLogout(w http.ResponseWriter, r *request) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	all, err := flag(query, "all")
	if err != nil {
		return err
	}
	end := record.SessionEndBody{Logout: true, All: all}
	if !all {
		end.Session = r.who.Session
	}
	cmd := s.command(r, record.SessionEnd, fmt.Sprint(all))
	cmd.SessionEnd = &end
	if err := s.do(r.Context(), cmd, nil); err != nil {
		return err
	}
	clearSessionCookie(w, r)
	return noContent(w)
}
