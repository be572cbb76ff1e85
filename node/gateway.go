package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru"
	"maru/auth"
	"maru/gateway"
	"maru/kafka"
	"maru/record"
)

// line is a way to send commands and get replies: an instance id, the correlator,
// and the reader of its partition of delivery.
type line struct {
	homes    *gateway.Homes
	delivery *kafka.Delivery
	cancel   context.CancelFunc
	done     chan struct{}
}

// openLine opens a line under a new instance id and waits until its own sign of
// life has come back. lost is called when its place in delivery is.
func (n *Node) openLine(ctx context.Context, prefix string, reg prometheus.Registerer, lost func(error)) (*line, error) {
	id := prefix + "-" + maru.NewCommandID().String()
	address := record.Address{Gateway: id, Partition: maru.SlotOf(id, deliveryPartitions)}
	homes, err := gateway.NewHomes(gateway.HomesConfig{
		Log: n.producer, Partitions: n.cluster.partitions, Address: address, Logger: n.log, Registerer: reg,
		Topics:    gateway.Topics{Commands: n.cfg.Topics.Commands, LoginRequest: n.cfg.Topics.LoginRequest, Delivery: n.cfg.Topics.Delivery},
		BeatEvery: n.cfg.Seams.Beat, BeatLimit: 2 * n.cfg.Seams.Beat,
	})
	if err != nil {
		return nil, err
	}
	delivery, err := kafka.OpenDelivery(ctx, n.conn, n.cfg.Topics.Delivery, address.Partition, homes.HandleDelivery, lost)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &line{homes: homes, delivery: delivery, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		homes.Run(run)
	}()
	for homes.Ready() != nil {
		select {
		case <-ctx.Done():
			l.close()
			return nil, fmt.Errorf("waiting for the first delivery: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return l, nil
}

func (l *line) close() {
	l.cancel()
	<-l.done
	l.delivery.Close()
}

// startGateway serves REST. It returns when the first instance serves; the
// supervisor goroutine replaces instances from there on.
func (n *Node) startGateway(ctx context.Context) error {
	if n.cfg.Role == RoleHome {
		return nil
	}
	policy, err := auth.NewPolicy(n.cfg.PasswordMin, false)
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		n.supervise(run, policy, started)
	}()
	n.onClose("gateway", func(context.Context) error { cancel(); <-done; return nil })
	select {
	case err := <-started:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// supervise serves under one instance id after the other until ctx ends. The instance
// changes when its place in delivery is lost: replies may have been missed, so what
// waited is given up and the gateway starts over under a new name. A failure before
// the first has served is the process's; it tells started once.
func (n *Node) supervise(ctx context.Context, policy *auth.Policy, started chan<- error) {
	served := false
	for ctx.Err() == nil {
		err := n.serveOnce(ctx, policy, func() {
			if !served {
				served = true
				started <- nil
			}
		})
		switch {
		case ctx.Err() != nil:
			return
		case !served:
			started <- err
			return
		}
		n.log.Warn("the gateway starts over under a new name", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// serveOnce serves under one instance id, until ctx ends or the instance's place in
// delivery is lost. It calls serving when the listener is open.
func (n *Node) serveOnce(ctx context.Context, policy *auth.Policy, serving func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reg := prometheus.NewRegistry() // of this instance: a name can be registered once
	reg.MustRegister(n.registry)
	l, err := n.openLine(ctx, "g", reg, func(err error) { cancel(err) })
	if err != nil {
		return err
	}
	defer l.close()
	srv, err := gateway.New(gateway.Config{
		Homes: l.homes, Secret: n.secret, Hasher: n.hasher, Pool: n.pool, Policy: policy, Logger: n.log, Registry: reg,
		TrustedProxies: n.cfg.TrustedProxies, TrustedOrigins: n.cfg.TrustedOrigins,
		FailedLogins: n.cfg.FailedLogins, Registrations: n.cfg.Registrations,
		Checks: n.checks(), Grace: gatewayGrace,
	})
	if err != nil {
		return err
	}
	ln, err := n.listen()
	if err != nil {
		return err
	}
	serving()
	err = srv.Serve(ctx, ln)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// gatewayGrace is how long requests under way may take when the process stops: the
// slots' last checkpoints come after it and need their share of the ten seconds
// that a stop may take.
const gatewayGrace = 3 * time.Second

// listen opens the listener, at the address of the first one if there was one.
func (n *Node) listen() (net.Listener, error) {
	addr, listen := n.cfg.Listen, net.Listen
	if n.addr != nil {
		addr = n.addr.String()
	}
	if n.cfg.Seams.Listen != nil {
		listen = n.cfg.Seams.Listen
	}
	ln, err := listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; is another maru running? choose another address with --listen", addr, err)
	}
	if n.addr == nil {
		n.addr = ln.Addr()
	}
	return ln, nil
}
