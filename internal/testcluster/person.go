package testcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"maru"
)

// patience is how long a client repeats a request, in virtual time, before it
// counts as never answered: longer than any fault of a test.
const patience = 2 * time.Minute

// Person is a user with a client. It repeats a request without an answer under the
// same Idempotency-Key, through whatever gateway, until it has one; so every
// outcome is known, and what the cluster must say later follows from them. A
// Person belongs to one goroutine at a time.
type Person struct {
	c        *Cluster
	ID       string
	password string
	token    string
	http     *http.Client
	turn     int

	registered bool
	status     string
	friends    map[string]string // id → alias, by the answers
	asked      int               // requests answered
}

// NewPerson returns somebody who is not registered yet.
func (c *Cluster) NewPerson(id string) *Person {
	p := &Person{c: c, ID: id, password: "password of " + id, friends: map[string]string{}}
	p.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return c.net.DialContext(ctx, network, addr)
		},
		DisableKeepAlives: true,
	}}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.turn = len(c.people)
	c.people = append(c.people, p)
	return p
}

// gateway returns the next gateway to try.
func (p *Person) gateway() string {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	g := p.c.gateways[p.turn%len(p.c.gateways)]
	p.turn++
	return g
}

// Do sends one request until it is answered; it returns status and body.
func (p *Person) Do(method, path string, body any) (int, []byte) {
	key := maru.NewCommandID().String()
	for start := time.Now(); time.Since(start) < patience; {
		status, answer, err := p.try(method, path, key, body)
		if err == nil && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
			p.asked++
			return status, answer
		}
		time.Sleep(200 * time.Millisecond)
	}
	p.c.tell("%s %s of %s: no answer within %v", method, path, p.ID, patience)
	return 0, nil
}

func (p *Person) try(method, path, key string, body any) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.gateway()+":80"+path, r)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if method != http.MethodGet {
		req.Header.Set("Idempotency-Key", key)
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

func (p *Person) want(status int, answer []byte, what string, wanted ...int) bool {
	if slices.Contains(wanted, status) {
		return true
	}
	p.c.tell("%s of %s: status %d, want %v: %s", what, p.ID, status, wanted, answer)
	return false
}

// Register opens the account.
func (p *Person) Register() {
	status, b := p.Do("POST", "/api/users", map[string]string{"userId": p.ID, "userPw": p.password, "userName": "name of " + p.ID})
	p.registered = p.want(status, b, "registration", http.StatusCreated)
}

// Login signs in and checks the answer.
func (p *Person) Login() {
	status, b := p.Do("POST", "/api/login", map[string]string{"userId": p.ID, "userPw": p.password})
	if !p.want(status, b, "login", http.StatusOK) {
		return
	}
	var a struct {
		IsAccept bool   `json:"isAccept"`
		Token    string `json:"token"`
	}
	if err := json.Unmarshal(b, &a); err != nil || !a.IsAccept || a.Token == "" {
		p.c.tell("login of %s answered %s", p.ID, b)
	}
	p.token = a.Token
}

// Logout ends the session.
func (p *Person) Logout() {
	status, b := p.Do("POST", "/api/logout", nil)
	if p.want(status, b, "logout", http.StatusNoContent) {
		p.token = ""
	}
}

// SetStatus changes the status message.
func (p *Person) SetStatus(s string) {
	status, b := p.Do("PATCH", "/api/me", map[string]string{"userStatus": s})
	if p.want(status, b, "status change", http.StatusOK) {
		p.status = s
	}
}

// CheckMe asks for the own profile: it must show the last accepted change.
func (p *Person) CheckMe() {
	status, b := p.Do("GET", "/api/me", nil)
	var me struct{ UserID, UserStatus string }
	if p.want(status, b, "own profile", http.StatusOK) && (json.Unmarshal(b, &me) != nil || me.UserID != p.ID || me.UserStatus != p.status) {
		p.c.tell("%s has set status %q and reads %s", p.ID, p.status, b)
	}
}

// Add adds a friend.
func (p *Person) Add(friend, alias string) {
	status, b := p.Do("PUT", "/api/friends/"+friend, map[string]string{"alias": alias})
	if p.want(status, b, "adding "+friend, http.StatusNoContent) {
		p.friends[friend] = alias
	}
}

// AddUnknown adds somebody who does not exist.
func (p *Person) AddUnknown(id string) {
	status, b := p.Do("PUT", "/api/friends/"+id, nil)
	p.want(status, b, "adding unknown "+id, http.StatusNotFound)
}

// Remove removes a friend.
func (p *Person) Remove(friend string) {
	status, b := p.Do("DELETE", "/api/friends/"+friend, nil)
	if p.want(status, b, "removing "+friend, http.StatusNoContent) {
		delete(p.friends, friend)
	}
}

// CheckFriends asks for the friend list: it must be what the answers made it.
func (p *Person) CheckFriends() {
	status, b := p.Do("GET", "/api/friends?limit=200", nil)
	if !p.want(status, b, "friend list", http.StatusOK) {
		return
	}
	var list struct {
		Friends []struct{ UserID, Alias string } `json:"friends"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		p.c.tell("friend list of %s: %v", p.ID, err)
	}
	got := map[string]string{}
	for _, f := range list.Friends {
		got[f.UserID] = f.Alias
	}
	if !maps.Equal(got, p.friends) {
		p.c.tell("%s has the friends %v by the answers and reads %v", p.ID, p.friends, got)
	}
}

// pace bounds the pause between two things that somebody does: in virtual time
// work costs nothing, and without pauses it would be over before a fault begins.
const pace = 600

// Live does n random things, each a while after the answer to the one before.
func (p *Person) Live(n int, others []string, intn func(int) int) {
	for i := range n {
		time.Sleep(time.Duration(intn(pace)) * time.Millisecond)
		switch k := intn(10); {
		case p.token == "":
			p.Login()
		case k < 3:
			p.SetStatus(fmt.Sprintf("%s says %d", p.ID, i))
		case k < 5:
			p.Add(others[intn(len(others))], fmt.Sprintf("pal %d", i))
		case k < 6 && len(p.friends) > 0:
			p.Remove(slices.Sorted(maps.Keys(p.friends))[intn(len(p.friends))])
		case k < 7:
			p.CheckFriends()
		case k < 8:
			p.CheckMe()
		case k < 9:
			p.Logout()
		default:
			p.AddUnknown("nobody-" + p.ID)
		}
	}
}
