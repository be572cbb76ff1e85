package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru/auth"
)

// Limits of a connection, against clients that send or read slowly. The longest wait
// of a handler is for a home's reply, after one for the password pool.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 45 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
)

// Config is what [New] needs. All but the marked fields are required.
type Config struct {
	Homes    *Homes
	Secret   *auth.Secret // of the cluster
	Hasher   *auth.Hasher
	Pool     *auth.Pool // on which passwords are hashed; stays the caller's
	Policy   *auth.Policy
	Logger   *slog.Logger
	Registry *prometheus.Registry // shown at /metrics

	TrustedProxies []netip.Prefix // whose X-Forwarded-For and -Proto count; optional
	TrustedOrigins []string       // scheme://host[:port] that may send state-changing requests besides our own; optional
	FailedLogins   Rate           // by client network; 10 a minute; N < 0: no limit
	Registrations  Rate           // by client network; 20 an hour; N < 0: no limit
	Checks         []Check        // what else /readyz looks at; optional
	Grace          time.Duration  // how long Serve lets requests finish at its end; 10 s
}

// Check is one condition of readiness. Ready is called for each request to
// /readyz, must be quick, and says in the error what is wrong, as operators may read it.
type Check struct {
	Name  string
	Ready func() error
}

// Server answers REST requests. Its fields are set once, and what they point to
// is safe for concurrent use; the server itself keeps no state.
type Server struct {
	cfg      Config
	log      *slog.Logger
	homes    *Homes
	tokens   *auth.Tokens
	claims   *auth.Claims
	sealer   *auth.Sealer
	idKey    [32]byte
	proxies  proxies
	limits   *limiter
	csrf     *http.CrossOriginProtection
	metrics  httpMetrics
	mux      *http.ServeMux
	patterns map[string]bool // of the route table, for labels
}

// New returns a server; it neither listens nor starts anything.
func New(cfg Config) (*Server, error) {
	if cfg.Homes == nil || cfg.Secret == nil || cfg.Hasher == nil || cfg.Pool == nil || cfg.Policy == nil || cfg.Registry == nil {
		return nil, errors.New("gateway: homes, secret, hasher, pool, policy and registry are all needed")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.FailedLogins.N == 0 {
		cfg.FailedLogins = Rate{N: 10, Per: time.Minute}
	}
	if cfg.Registrations.N == 0 {
		cfg.Registrations = Rate{N: 20, Per: time.Hour}
	}
	for _, rate := range []Rate{cfg.FailedLogins, cfg.Registrations} {
		if rate.N > 0 && rate.Per <= 0 {
			return nil, fmt.Errorf("gateway: the rate %s needs a time above zero", rate)
		}
	}
	cfg.Grace = orDefault(cfg.Grace, 10*time.Second)
	sealer, err := auth.NewSealer(cfg.Secret)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		log:     cfg.Logger,
		homes:   cfg.Homes,
		tokens:  auth.NewTokens(cfg.Secret),
		claims:  auth.NewClaims(cfg.Secret),
		sealer:  sealer,
		idKey:   cfg.Secret.Derive(auth.LabelCommandID),
		proxies: cfg.TrustedProxies,
		limits:  newLimiter(limiterEntries),
		csrf:    http.NewCrossOriginProtection(),
		metrics: newHTTPMetrics(cfg.Registry),
	}
	for _, origin := range cfg.TrustedOrigins {
		if err := s.csrf.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("gateway: trusted origin: %w", err)
		}
	}
	s.mux, s.patterns = s.routes()
	return s, nil
}

// Serve answers requests on ln until ctx ends, then lets those under way finish
// for the grace period and closes what is left. It returns nil after an orderly end, otherwise why
// it stopped, and leaves no goroutine and no connection behind. ln is closed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	// Requests are not to end with ctx: they get the grace period.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	hs := &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // clients' broken connections
	}
	stopped := make(chan error, 1)
	go func() { stopped <- hs.Serve(ln) }()
	select {
	case err := <-stopped:
		hs.Close()
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	grace, done := context.WithTimeout(base, s.cfg.Grace)
	defer done()
	err := hs.Shutdown(grace)
	if err != nil {
		hs.Close()
		err = fmt.Errorf("requests were still under way after %s: %w", s.cfg.Grace, err)
	}
	<-stopped
	return err
}
