package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
)

// hashSenders bounds how many requests that cost a hash are under way: the server
// refuses more than 64 that wait, and a few keep every processor busy.
const hashSenders = 32

// crowd is the accounts of a run and the connections of its senders.
type crowd struct {
	cfg     *Config
	pid     int // of the server, 0: not ours
	people  []person
	clients []client
	tokens  []atomic.Pointer[string] // of the newest login, by person
}

// Login measures logins and what they are made of, each with nothing beside it.
func Login(ctx context.Context, cfg Config) (report Report, err error) {
	if err := cfg.Check(); err != nil {
		return report, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "maru-bench-")
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report = newReport(&cfg)
	for _, f := range []func(context.Context) (Result, error){
		cfg.hashes, cfg.remembered, cfg.sealing,
		func(ctx context.Context) (Result, error) { return cfg.syncs(ctx, dir) },
	} {
		r, err := f(ctx)
		if err != nil {
			return report, err
		}
		report.Results = append(report.Results, r)
	}
	raw, err := cfg.rawLogs(ctx, dir)
	if err != nil {
		return report, err
	}
	report.Results = append(report.Results, raw...)
	logins, err := cfg.logins(ctx, dir)
	report.Results = append(report.Results, logins...)
	report.finish()
	return report, err
}

// logins measures the server, one of its own or the one that was named.
func (c *Config) logins(ctx context.Context, dir string) (results []Result, err error) {
	crowd := &crowd{
		cfg: c, people: newPeople(c.Users), clients: make([]client, c.Senders),
		tokens: make([]atomic.Pointer[string], c.Users),
	}
	url := c.URL
	if url == "" {
		c.say("starting a server")
		s, err := c.startServer(ctx, dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		url, crowd.pid = s.url, s.cmd.Process.Pid
	}
	for i := range crowd.clients {
		crowd.clients[i].addr = address(url)
		defer crowd.clients[i].close()
	}
	for _, p := range crowd.parts() {
		r, err := c.run(ctx, p)
		if err != nil {
			return results, err
		}
		results = append(results, r)
		if r.Count == 0 || p.name == PartRegister && r.Failed > 0 {
			return results, fmt.Errorf("%s: %d done, %d failed: %s", r.Name, r.Count, r.Failed, r.Error)
		}
	}
	return results, nil
}

// parts is what is measured of a server, in order. The first two do each account
// once, however long it takes.
func (w *crowd) parts() []part {
	c := w.cfg
	users, few := int64(c.Users), min(c.Senders, hashSenders)
	long := startLimit + c.For*100
	return []part{
		{name: PartRegister, senders: few, length: long, total: users, pid: w.pid, timed: true, op: w.register},
		{name: PartCold, senders: few, length: long, total: users, pid: w.pid, timed: true, op: w.login},
		{name: PartWarm, senders: c.Senders, length: c.For, total: users * MaxLogins, pid: w.pid, timed: true, op: w.login},
		{name: PartMe, senders: c.Senders, length: c.For, pid: w.pid, timed: true, op: w.me},
	}
}

// credentials is the body of a registration and of a login.
type credentials struct {
	UserID string `json:"userId"`
	UserPw string `json:"userPw"`
}

func (w *crowd) register(ctx context.Context, sender int, n int64) (int, error) {
	p := &w.people[n]
	_, err := w.clients[sender].do(ctx, http.MethodPost, "/api/users", "", credentials{p.id, string(p.password)}, http.StatusCreated)
	return 1, err
}

func (w *crowd) login(ctx context.Context, sender int, n int64) (int, error) {
	i := n % int64(len(w.people))
	p := &w.people[i]
	body, err := w.clients[sender].do(ctx, http.MethodPost, "/api/login", "", credentials{p.id, string(p.password)}, http.StatusOK)
	if err != nil {
		return 0, err
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("the answer to a login: %w", err)
	}
	if answer.Token == "" {
		return 0, errors.New("the answer to a login has no token")
	}
	w.tokens[i].Store(&answer.Token)
	return 1, nil
}

func (w *crowd) me(ctx context.Context, sender int, n int64) (int, error) {
	token := w.tokens[n%int64(len(w.tokens))].Load()
	if token == nil {
		return 0, errors.New("an account has never signed in")
	}
	_, err := w.clients[sender].do(ctx, http.MethodGet, "/api/me", *token, nil, http.StatusOK)
	return 1, err
}
