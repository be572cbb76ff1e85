package gateway

import (
	"net/http"
	"strings"
	"time"

	"maru"
	"maru/auth"
)

// Names of the cookies, and of the header that carries the device token of
// clients without cookies, in requests and in the answer to a login.
const (
	cookieSession       = "maru"
	cookieSessionSecure = "__Host-maru" // RFC 6265bis section 4.1.3.2: no subdomain can plant it
	cookieDevice        = "maru-device"
	cookieDeviceSecure  = "__Secure-maru-device" // bound to a path, which __Host- does not allow
	headerDevice        = "Maru-Device"

	pathLogin = "/api/login"
)

// deviceAge is how long a device counts as known without signing in.
const deviceAge = 365 * 24 * time.Hour

// authenticate returns the token of r. A token shows that the user signed in, not that the session
// still lives: the user's home checks that in the command that follows.
func (s *Server) authenticate(r *request) (auth.Token, error) {
	text, ok := bearer(r)
	if !ok {
		return auth.Token{}, errUnauthenticated("sign in: send a token as Authorization: Bearer, or the session cookie")
	}
	token, err := s.tokens.Parse(text, time.Now())
	if err != nil {
		return auth.Token{}, errUnauthenticated(err.Error())
	}
	if !maru.ValidUserID(token.User) || !maru.ValidSessionID(token.Session) {
		return auth.Token{}, errUnauthenticated(auth.ErrToken.Error())
	}
	return token, nil
}

func errUnauthenticated(message string) error {
	return &maru.Error{Code: maru.CodeUnauthenticated, Message: message}
}

// bearer returns the token that r carries. An Authorization header that is there
// counts even when it is wrong: no second credential is tried.
func bearer(r *request) (text string, ok bool) {
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		scheme, text, _ := strings.Cut(values[0], " ")
		return strings.TrimSpace(text), len(values) == 1 && strings.EqualFold(scheme, "Bearer")
	}
	c, err := r.Cookie(r.sessionCookie())
	if err != nil {
		return "", false
	}
	return c.Value, true
}

// sessionCookie is the name of the session cookie on this connection. Over TLS
// only the protected name counts.
func (r *request) sessionCookie() string {
	if r.secure {
		return cookieSessionSecure
	}
	return cookieSession
}

// usesCookie tells whether r is signed in by a session cookie.
func (r *request) usesCookie() bool {
	_, err := r.Cookie(r.sessionCookie())
	return err == nil && r.Header.Get("Authorization") == ""
}

func (r *request) deviceCookie() string {
	if r.secure {
		return cookieDeviceSecure
	}
	return cookieDevice
}

func setSessionCookie(w http.ResponseWriter, r *request, token string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{
		Name: r.sessionCookie(), Value: token, Path: "/", Expires: expires,
		HttpOnly: true, Secure: r.secure, SameSite: http.SameSiteStrictMode,
	})
}

func clearSessionCookie(w http.ResponseWriter, r *request) {
	http.SetCookie(w, &http.Cookie{
		Name: r.sessionCookie(), Path: "/", MaxAge: -1,
		HttpOnly: true, Secure: r.secure, SameSite: http.SameSiteStrictMode,
	})
}

// knownDevice returns the device id of r when the user has signed in from that
// device within the last year, otherwise an empty text.
func (s *Server) knownDevice(r *request, user string, now time.Time) string {
	text := r.Header.Get(headerDevice)
	if c, err := r.Cookie(r.deviceCookie()); text == "" && err == nil {
		text = c.Value
	}
	if text == "" {
		return ""
	}
	token, err := s.tokens.ParseDevice(text)
	if err != nil || token.User != user || now.Sub(token.IssuedAt) > deviceAge {
		return ""
	}
	return token.Device
}

// rememberDevice gives the client a token by which the device is known at the
// next login: as a cookie that is sent to the login route only, or in a header.
func (s *Server) rememberDevice(w http.ResponseWriter, r *request, asCookie bool, token auth.DeviceToken) error {
	text, err := s.tokens.SignDevice(token)
	if err != nil {
		return err
	}
	if !asCookie {
		w.Header().Set(headerDevice, text)
		return nil
	}
	http.SetCookie(w, &http.Cookie{
		Name: r.deviceCookie(), Value: text, Path: pathLogin, MaxAge: int(deviceAge / time.Second),
		HttpOnly: true, Secure: r.secure, SameSite: http.SameSiteStrictMode,
	})
	return nil
}
