package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"maru"
	"maru/home"
	"maru/node"
)

// operator is what administrators can ask; a running server does it, or a
// process that has joined the cluster for that.
type operator interface {
	AddUser(ctx context.Context, u node.NewUser) error
	SetPassword(ctx context.Context, userID, password string, allowWeak bool) error
	SetAdmin(ctx context.Context, userID string, on bool) error
	Where(ctx context.Context, userID string) (node.Whereabouts, error)
	Topics(ctx context.Context) (node.TopicTable, error)
}

// Limits of one command of an administrator.
const (
	askLimit       = 30 * time.Second
	maxSocketReply = 64 << 20 // bytes; residents of a large home
)

// adminFlags are what commands take that ask a server.
type adminFlags struct {
	dataFlags
	clusterFlags
}

// with calls f with the operator that the flags name: the cluster when brokers
// are named, otherwise the server that runs on the data directory.
func (c *adminFlags) with(w *world, p *passwordFlags, f func(ctx context.Context, op operator) error) (err error) {
	ctx, cancel := context.WithTimeout(w.ctx, askLimit)
	defer cancel()
	s := node.Defaults()
	c.clusterFlags.fill(&s)
	if len(s.Kafka) == 0 {
		return f(ctx, newSocket(c.Data))
	}
	if p != nil {
		p.fill(&s)
	}
	s.Data = c.Data
	log := slog.New(slog.NewTextHandler(w.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	op, closeAll, err := node.Connect(ctx, node.Config{Settings: s, Logger: log})
	if err != nil {
		return err
	}
	defer func() {
		shut, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if e := closeAll(shut); err == nil && e != nil {
			err = fmt.Errorf("done, but not closed in order: %w", e)
		}
	}()
	return f(ctx, op)
}

// socket asks the server that runs on a data directory. It is safe for
// concurrent use.
type socket struct {
	data   string
	client http.Client
}

func newSocket(data string) *socket {
	return &socket{data: data, client: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(data, node.SocketName))
		},
		DisableKeepAlives: true,
	}}}
}

// call sends one request, and reads the answer into out unless that is nil.
func (s *socket) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://maru"+path, body)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return s.unreachable(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxSocketReply))
	if err != nil {
		return fmt.Errorf("the answer of the server on %s broke off: %w", s.data, err)
	}
	if resp.StatusCode != http.StatusOK {
		var p node.Problem
		if json.Unmarshal(b, &p) != nil || p.Message == "" {
			return fmt.Errorf("the server on %s answers with status %s: is it another version of maru?", s.data, resp.Status)
		}
		return &maru.Error{Code: p.Code, Message: p.Message}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("the answer of the server on %s is not readable: %w", s.data, err)
	}
	return nil
}

// unreachable says what to do about a socket that cannot be opened.
func (s *socket) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no maru runs on %s: start one there, name its directory with --data, or a cluster with --kafka and --database", s.data)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s: run this as the user that maru runs as", filepath.Join(s.data, node.SocketName))
	}
	return fmt.Errorf("asking the maru on %s: %w", s.data, err)
}

func (s *socket) AddUser(ctx context.Context, u node.NewUser) error {
	return s.call(ctx, http.MethodPost, "/users", u, nil)
}

func (s *socket) SetPassword(ctx context.Context, userID, password string, allowWeak bool) error {
	return s.call(ctx, http.MethodPut, "/users/"+url.PathEscape(userID)+"/password", node.NewUser{Password: password, AllowWeak: allowWeak}, nil)
}

func (s *socket) SetAdmin(ctx context.Context, userID string, on bool) error {
	return s.call(ctx, http.MethodPut, "/users/"+url.PathEscape(userID)+"/admin", node.NewUser{Admin: on}, nil)
}

func (s *socket) Where(ctx context.Context, userID string) (w node.Whereabouts, err error) {
	err = s.call(ctx, http.MethodGet, "/where/"+url.PathEscape(userID), nil, &w)
	return w, err
}

func (s *socket) Topics(ctx context.Context) (t node.TopicTable, err error) {
	err = s.call(ctx, http.MethodGet, "/topics", nil, &t)
	return t, err
}

func (s *socket) Residents(ctx context.Context) (r []home.Residents, err error) {
	err = s.call(ctx, http.MethodGet, "/residents", nil, &r)
	return r, err
}
