package node

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru/auth"
)

// Connect returns an operator of the cluster that Kafka and Database name, from a
// process that is no part of it. close ends the connections.
func Connect(ctx context.Context, cfg Config) (op *Operator, close func(context.Context) error, err error) {
	if len(cfg.Kafka) == 0 || cfg.Database == "" {
		return nil, nil, &ConfigError{errors.New("both --kafka and --database are needed to reach a cluster; without them the command asks the maru that runs on --data")}
	}
	cfg.Role = RoleGateway
	if err := cfg.Check(); err != nil {
		return nil, nil, &ConfigError{err}
	}
	n := &Node{cfg: cfg, log: cfg.Logger, registry: prometheus.NewRegistry(), dead: make(chan struct{})}
	defer func() {
		if err != nil {
			shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			n.Close(shut)
		}
	}()
	for _, step := range []func(context.Context) error{n.startBroker, n.startStore, n.startKafka, n.startPasswords} {
		if err := step(ctx); err != nil {
			return nil, nil, err
		}
	}
	op = &Operator{n: n}
	n.onClose("operator", func(context.Context) error { op.reset(); return nil })
	return op, n.Close, nil
}

// NewSecretFile makes the secret of a cluster in a file of its own, mode 0600, if
// there is none.
func NewSecretFile(path string) error {
	_, err := auth.LoadOrCreate(path)
	return err
}
