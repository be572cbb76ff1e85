package embedded

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// acceptPause is how long a listener waits after it could not accept.
const acceptPause = 100 * time.Millisecond

// door is where connections come in to one of kfake's brokers: from memory, and
// over TCP when there is a listener. Each connection gets a gate. mu guards gates
// and shut; serve runs in one goroutine per listener, counted by wg.
type door struct {
	rules *rules
	addr  net.Addr // what clients are told to connect to
	mem   net.Listener
	tcp   net.Listener // nil: none
	seats *seats
	ready chan *gate
	done  chan struct{}
	wg    sync.WaitGroup

	mu    sync.Mutex
	gates map[*gate]bool // the value: kept open by shutOut
	shut  bool
}

// seats bounds the outside connections of all doors. mu guards taken.
type seats struct {
	mu    sync.Mutex
	taken int
	limit int
}

func (s *seats) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.limit {
		return false
	}
	s.taken++
	return true
}

func (s *seats) leave() {
	s.mu.Lock()
	s.taken--
	s.mu.Unlock()
}

func newDoor(r *rules, addr net.Addr, mem, tcp net.Listener, s *seats) *door {
	return &door{
		rules: r, addr: addr, mem: mem, tcp: tcp, seats: s,
		ready: make(chan *gate), done: make(chan struct{}), gates: make(map[*gate]bool),
	}
}

// serve accepts connections from ln until it is closed.
func (d *door) serve(ln net.Listener, outside bool) {
	defer d.wg.Done()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if d.isShut() {
				return
			}
			// Such as too many open files: others may close theirs.
			d.rules.log.Error("listener of the embedded broker cannot accept", "address", d.addr.String(), "error", err)
			select {
			case <-d.done:
			case <-time.After(acceptPause):
			}
			continue
		}
		if outside && !d.seats.take() {
			d.rules.log.Warn("too many connections from outside, one was closed",
				"remote", conn.RemoteAddr().String(), "limit", d.seats.limit)
			conn.Close()
			continue
		}
		d.admit(context.Background(), conn, outside, false)
	}
}

// admit hands a connection to kfake. inner ones belong to the broker itself.
func (d *door) admit(ctx context.Context, conn net.Conn, outside, inner bool) error {
	var g *gate
	g = newGate(conn, d.rules, outside, func() {
		d.mu.Lock()
		delete(d.gates, g)
		d.mu.Unlock()
		if outside {
			d.seats.leave()
		}
	})
	d.mu.Lock()
	shut := d.shut && !inner
	if !shut {
		d.gates[g] = inner
	}
	d.mu.Unlock()
	if !shut {
		select {
		case d.ready <- g:
			return nil
		case <-d.done:
		case <-ctx.Done():
		}
	}
	g.Close()
	return fmt.Errorf("connect to the embedded broker: %w", net.ErrClosed)
}

// dial connects the broker's own client.
func (d *door) dial(ctx context.Context) (net.Conn, error) {
	client, server := newPipe(d.addr)
	if err := d.admit(ctx, server, false, true); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

func (d *door) isShut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shut
}

// shutOut ends all connections but the broker's own and takes no more of them.
func (d *door) shutOut() {
	d.mu.Lock()
	d.shut = true
	var end []*gate
	for g, inner := range d.gates {
		if !inner {
			end = append(end, g)
		}
	}
	d.mu.Unlock()
	d.mem.Close()
	if d.tcp != nil {
		d.tcp.Close()
	}
	for _, g := range end {
		g.Close()
	}
}

// close ends everything and waits for the goroutines of the door.
func (d *door) close() {
	close(d.done)
	d.shutOut()
	d.mu.Lock()
	var end []*gate
	for g := range d.gates {
		end = append(end, g)
	}
	d.mu.Unlock()
	for _, g := range end {
		g.Close()
	}
	d.wg.Wait()
}

// entrance is the listener that kfake sees: the gates of a door.
type entrance struct {
	door *door
	done chan struct{}
	once sync.Once
}

func (e *entrance) Accept() (net.Conn, error) {
	select {
	case g := <-e.door.ready:
		return g, nil
	case <-e.done:
		return nil, net.ErrClosed
	}
}

func (e *entrance) Close() error {
	e.once.Do(func() { close(e.done) })
	return nil
}

func (e *entrance) Addr() net.Addr { return e.door.addr }
