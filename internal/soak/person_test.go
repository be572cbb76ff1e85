package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"maru"
)

// account is what somebody has been told about the own account.
type account struct {
	Registered bool
	Status     string
	Friends    map[string]string // id → alias
}

func (a account) clone() account {
	a.Friends = maps.Clone(a.Friends)
	return a
}

func (a account) equal(b account) bool {
	return a.Registered == b.Registered && a.Status == b.Status && maps.Equal(a.Friends, b.Friends)
}

// ledger is what a person must find later: what answers have promised, or what the
// request makes of it that was under way.
type ledger struct {
	told  account
	asked *account // nil: no request was under way
	token string   // of the newest session: sessions too are promises
}

func (l ledger) allows(a account) bool {
	return a.equal(l.told) || l.asked != nil && a.equal(*l.asked)
}

func (l ledger) String() string {
	if l.asked == nil {
		return fmt.Sprintf("%+v", l.told)
	}
	return fmt.Sprintf("%+v or %+v", l.told, *l.asked)
}

// person is a user with a client. It repeats a request without an answer under the
// same Idempotency-Key, through whatever gateway, until it has one. A person
// belongs to one goroutine, but for ledger.
type person struct {
	town     *town
	id       string
	password string
	turn     int
	rand     *rand.Rand

	signedUp string // Idempotency-Key of the registration
	since    time.Time
	wrong    int // logins with a wrong password so far: too many lock the account

	mu   sync.Mutex // owns what follows
	book ledger
}

// ledger returns what the person must find from now on.
func (p *person) ledger() ledger {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := ledger{told: p.book.told.clone(), token: p.book.token}
	if p.book.asked != nil {
		a := p.book.asked.clone()
		l.asked = &a
	}
	return l
}

// do sends a request until it is answered. ok is false when the town has lost its
// patience, which it tells.
func (p *person) do(method, path, key string, body any) (status int, answer []byte, ok bool) {
	first := time.Now()
	for {
		began := time.Now()
		status, answer, err := p.try(method, path, key, body)
		p.town.tried(status, time.Since(began), err)
		if err == nil && !slices.Contains(unanswered, status) {
			p.town.answered()
			return status, answer, true
		}
		if time.Since(first) > p.town.patience {
			p.town.tell("%s %s of %s: no answer within %v, last: %d %s %v", method, path, p.id, p.town.patience, status, answer, err)
			return 0, nil, false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// unanswered are the statuses after which a client repeats its request.
var unanswered = []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInsufficientStorage}

func (p *person) try(method, path, key string, body any) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(b)
	}
	p.turn++
	req, err := http.NewRequestWithContext(ctx, method, p.town.gateway(p.turn)+path, content)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if method != http.MethodGet {
		req.Header.Set("Idempotency-Key", key)
	}
	if token := p.ledger().token; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.town.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// change asks for something that makes next of the account.
func (p *person) change(next account, method, path, key string, body any, want int) bool {
	p.mu.Lock()
	p.book.asked = &next
	p.mu.Unlock()
	status, answer, ok := p.do(method, path, key, body)
	if !ok {
		return false // it may still take effect
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book.asked = nil
	if status != want {
		p.town.tell("%s %s of %s: status %d, want %d: %s", method, path, p.id, status, want, answer)
		return false
	}
	p.book.told = next
	p.town.changed()
	return true
}

func (p *person) credentials(password string) map[string]string {
	return map[string]string{"userId": p.id, "userPw": password, "userName": "name of " + p.id}
}

func (p *person) register() bool {
	next := p.ledger().told
	next.Registered = true
	p.signedUp, p.since = newKey(), time.Now()
	return p.change(next, "POST", "/api/users", p.signedUp, p.credentials(p.password), http.StatusCreated)
}

// registerAgain repeats the registration: the same request has the same answer,
// another one finds the id taken.
func (p *person) registerAgain() {
	if time.Since(p.since) < 10*time.Minute { // within the window of the dedupe
		if status, answer, ok := p.do("POST", "/api/users", p.signedUp, p.credentials(p.password)); ok && status != http.StatusCreated {
			p.town.tell("the same registration of %s again: status %d, want 201: %s", p.id, status, answer)
		}
	}
	if status, answer, ok := p.do("POST", "/api/users", newKey(), p.credentials(p.password)); ok && status != http.StatusConflict {
		p.town.tell("another registration of %s: status %d, want 409: %s", p.id, status, answer)
	}
}

func (p *person) login() bool {
	body := p.credentials(p.password)
	delete(body, "userName")
	status, answer, ok := p.do("POST", "/api/login", newKey(), body)
	var a struct {
		IsAccept bool   `json:"isAccept"`
		Token    string `json:"token"`
	}
	if !ok {
		return false
	}
	if status != http.StatusOK || json.Unmarshal(answer, &a) != nil || !a.IsAccept || a.Token == "" {
		p.town.tell("login of %s: status %d: %s", p.id, status, answer)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book.token = a.Token
	return true
}

// mistype logs in with a wrong password.
func (p *person) mistype() {
	p.wrong++
	body := p.credentials("not " + p.password)
	delete(body, "userName")
	if status, answer, ok := p.do("POST", "/api/login", newKey(), body); ok && status != http.StatusUnauthorized {
		p.town.tell("login of %s with a wrong password: status %d, want 401: %s", p.id, status, answer)
	}
}

func (p *person) setStatus(s string) {
	next := p.ledger().told
	next.Status = s
	p.change(next, "PATCH", "/api/me", newKey(), map[string]string{"userStatus": s}, http.StatusOK)
}

func (p *person) befriend(id, alias string) {
	next := p.ledger().told
	next.Friends[id] = alias
	p.change(next, "PUT", "/api/friends/"+id, newKey(), map[string]string{"alias": alias}, http.StatusNoContent)
}

func (p *person) unfriend(id string) {
	next := p.ledger().told
	delete(next.Friends, id)
	p.change(next, "DELETE", "/api/friends/"+id, newKey(), nil, http.StatusNoContent)
}

// look compares what the server shows with what the person must find.
func (p *person) look() {
	must := p.ledger()
	found := account{Registered: true, Friends: map[string]string{}}
	var me struct{ UserStatus string }
	if !p.read("/api/me", &me) {
		return
	}
	found.Status = me.UserStatus
	for cursor := ""; ; {
		var page struct {
			Friends []struct{ UserID, Alias string }
			Cursor  string
		}
		if !p.read("/api/friends?limit=200&cursor="+cursor, &page) {
			return
		}
		for _, f := range page.Friends {
			found.Friends[f.UserID] = f.Alias
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if !must.allows(found) {
		p.town.tell("%s must find %v and reads %+v", p.id, must, found)
	}
}

func (p *person) read(path string, into any) bool {
	status, answer, ok := p.do("GET", path, "", nil)
	if ok && (status != http.StatusOK || json.Unmarshal(answer, into) != nil) {
		p.town.tell("GET %s of %s: status %d: %s", path, p.id, status, answer)
		return false
	}
	return ok
}

// act does one random thing. others are registered.
func (p *person) act(others []*person) {
	told := p.ledger().told
	switch k := p.rand.IntN(100); {
	case k < 30:
		p.setStatus(fmt.Sprintf("%s says %x", p.id, p.rand.Uint32()))
	case k < 55:
		if other := others[p.rand.IntN(len(others))]; other != p {
			p.befriend(other.id, fmt.Sprintf("pal %x", p.rand.Uint32()))
		}
	case k < 70 && len(told.Friends) > 0:
		ids := slices.Sorted(maps.Keys(told.Friends))
		p.unfriend(ids[p.rand.IntN(len(ids))])
	case k < 85:
		p.look()
	case k < 90:
		p.registerAgain()
	case k < 92 && p.wrong < 2:
		p.mistype()
	default:
		p.login()
	}
}

func newKey() string { return maru.NewCommandID().String() }
