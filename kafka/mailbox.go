package kafka

import "sync"

// mailbox is an unbounded queue of events for an owner goroutine. Posting never
// blocks, so that a handler may post while the owner is calling it. It stays
// short: polls are granted one at a time, the rest are rare.
type mailbox struct {
	mu    sync.Mutex // guards queue, for the time of an append only
	queue []func()
	wake  chan struct{} // capacity 1
}

func (m *mailbox) post(ev func()) {
	m.mu.Lock()
	m.queue = append(m.queue, ev)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queue
	m.queue = nil
	return q
}
