package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"maru"
	"maru/auth"
	"maru/record"
)

// request is one request on its way through the server; it belongs to the
// goroutine that serves it.
type request struct {
	*http.Request
	id     string // names the request in the log and towards the client
	client netip.Addr
	secure bool       // came over TLS, as far as we can trust it
	who    auth.Token // of whoever is signed in; the zero token on other routes
	key    string     // Idempotency-Key, empty when there is none

	failure error // why the answer is a 5xx, for the log
}

// requestKey is the context key under which the mux's handlers find the request.
type requestKey struct{}

// ServeHTTP implements [http.Handler] with everything that is the same for all
// routes: headers, logging, figures, and a panic that costs one request only.
func (s *Server) ServeHTTP(rw http.ResponseWriter, hr *http.Request) {
	start := time.Now()
	w := &responseWriter{ResponseWriter: rw}
	r := &request{id: rand.Text()}
	r.client, r.secure = s.proxies.client(hr)
	r.Request = hr.WithContext(context.WithValue(hr.Context(), requestKey{}, r))
	setHeaders(w.Header(), r.id)
	defer func() { s.finish(w, r, time.Since(start)) }()
	defer func() {
		if p := recover(); p != nil {
			s.panicked(w, r, p)
		}
	}()
	if !isClean(hr.URL) {
		s.refuse(w, r, errNoPath())
		return
	}
	r.Body = http.MaxBytesReader(rw, r.Body, maxBody) // rw, so that it can close the connection
	s.mux.ServeHTTP(w, r.Request)
}

func errNoPath() error {
	return &maru.Error{Code: maru.CodeNotFound, Message: "there is nothing at this path"}
}

// setHeaders sets what every answer carries. Nothing that the API answers is to be cached, framed,
// guessed at or run by a browser.
func setHeaders(h http.Header, id string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Request-Id", id)
}

// serveRoute checks what a route asks of its requests, in the order from cheap
// to dear, and handles the request.
func (s *Server) serveRoute(w http.ResponseWriter, r *request, rt route) {
	err := s.admit(r, rt.access)
	if err == nil {
		err = rt.handle(s, w, r)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

func (s *Server) admit(r *request, a access) error {
	if a == system {
		return nil
	}
	if err := s.homes.Ready(); err != nil {
		return unavailable("this gateway cannot serve requests at the moment; repeat the request", err)
	}
	if err := s.csrf.Check(r.Request); err != nil {
		return &maru.Error{Code: maru.CodeForbidden, Message: "requests from pages of another origin are refused", Err: err}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return &maru.Error{Code: codeUnsupportedType, Message: "send the body without Content-Encoding"}
	}
	var err error
	if r.key, err = idempotencyKey(r.Header); err != nil {
		return err
	}
	if a == signedIn {
		r.who, err = s.authenticate(r)
	}
	return err
}

// isClean tells whether a path has no empty and no dot segments, not even in
// disguise: the mux would redirect to what it takes for the path meant.
func isClean(u *url.URL) bool {
	p := u.EscapedPath()
	return strings.HasPrefix(p, "/") && path.Clean(p) == p
}

// maxKey bounds an Idempotency-Key.
const maxKey = 200

// idempotencyKey reads the header of that name; empty when there is none.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	ok := len(values) == 1 && key != "" && len(key) <= maxKey
	for i := 0; ok && i < len(key); i++ {
		ok = ' ' <= key[i] && key[i] <= '~'
	}
	if !ok {
		return "", maru.Invalid("Idempotency-Key", fmt.Sprintf("send one key of 1 to %d printable ASCII characters", maxKey))
	}
	return key, nil
}

// commandID returns the id of the command that r asks for: with an Idempotency-Key the same one for the
// same key, route and session, on every gateway; otherwise a new one. Whatever else must make
// it another command, a password above all, goes into parts.
func (s *Server) commandID(r *request, parts ...string) maru.CommandID {
	if r.key == "" {
		return maru.NewCommandID()
	}
	all := append([]string{r.Method, r.URL.EscapedPath(), r.who.User, r.who.Session, r.key}, parts...)
	return auth.DeriveID(s.idKey, all...)
}

// command returns a command of the signed-in user.
func (s *Server) command(r *request, kind record.Kind, parts ...string) record.Command {
	return record.Command{Kind: kind, ID: s.commandID(r, parts...), User: r.who.User, Session: r.who.Session}
}

// panicked answers a request whose handler panicked. What was thrown is logged only when it comes from
// the runtime: anything else could quote the request.
func (s *Server) panicked(w *responseWriter, r *request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	what := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		what = e.Error()
	}
	s.log.Error("a request handler panicked", "request", r.id, "panic", what, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // half an answer is under way: break the connection
	}
	s.refuse(w, r, fmt.Errorf("panic: %s", what))
}

// finish logs and counts a request that was answered.
func (s *Server) finish(w *responseWriter, r *request, took time.Duration) {
	route := r.Pattern
	if !s.patterns[route] {
		route = "other"
	}
	method := r.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		method = "other"
	}
	s.metrics.observe(route, method, w.status, took)
	level := slog.LevelDebug
	attrs := []slog.Attr{
		slog.String("request", r.id), slog.String("method", method), slog.String("route", route),
		slog.Int("status", w.status), slog.Duration("took", took), slog.String("client", r.client.String()),
	}
	if r.failure != nil {
		attrs = append(attrs, slog.Any("err", r.failure))
		if r.Context().Err() == nil { // else the client went away, and nobody missed the answer
			level = slog.LevelWarn
		}
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// responseWriter remembers the status that was sent.
type responseWriter struct {
	http.ResponseWriter
	status int // 0 until the header is written
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *responseWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}
