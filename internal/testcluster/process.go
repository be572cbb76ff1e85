package testcluster

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"maru/home"
	"maru/node"
)

// Process is one running node, with its faults.
type Process struct {
	c    *Cluster
	Name string
	role node.Role
	node *node.Node
	gate *gate
	ln   atomic.Pointer[net.Listener]
}

func (p *Process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return p.gate.dial(ctx, func(ctx context.Context) (net.Conn, error) { return p.c.broker.Dial(ctx, network, addr) })
}

func (p *Process) listen(network, addr string) (net.Listener, error) {
	l, err := p.c.net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	p.ln.Store(&l)
	return listener{l, p.gate}, nil
}

// Cut cuts the process off from everything, Kafka, SQL and clients, until Heal.
func (p *Process) Cut() { p.gate.cut(true, true) }

// CutNetwork cuts it off from Kafka and clients; SQL stays.
func (p *Process) CutNetwork() { p.gate.cut(true, false) }

// CutSQL makes every SQL transaction fail before it begins.
func (p *Process) CutSQL() { p.gate.cut(false, true) }

// Heal undoes a cut. Connections that lost something are broken.
func (p *Process) Heal() { p.gate.cut(false, false) }

// Pause stops the process as SIGSTOP would, as far as the world can see: it sends,
// receives and writes nothing, and goes on where it was after Resume.
func (p *Process) Pause() { p.gate.pause() }

// Resume is SIGCONT.
func (p *Process) Resume() { p.gate.resume() }

// PauseFor pauses the process for d.
func (p *Process) PauseFor(d time.Duration) {
	p.Pause()
	time.Sleep(d)
	p.Resume()
}

// HoldAt makes the home wait at a named point of its engine; see gate.hold.
func (p *Process) HoldAt(point string) (reached <-chan struct{}, release func()) {
	return p.gate.hold(point)
}

// UnknownCommits makes the next n checkpoints succeed and be reported as unknown.
func (p *Process) UnknownCommits(n int) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.gate.unknown += n
}

// Crash kills the process: nothing it has not sent leaves it any more.
func (p *Process) Crash() {
	p.gate.kill()
	if l := p.ln.Load(); l != nil {
		(*l).Close() // the address is free as soon as a process is dead
	}
	p.forget()
	p.c.ending.Go(p.node.Crash)
}

// Stop ends the process in order, as SIGTERM does.
func (p *Process) Stop() {
	p.c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	faulty := p.gate.faulty()
	if err := p.node.Close(ctx); err != nil && !faulty && !p.gate.faulty() {
		p.c.tell("stopping %s: %v", p.Name, err)
	}
	p.gate.kill()
	p.forget()
}

func (p *Process) forget() {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.c.processes[p.Name] == p {
		delete(p.c.processes, p.Name)
	}
}

// Restart starts a process of the same name and role.
func (p *Process) Restart() *Process {
	p.c.T.Helper()
	if p.role == node.RoleGateway {
		return p.c.StartGateway(p.Name)
	}
	return p.c.StartHome(p.Name)
}

// Residents returns what the home holds now; none if it is not reachable.
func (p *Process) Residents() []home.Residents {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r, err := p.node.Operator().Residents(ctx)
	if err != nil {
		return nil
	}
	return r
}
