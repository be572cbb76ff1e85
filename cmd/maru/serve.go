package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"maru/node"
)

const (
	// stopLimit bounds a clean stop. Container runtimes kill after 10 s by default.
	stopLimit = 9 * time.Second
	// deadLimit bounds the stop of a process that cannot go on: what it waits for,
	// such as a disk that failed, may never come.
	deadLimit = 2 * time.Second
)

// Run serves until a signal or until the process cannot go on.
func (c *serveCmd) Run(w *world) error {
	s, err := c.settings()
	if err != nil {
		return err
	}
	log := c.logger(w.stderr)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	n, stopped, err := start(w.ctx, node.Config{Settings: s, Logger: log}, signals)
	if stopped || err != nil {
		return err
	}
	if c.LogFormat == "text" {
		writeWelcome(w.stdout, s, n)
	}
	log.Info("ready", "role", c.Role, "address", "http://"+reachable(n.Addr()))

	select {
	case sig := <-signals:
		log.Info("stopping", "signal", sig.String())
		return stop(n, log, signals, stopLimit)
	case <-n.Dead():
		if err := stop(n, log, signals, deadLimit); err != nil {
			log.Warn("not everything could be closed", "err", err)
		}
		return n.Err()
	}
}

// start starts a node. stopped tells that a signal came first.
func start(ctx context.Context, cfg node.Config, signals <-chan os.Signal) (n *node.Node, stopped bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	type started struct {
		n   *node.Node
		err error
	}
	done := make(chan started, 1)
	go func() {
		n, err := node.Start(ctx, cfg)
		done <- started{n, err}
	}()
	defer func() {
		if stopped || err != nil {
			cancel()
		}
	}()
	select {
	case r := <-done:
		return r.n, false, r.err //nolint:govet // cancel: the context of a running node lives as long as the process
	case sig := <-signals:
		cfg.Logger.Info("stopping before the start has ended", "signal", sig.String())
	}
	cancel()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, true, nil
		}
		return nil, true, stop(r.n, cfg.Logger, signals, stopLimit)
	case <-signals:
		return nil, true, errSecondSignal
	case <-time.After(stopLimit):
		return nil, true, stopLimitError(stopLimit)
	}
}

var errSecondSignal = errors.New("stopped at once by a second signal: the next start repeats what was not yet saved")

func stopLimitError(limit time.Duration) error {
	return fmt.Errorf("did not stop within %v and ends now: the next start repeats what was not yet saved", limit)
}

// stop closes n. It returns early at a second signal, and when closing takes too
// long; nothing acknowledged is lost by either, for the log has it.
func stop(n *node.Node, log *slog.Logger, signals <-chan os.Signal, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit-time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Close(ctx) }()
	select {
	case err := <-done:
		if err == nil {
			log.Info("stopped")
		}
		return err
	case <-signals:
		return errSecondSignal
	case <-time.After(limit):
		return stopLimitError(limit)
	}
}

// writeWelcome tells people where to go.
func writeWelcome(w io.Writer, s node.Settings, n *node.Node) {
	if s.Role == node.RoleHome {
		fmt.Fprintf(w, "\n  maru home; health and metrics at http://%s\n\n", reachable(n.Addr()))
		return
	}
	fmt.Fprintf(w, "\n  maru is open at   http://%s\n", reachable(n.Addr()))
	if k := n.KafkaAddr(); k != "" {
		fmt.Fprintf(w, "  Kafka's tools at  %s\n", k)
	}
	if len(s.Kafka) == 0 {
		fmt.Fprintf(w, "  its data is in    %s\n", s.Data)
	}
	fmt.Fprint(w, "  Ctrl-C stops it.\n\n")
}

// reachable writes an address as one that can be opened: all interfaces include
// the loopback.
func reachable(a net.Addr) string {
	if a == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return a.String()
}
