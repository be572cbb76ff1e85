package home

import (
	"container/list"
	"errors"
	"time"

	"maru"
	"maru/internal/faultswitch"
	"maru/record"
)

// maxLoad bounds the users that one transaction loads.
const maxLoad = 1000

// cache orders the resident entities by use. It is owned by the slot's goroutine.
type cache struct {
	order list.List // of *resident, last used in front
	byID  map[string]*list.Element
	bytes int
}

type resident struct {
	id   string
	size int
}

func (c *cache) init() { c.byID = map[string]*list.Element{} }

// use notes that the entity was used and what it takes now.
func (c *cache) use(id string, size int) {
	if e, ok := c.byID[id]; ok {
		r := e.Value.(*resident)
		c.bytes += size - r.size
		r.size = size
		c.order.MoveToFront(e)
		return
	}
	c.byID[id] = c.order.PushFront(&resident{id: id, size: size})
	c.bytes += size
}

func (c *cache) drop(e *list.Element) {
	r := c.order.Remove(e).(*resident)
	delete(c.byID, r.id)
	c.bytes -= r.size
}

// load makes resident what the commands need, as many of them as fit one
// transaction; it returns how many, and false when the slot is not ours any more.
func (s *slot) load(cmds []*record.Command) (n int, ok bool) {
	var absent []string
	seen := map[string]bool{}
	for n < len(cmds) && len(absent) < maxLoad {
		if c := cmds[n]; c != nil {
			s.state.Needs(c, func(id string) {
				if s.state.Users[id] == nil && !seen[id] {
					seen[id] = true
					absent = append(absent, id)
				}
			})
		}
		n++
	}
	return n, s.loadUsers(absent)
}

// loadUsers reads users from SQL until it succeeds: applying waits for them. A
// fence ends this claim before anything is published from a state that a
// successor has moved on from.
func (s *slot) loadUsers(ids []string) bool {
	s.waiting.Store(true)
	defer s.waited()
	part := len(ids) // of one transaction: less after a failure, which may be a time-out
	for wait := 20 * time.Millisecond; len(ids) > 0; wait = min(2*wait, time.Second) {
		part = min(part, len(ids))
		rows, err := s.cfg.Store.LoadUsers(s.ctx, s.n, s.epoch, ids[:part])
		switch {
		case err == nil:
			if !s.restore(ids[:part], rows) {
				return false
			}
			ids, wait = ids[part:], 10*time.Millisecond
			continue
		case s.ctx.Err() != nil:
			return false
		case errors.Is(err, maru.ErrFenced):
			s.drop(err)
			return false
		}
		s.cfg.Metrics.sqlErrors.Inc()
		s.log.Warn("users not loaded, trying again", "users", part, "err", err)
		part = max(1, part/2)
		if !sleep(s.ctx, wait) {
			return false
		}
	}
	return true
}

func (s *slot) restore(ids []string, rows []maru.UserRow) bool {
	s.cfg.Metrics.loaded.Add(float64(len(ids)))
	for i := range rows {
		if err := s.state.Restore(rows[i]); err != nil {
			s.die(err) // going on would answer from a state that nobody wrote
			s.cancel()
			return false
		}
	}
	for _, id := range ids {
		if s.state.Users[id] == nil {
			s.state.RestoreAbsent(id)
		}
		s.cache.use(id, s.state.Users[id].Size())
	}
	return true
}

// touch notes the use of what a command needed.
func (s *slot) touch(c *record.Command) {
	if c != nil {
		s.state.Needs(c, func(id string) {
			if u := s.state.Users[id]; u != nil {
				s.cache.use(id, u.Size())
			}
		})
	}
}

// evict forgets entities, the least recently used first, while they take more
// than allowed; never one that SQL does not have as it is in memory.
func (s *slot) evict() {
	const tries = 1000 // dirty ones are passed over, but not for ever
	e := s.cache.order.Back()
	for i := 0; e != nil && s.cache.bytes > s.cfg.MaxResident && i < tries; i++ {
		prev, id := e.Prev(), e.Value.(*resident).id
		if !s.dirty.has(id) || s.cfg.Off.Off(faultswitch.FrozenStay) {
			delete(s.state.Users, id)
			s.cache.drop(e)
			s.cfg.Metrics.evicted.Inc()
		}
		e = prev
	}
	s.held.Store(int64(len(s.state.Users)))
	s.heldBytes.Store(int64(s.cache.bytes))
}
