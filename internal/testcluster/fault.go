package testcluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

var (
	errDead  = errors.New("the process is dead")
	errReset = errors.New("connection reset: the network was cut")
	errNoSQL = errors.New("the database cannot be reached")
)

// gate stands between one process and the world. Everything the process sends,
// receives or asks of SQL passes it. mu owns all fields.
type gate struct {
	mu      sync.Mutex
	paused  chan struct{} // not nil while paused; closed by resume
	dead    chan struct{}
	netCut  bool
	sqlCut  bool
	unknown int // checkpoints whose commit will be reported as unknown
	conns   map[*conn]bool
	holds   map[string]chan struct{} // points at which the process is held, until released
	held    map[string]chan struct{} // closed when the process has reached the point
}

func newGate() *gate {
	return &gate{dead: make(chan struct{}), conns: map[*conn]bool{}, holds: map[string]chan struct{}{}, held: map[string]chan struct{}{}}
}

// pass waits while the process is paused.
func (g *gate) pass(ctx context.Context) error {
	for {
		g.mu.Lock()
		paused := g.paused
		g.mu.Unlock()
		select {
		case <-g.dead:
			return errDead
		default:
		}
		if paused == nil {
			return nil
		}
		select {
		case <-paused:
		case <-g.dead:
			return errDead
		case <-ctx.Done():
			// Who is paused cannot give up either, except that the process is being ended.
			select {
			case <-paused:
			case <-g.dead:
				return errDead
			}
		}
	}
}

func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused == nil {
		g.paused = make(chan struct{})
	}
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused != nil {
		close(g.paused)
		g.paused = nil
	}
}

func (g *gate) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.dead:
		return
	default:
	}
	close(g.dead)
	for c := range g.conns {
		c.broken = true
		go c.Conn.Close()
	}
}

func (g *gate) cut(network, sql bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.netCut, g.sqlCut = network, sql
	if !network {
		for c := range g.conns { // what was sent meanwhile is lost: the connection with it
			if c.lossy {
				c.broken = true
				go c.Conn.Close()
			}
		}
	}
}

// hold makes the process wait when it next reaches the point of home.Config.Gate,
// until the returned function is called. reached is closed when it is there.
func (g *gate) hold(point string) (reached <-chan struct{}, release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	stop, at := make(chan struct{}), make(chan struct{})
	g.holds[point], g.held[point] = stop, at
	return at, sync.OnceFunc(func() { close(stop) })
}

// at is home.Config.Gate.
func (g *gate) at(ctx context.Context, point string) bool {
	g.mu.Lock()
	stop, at := g.holds[point], g.held[point]
	delete(g.holds, point)
	delete(g.held, point)
	g.mu.Unlock()
	if stop != nil {
		close(at)
		select {
		case <-stop:
		case <-g.dead:
			return false
		}
	}
	return g.pass(ctx) == nil
}

// sql is store.Config.Hook.
func (g *gate) sql(ctx context.Context, point string) error {
	switch point {
	case "checkpoint.commit", "claim.commit", "rebase.commit":
		return nil // the write lock is held: a pause here would stop the others, not this one
	case "checkpoint.committed":
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.unknown > 0 {
			g.unknown--
			return errors.New("the connection was lost at commit")
		}
		return nil
	}
	if err := g.pass(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sqlCut {
		return errNoSQL
	}
	return nil
}

// faulty tells whether the process has any trouble now.
func (g *gate) faulty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.netCut || g.sqlCut || g.paused != nil
}

func (g *gate) isCut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.netCut
}

// dial opens a connection of the process.
func (g *gate) dial(ctx context.Context, open func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if err := g.pass(ctx); err != nil {
		return nil, err
	}
	if g.isCut() { // nobody answers: a dialer gives up after a while
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c, err := open(ctx)
	if err != nil {
		return nil, err
	}
	return g.wrap(c), nil
}

func (g *gate) wrap(c net.Conn) net.Conn {
	w := &conn{Conn: c, g: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[w] = true
	return w
}

// conn is a connection of a process. While the network is cut, what it sends and
// what it is sent vanishes, as on a wire; when it is mended the connection is
// found broken.
type conn struct {
	net.Conn
	g             *gate
	lossy, broken bool // under g.mu
}

func (c *conn) state() (cut, broken bool) {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if c.g.netCut {
		c.lossy = true
	}
	return c.g.netCut, c.broken
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.g.pass(context.Background()); err != nil {
		return 0, err
	}
	switch cut, broken := c.state(); {
	case broken:
		return 0, errReset
	case cut:
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if perr := c.g.pass(context.Background()); perr != nil {
			return 0, perr
		}
		cut, broken := c.state()
		switch {
		case broken:
			return 0, errReset
		case cut && err == nil:
			continue // lost on the way
		}
		return n, err
	}
}

func (c *conn) Close() error {
	c.g.mu.Lock()
	delete(c.g.conns, c)
	c.g.mu.Unlock()
	return c.Conn.Close()
}

// listener passes accepted connections through the gate.
type listener struct {
	net.Listener
	g *gate
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.g.wrap(c), nil
}
