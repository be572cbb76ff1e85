package embedded

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// memNetwork is the default Network: buffered in-memory connections, addressed
// by any "host:port". mu guards listeners.
type memNetwork struct {
	mu        sync.Mutex
	listeners map[string]*memListener
}

// NewNetwork returns an in-memory network. Its connections are buffered, so
// that a request costs one hand-over between goroutines rather than one per
// Read, and all its waits are channel operations, so that it can be used inside
// a testing/synctest bubble.
func NewNetwork() Network {
	return &memNetwork{listeners: make(map[string]*memListener)}
}

func (n *memNetwork) Listen(network, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, fmt.Errorf("listen %s in memory: address already in use", address)
	}
	l := &memListener{net: n, addr: memAddr(address), conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

func (n *memNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s in memory: connection refused", address)
	}
	client, server := newPipe(l.addr)
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial %s in memory: connection refused", address)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s in memory: %w", address, ctx.Err())
	}
}

func (n *memNetwork) remove(address string) {
	n.mu.Lock()
	delete(n.listeners, address)
	n.mu.Unlock()
}

type memListener struct {
	net    *memNetwork
	addr   memAddr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		l.net.remove(string(l.addr))
		close(l.closed)
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return l.addr }

type memAddr string

func (memAddr) Network() string  { return "memory" }
func (a memAddr) String() string { return string(a) }
