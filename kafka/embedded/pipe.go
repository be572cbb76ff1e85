package embedded

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBuffer bounds the bytes that one direction of an in-memory connection
// holds; a writer waits beyond it.
const pipeBuffer = 256 << 10

// newPipe returns the two ends of an in-memory connection.
func newPipe(addr net.Addr) (client, server net.Conn) {
	up, down := newStream(), newStream()
	client = &pipeEnd{in: down, out: up, addr: addr}
	server = &pipeEnd{in: up, out: down, addr: addr}
	return client, server
}

// pipeEnd is one end of an in-memory connection.
type pipeEnd struct {
	in, out       *stream
	addr          net.Addr
	readBy, outBy deadline
}

func (p *pipeEnd) Read(b []byte) (int, error)  { return p.in.read(b, &p.readBy) }
func (p *pipeEnd) Write(b []byte) (int, error) { return p.out.write(b, &p.outBy) }

// Close ends both directions. What was written before can still be read by the
// other end.
func (p *pipeEnd) Close() error {
	p.out.finish()
	p.in.abandon()
	p.readBy.set(time.Time{})
	p.outBy.set(time.Time{})
	return nil
}

func (p *pipeEnd) LocalAddr() net.Addr  { return p.addr }
func (p *pipeEnd) RemoteAddr() net.Addr { return p.addr }

func (p *pipeEnd) SetDeadline(t time.Time) error {
	p.readBy.set(t)
	p.outBy.set(t)
	return nil
}

func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.readBy.set(t)
	return nil
}

func (p *pipeEnd) SetWriteDeadline(t time.Time) error {
	p.outBy.set(t)
	return nil
}

// keepBuffer is the largest buffer that an idle stream keeps.
const keepBuffer = 32 << 10

// stream is one direction of an in-memory connection. mu guards buf and off;
// the two signals carry at most one wake-up each, passed on by whoever leaves
// something for the next waiter.
type stream struct {
	mu       sync.Mutex
	buf      []byte
	off      int           // buf[off:] is not read yet
	more     chan struct{} // a reader may go on
	room     chan struct{} // a writer may go on
	finished chan struct{} // closed: no more will be written
	gone     chan struct{} // closed: nobody will read
	endOnce  sync.Once
	goneOnce sync.Once
}

func newStream() *stream {
	return &stream{
		more: make(chan struct{}, 1), room: make(chan struct{}, 1),
		finished: make(chan struct{}), gone: make(chan struct{}),
	}
}

func (s *stream) finish()  { s.endOnce.Do(func() { close(s.finished) }) }
func (s *stream) abandon() { s.goneOnce.Do(func() { close(s.gone) }) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func closedNow(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// take moves buffered bytes to b and wakes whoever can go on.
func (s *stream) take(b []byte) int {
	s.mu.Lock()
	n := copy(b, s.buf[s.off:])
	s.off += n
	left := len(s.buf) - s.off
	if left == 0 {
		s.buf, s.off = s.buf[:0], 0
		if cap(s.buf) > keepBuffer {
			s.buf = nil
		}
	}
	s.mu.Unlock()
	if left > 0 {
		signal(s.more)
	}
	if n > 0 {
		signal(s.room)
	}
	return n
}

// put moves as much of b as fits into the buffer.
func (s *stream) put(b []byte) int {
	s.mu.Lock()
	free := pipeBuffer - (len(s.buf) - s.off)
	n := min(len(b), free)
	if s.off > 0 && len(s.buf)+n > cap(s.buf) {
		s.buf, s.off = s.buf[:copy(s.buf, s.buf[s.off:])], 0
	}
	s.buf = append(s.buf, b[:n]...)
	s.mu.Unlock()
	if n > 0 {
		signal(s.more)
	}
	if n < free {
		signal(s.room)
	}
	return n
}

func (s *stream) read(b []byte, by *deadline) (int, error) {
	for {
		expired := by.expired()
		switch {
		case closedNow(s.gone):
			return 0, net.ErrClosed
		case closedNow(expired):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		ended := closedNow(s.finished) // before take: nothing can follow it
		if n := s.take(b); n > 0 {
			return n, nil
		}
		if ended {
			return 0, io.EOF
		}
		select {
		case <-s.more:
		case <-s.finished:
		case <-s.gone:
		case <-expired:
		}
	}
}

func (s *stream) write(b []byte, by *deadline) (int, error) {
	done := 0
	for {
		expired := by.expired()
		switch {
		case closedNow(s.finished):
			return done, net.ErrClosed
		case closedNow(s.gone):
			return done, io.ErrClosedPipe
		case closedNow(expired):
			return done, os.ErrDeadlineExceeded
		}
		done += s.put(b[done:])
		if done == len(b) {
			return done, nil
		}
		select {
		case <-s.room:
		case <-s.finished:
		case <-s.gone:
		case <-expired:
		}
	}
}

// deadline is a moment after which a channel is closed. mu guards all fields;
// moving the moment into the future replaces a channel that is closed already.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{}
}

func (d *deadline) expired() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		// The function of the old timer runs or has run: it closes the
		// channel it was made for, which must not be used further.
		d.over = nil
	}
	d.timer = nil
	if d.over == nil || closedNow(d.over) {
		d.over = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	over := d.over
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(over) })
		return
	}
	close(over)
}
