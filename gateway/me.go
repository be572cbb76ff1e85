package gateway

import (
	"net/http"
	"time"

	"golang.org/x/text/unicode/norm"

	"maru"
	"maru/auth"
	"maru/record"
)

// getMe answers the profile of whoever is signed in, as its owner sees it.
func (s *Server) getMe(w http.ResponseWriter, r *request) error {
	var result record.UserResult
	if err := s.ask(r, record.AskBody{What: record.AskMe}, &result); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, result.User)
}

// patchMe changes the profile; fields that are not in the body stay.
func (s *Server) patchMe(w http.ResponseWriter, r *request) error {
	var body struct {
		UserName   *string `json:"userName"`
		UserStatus *string `json:"userStatus"`
		Email      *string `json:"email"`
	}
	if err := decode(r, &body); err != nil {
		return err
	}
	if body.UserName == nil && body.UserStatus == nil && body.Email == nil {
		return maru.Invalid("", "name what to change: userName, userStatus or email")
	}
	update := record.UpdateBody{Name: nfc(body.UserName), Status: nfc(body.UserStatus), Email: nfc(body.Email)}
	if err := checkProfile(update.Name, update.Status, update.Email); err != nil {
		return err
	}
	cmd := s.command(r, record.Update)
	cmd.Update = &update
	var result record.UserResult
	if err := s.do(r.Context(), cmd, &result); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, result.User)
}

// nfc returns the NFC form of a text that may be absent.
func nfc(s *string) *string {
	if s == nil {
		return nil
	}
	n := norm.NFC.String(*s)
	return &n
}

// putPassword changes the password of whoever is signed in and knows the current
// one. The home decides what becomes of the other sessions.
func (s *Server) putPassword(w http.ResponseWriter, r *request) error {
	var body struct {
		UserPw secret `json:"userPw"`
		NewPw  secret `json:"newPw"`
	}
	defer func() { clear(body.UserPw); clear(body.NewPw) }()
	if err := decode(r, &body); err != nil {
		return err
	}
	if len(body.UserPw) == 0 || len(body.UserPw) > auth.MaxPasswordBytes {
		return maru.Invalid("userPw", "give the current password")
	}
	if err := s.cfg.Policy.Check(r.who.User, body.NewPw); err != nil {
		return maru.Invalid("newPw", err.Error())
	}
	// A stolen token must not become a way to guess the password.
	if err := s.limits.allow("login", s.cfg.FailedLogins, r.client, time.Now()); err != nil {
		return err
	}
	if err := s.changePassword(r, body.UserPw, body.NewPw); err != nil {
		if maru.AsError(err).Code == maru.CodeInvalidPassword {
			s.limits.spend("login", s.cfg.FailedLogins, r.client, time.Now())
		}
		return err
	}
	return noContent(w)
}

func (s *Server) changePassword(r *request, current, next secret) error {
	hash, err := s.hash(r.Context(), next)
	if err != nil {
		return err
	}
	cmd := s.command(r, record.PasswordChange, string(current), string(next))
	sealed, err := s.sealer.Seal(cmd.User, cmd.ID.String(), current)
	if err != nil {
		return err
	}
	cmd.PasswordChange = &record.PasswordChangeBody{Sealed: sealed, Password: hash}
	return s.do(r.Context(), cmd, nil)
}
