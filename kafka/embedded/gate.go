package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// verdict is what the rules make of a request.
type verdict struct {
	// answer is the whole answer; kfake does not see the request.
	answer kmsg.Response
	// drop consumes the request without an answer (Produce with acks=0).
	drop bool
	// forward sends the request on after it was changed. When it is false and
	// answer is nil, the frame goes to kfake as it came, or encoded anew when
	// the connection is from outside.
	forward bool
	// amend, if any, changes kfake's answer to a request that was sent on.
	amend func(kmsg.Response)
	// silent: kfake will not answer (Produce with acks=0).
	silent bool
}

// gate is kfake's end of one connection. kfake reads requests from it and writes
// answers to it; the gate passes on one request at a time, so that what it
// answers itself cannot overtake an answer of kfake. It reads one request ahead
// meanwhile, which is how a vanished client is noticed during a long poll.
//
// One goroutine calls Read and another Write; turn hands pending from the first
// to the second. Close may be called by anybody.
type gate struct {
	net.Conn
	rules   *rules
	outside bool
	keys    keyTable
	in      *bufio.Reader

	rest    []byte        // of the request that kfake is reading
	turn    chan struct{} // holds a token while no request is under way
	pending pending
	held    atomic.Int64    // bytes that the request under way has from the frame budget
	ctx     context.Context // ends with the connection
	end     context.CancelFunc
	once    sync.Once
	closing func() // tells the owner, once
}

// pending is the request that kfake is working on.
type pending struct {
	req   request // decoded only when amend is set
	amend func(kmsg.Response)
}

func newGate(conn net.Conn, r *rules, outside bool, closing func()) *gate {
	g := &gate{
		Conn: conn, rules: r, outside: outside, keys: r.inside, closing: closing,
		in: bufio.NewReaderSize(conn, 16<<10), turn: make(chan struct{}, 1),
	}
	if outside {
		g.keys = r.outside
	}
	g.ctx, g.end = context.WithCancel(context.Background())
	g.turn <- struct{}{}
	return g
}

// Close ends the connection in both directions.
func (g *gate) Close() error {
	err := net.ErrClosed
	g.once.Do(func() {
		g.end()
		err = g.Conn.Close()
		g.giveBack()
		g.closing()
	})
	return err
}

// Read gives kfake the bytes of the next request that the rules let through.
func (g *gate) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		if err := g.next(); err != nil {
			if g.outside && errors.Is(err, errFrame) {
				g.rules.log.Info("request from outside refused, connection closed",
					"remote", g.RemoteAddr().String(), "error", err)
			}
			g.Close()
			return 0, err
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// next reads a request and has it judged. It sets rest when kfake is to see it.
func (g *gate) next() error {
	f, held, err := g.receive()
	if err != nil {
		return err
	}
	select {
	case <-g.turn:
	case <-g.ctx.Done():
		g.rules.frames.Release(held)
		return net.ErrClosed
	}
	g.held.Store(held)
	if g.ctx.Err() != nil {
		g.giveBack() // Close came before there was something to give back
		return net.ErrClosed
	}
	v, req, err := g.judge(f)
	switch {
	case err != nil:
		g.release()
		return err
	case v.drop:
		g.release()
	case v.answer != nil:
		defer g.release()
		return g.send(encodeResponse(f.corr(), v.answer))
	default:
		if v.forward || g.outside {
			f = req.encode()
		}
		g.rest = f
		g.pending.req, g.pending.amend = req, v.amend
		if v.silent {
			g.release()
		}
	}
	return nil
}

// receive reads one whole request. From outside it bounds how long that may
// take and how much memory all such requests hold together.
func (g *gate) receive() (frame, int64, error) {
	if g.outside {
		g.SetReadDeadline(time.Now().Add(idleTimeout))
		if _, err := g.in.Peek(1); err != nil {
			return nil, 0, err
		}
		g.SetReadDeadline(time.Now().Add(frameTimeout))
	}
	head, size, err := peekFrame(g.in)
	if err != nil {
		return nil, 0, err
	}
	if !g.outside {
		f, err := readFrame(g.in, size)
		return f, 0, err
	}
	if err := g.admit(head, size); err != nil {
		return nil, 0, err
	}
	if err := g.rules.frames.Acquire(g.ctx, int64(size)); err != nil {
		return nil, 0, err
	}
	g.SetReadDeadline(time.Now().Add(frameTimeout))
	f, err := readFrame(g.in, size)
	if err != nil {
		g.rules.frames.Release(int64(size))
		return nil, 0, err
	}
	return f, int64(size), nil
}

// admit looks at the header of a request from outside before its body is read.
// An unknown key would end the process inside kfake (K4).
func (g *gate) admit(head frame, size int) error {
	limit := maxFrame
	if kmsg.Key(head.key()) == kmsg.Produce {
		limit = maxProduceFrame
	}
	if size > limit {
		return fmt.Errorf("%w: %d bytes, at most %d are taken", errFrame, size, limit)
	}
	r, ok := g.keys[head.key()]
	if !ok {
		return fmt.Errorf("%w: API key %d is not offered here", errFrame, head.key())
	}
	if kmsg.Key(head.key()) == kmsg.ApiVersions {
		return nil // any version: the answer tells the client which ones there are
	}
	if v := head.version(); v < r.min || v > r.max {
		return fmt.Errorf("%w: version %d of API key %d is not offered here", errFrame, v, head.key())
	}
	return nil
}

// judge applies the rules to a request. From inside only those requests are
// decoded that a rule may be about.
func (g *gate) judge(f frame) (verdict, request, error) {
	if kmsg.RequestForKey(f.key()) == nil {
		return verdict{}, request{}, fmt.Errorf("%w: API key %d", errFrame, f.key())
	}
	if g.keys == nil {
		return verdict{}, request{}, nil // start-up: the broker asks kfake what it offers
	}
	if kmsg.Key(f.key()) == kmsg.ApiVersions && (f.version() < 0 || f.version() > g.keys[f.key()].max) {
		return verdict{answer: g.keys.unsupported()}, request{}, nil
	}
	if !g.outside && !ruledInside[kmsg.Key(f.key())] {
		return verdict{}, request{}, nil
	}
	req, err := g.decode(f)
	if err != nil {
		return verdict{}, request{}, err
	}
	if kmsg.Key(f.key()) == kmsg.ApiVersions {
		return verdict{amend: func(r kmsg.Response) { g.keys.narrow(r.(*kmsg.ApiVersionsResponse)) }}, req, nil
	}
	return g.rules.judge(req.Request, g.outside), req, nil
}

// decode parses a request. Those from outside, which may be made to cost much,
// get half of the processors at most.
func (g *gate) decode(f frame) (request, error) {
	if !g.outside {
		return decode(f)
	}
	if err := g.rules.decoding.Acquire(g.ctx, 1); err != nil {
		return request{}, err
	}
	defer g.rules.decoding.Release(1)
	return decode(f)
}

// Write sends an answer of kfake, which writes each one with a single call.
func (g *gate) Write(b []byte) (int, error) {
	p := g.pending
	out := b
	if p.amend != nil {
		resp, err := decodeResponse(b, p.req.Request)
		if err != nil {
			g.rules.log.Error("answer of the embedded broker not understood, connection closed", "error", err)
			g.Close()
			return 0, err
		}
		p.amend(resp)
		out = encodeResponse(p.req.corr, resp)
	}
	if err := g.send(out); err != nil {
		return 0, err
	}
	g.release()
	return len(b), nil
}

func (g *gate) send(b []byte) error {
	if g.outside {
		g.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if _, err := g.Conn.Write(b); err != nil {
		g.Close()
		return err
	}
	return nil
}

// release ends the turn of the request under way.
func (g *gate) release() {
	g.giveBack()
	g.pending = pending{}
	g.turn <- struct{}{}
}

// giveBack returns to the frame budget what the request under way took from it.
func (g *gate) giveBack() { g.rules.frames.Release(g.held.Swap(0)) }
