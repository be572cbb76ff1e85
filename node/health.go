package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"maru/gateway"
)

// health is what the last look at the things around this process showed. It is
// written by one goroutine and read by requests.
type health struct{ sql, kafka atomic.Pointer[error] }

// lookEvery and lookLimit bound how old and how slow an answer of /readyz is.
const (
	lookEvery = 2 * time.Second
	lookLimit = 2 * time.Second
)

func (n *Node) startHealth(context.Context) error {
	look := func(run context.Context, state *atomic.Pointer[error], ping func(context.Context) error) {
		ctx, cancel := context.WithTimeout(run, lookLimit)
		defer cancel()
		err := ping(ctx)
		if run.Err() == nil {
			state.Store(&err)
		}
	}
	stop := every(lookEvery, func(ctx context.Context) {
		look(ctx, &n.health.sql, n.store.Ping)
		look(ctx, &n.health.kafka, n.admin.Ping)
	})
	n.onClose("health", func(context.Context) error { stop(); return nil })
	return nil
}

func last(state *atomic.Pointer[error]) error {
	if p := state.Load(); p != nil {
		return *p
	}
	return nil
}

// checks are the conditions of readiness, beside the gateway's own.
func (n *Node) checks() []gateway.Check {
	list := []gateway.Check{
		{Name: "database", Ready: func() error { return quiet(last(&n.health.sql), "the database does not answer") }},
		{Name: "kafka", Ready: func() error { return quiet(last(&n.health.kafka), "Kafka does not answer") }},
	}
	if n.broker != nil {
		list = append(list, gateway.Check{Name: "disk", Ready: func() error {
			if _, why := n.broker.Disk(); why != "" {
				return errors.New(why)
			}
			return nil
		}})
	}
	if n.home != nil {
		list = append(list, gateway.Check{Name: "slots", Ready: func() error {
			if held, live := n.home.home.Live(); live < held {
				return fmt.Errorf("%d of %d slots still apply their log", held-live, held)
			}
			return nil
		}})
	}
	return list
}

// quiet hides what an error says from the outside: it may name hosts.
func quiet(err error, public string) error {
	if err == nil {
		return nil
	}
	return errors.New(public)
}

// awaitSlots waits until a process that is alone serves every slot, so that the
// first request does not find the slots still being claimed.
func (n *Node) awaitSlots(ctx context.Context) error {
	if n.broker == nil || n.home == nil {
		return nil
	}
	for {
		if _, live := n.home.home.Live(); live == int(n.cluster.partitions) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the slots are not live: %w", ctx.Err())
		case <-n.dead:
			return n.reason
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// startOps serves health and metrics of a process that is a home only.
func (n *Node) startOps(context.Context) error {
	if n.cfg.Role != RoleHome {
		return nil
	}
	ln, err := n.listen()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", n.serveReady)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("listener for health and metrics: %w", err))
		}
	}()
	n.onClose("listener", func(context.Context) error {
		err := srv.Close()
		<-done
		return err
	})
	return nil
}

func (n *Node) serveReady(w http.ResponseWriter, _ *http.Request) {
	status, body := gateway.Readiness(n.checks())
	writeJSON(w, status, body)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // the client is gone if this fails
}
