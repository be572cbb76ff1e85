package home

import "maru"

// post has f run by the slot's goroutine; false: the slot is not served, or has ended.
func (s *slot) post(f func()) bool {
	s.mu.Lock()
	open := !s.closed
	if open {
		s.calls = append(s.calls, f)
	}
	s.mu.Unlock()
	s.signal()
	return open
}

func (s *slot) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// enqueue adds records to the mailbox and pauses fetching when there are many: a
// slot that cannot keep up, or whose SQL is down, must not stop the others.
func (s *slot) enqueue(topic string, recs []maru.LogRecord) {
	s.mu.Lock()
	q := &s.commands
	if topic == s.cfg.Topics.LoginRequest {
		q = &s.requests
	}
	if q == &s.requests {
		recs = trimRequests(recs)
	}
	*q = append(*q, recs...)
	s.mu.Unlock()
	s.regulate(topic, q)
	s.signal()
}

// flow is whether a topic is being fetched.
type flow struct {
	paused  bool
	calling bool // somebody tells Slots, and looks at the queue again afterwards
}

// regulate pauses or resumes fetching as the queue wants it. Slots is called without
// the lock but by one goroutine at a time: of two calls that cross, the wrong one
// might come last, and the slot would never be fed again.
func (s *slot) regulate(topic string, q *[]maru.LogRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[topic]
	if f == nil {
		f = &flow{}
		s.flows[topic] = f
	}
	for !f.calling {
		tell := s.slots.Pause
		switch n := len(*q); {
		case !f.paused && n > s.cfg.MaxQueued:
		case f.paused && n < s.cfg.MaxQueued/2:
			tell = s.slots.Resume
		default:
			return
		}
		f.paused, f.calling = !f.paused, true
		s.mu.Unlock()
		tell(s.lease, topic)
		s.mu.Lock()
		f.calling = false
	}
}

// take returns up to n queued records of a topic and resumes fetching when few are left.
func (s *slot) take(topic string, q *[]maru.LogRecord, n int) []maru.LogRecord {
	s.mu.Lock()
	n = min(n, len(*q))
	recs := (*q)[:n:n]
	*q = (*q)[n:]
	if len(*q) == 0 {
		*q = nil
	}
	s.mu.Unlock()
	s.regulate(topic, q)
	return recs
}
