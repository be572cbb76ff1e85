package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"maru"
	"maru/record"
)

// Log is where a gateway puts its records. TryProduce never blocks; done is
// called exactly once, from any goroutine and possibly before TryProduce
// returns, with the offset or the reason why the record was not accepted.
type Log interface {
	TryProduce(rec maru.LogRecord, done func(offset int64, err error))
}

// Topics are the names of the topics to which a gateway writes.
type Topics struct{ Commands, LoginRequest, Delivery string }

// HomesConfig is what [NewHomes] needs. Zero durations and counts mean the defaults.
type HomesConfig struct {
	Log        Log
	Partitions int32 // P: of commands and login-request
	Topics     Topics
	Address    record.Address // instance id, random at each start, and the partition of delivery that is read
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: the figures are not exported

	Timeout    time.Duration // until a command without a reply is given up; 10 s
	Retry      time.Duration // until a command without a reply is sent again under its id; 1.5 s
	MaxWaiting int           // commands that may wait at a time; 10,000
	BeatEvery  time.Duration // between the gateway's signs of life to itself; 500 ms
	BeatLimit  time.Duration // how long one may be under way; 1 s
}

func (c HomesConfig) withDefaults() HomesConfig {
	c.Timeout = orDefault(c.Timeout, 10*time.Second)
	c.Retry = orDefault(c.Retry, 1500*time.Millisecond)
	c.MaxWaiting = orDefault(c.MaxWaiting, 10_000)
	c.BeatEvery = orDefault(c.BeatEvery, 500*time.Millisecond)
	c.BeatLimit = orDefault(c.BeatLimit, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Homes sends commands to the homes of users and brings back the replies. A
// command without a reply is sent again under the same id, so that one lost on
// the way, or read by a home that died, is still applied exactly once.
//
// Methods may be called from any goroutine. mu owns calls, waiting and draining; it
// is never held while anything blocks. Each call belongs to the goroutines that
// wait for it, through its channel.
type Homes struct {
	cfg     HomesConfig
	beat    *beat
	metrics homesMetrics

	mu       sync.Mutex
	calls    map[maru.CommandID][]*call // several when a client repeats a key while the first still waits
	waiting  int                        // number of calls in the map
	draining chan struct{}              // nil until Drain; closed when nothing waits any more
}

// call is one goroutine's wait for the outcome of a command. answer has room
// for the only answer: whoever takes the call out of the map sends it.
type call struct {
	answer chan answer

	// How many attempts were made and how many of them the log refused; under Homes.mu.
	sent, refused int
}

type answer struct {
	reply record.Reply
	err   error
}

// NewHomes returns the correlator of one gateway instance. Nothing is ready
// before Run runs and deliveries arrive.
func NewHomes(cfg HomesConfig) (*Homes, error) {
	cfg = cfg.withDefaults()
	switch {
	case cfg.Log == nil:
		return nil, errors.New("homes: a log is needed")
	case cfg.Partitions < 1:
		return nil, fmt.Errorf("homes: %d partitions, at least 1 is needed", cfg.Partitions)
	case cfg.Address.Gateway == "":
		return nil, errors.New("homes: the gateway needs an instance id")
	case cfg.Topics.Commands == "" || cfg.Topics.LoginRequest == "" || cfg.Topics.Delivery == "":
		return nil, errors.New("homes: the names of commands, login-request and delivery are needed")
	}
	h := &Homes{cfg: cfg, beat: newBeat(cfg), calls: make(map[maru.CommandID][]*call)}
	h.metrics = newHomesMetrics(cfg.Registerer, h)
	return h, nil
}

// Run sends the gateway's signs of life to itself until ctx ends.
func (h *Homes) Run(ctx context.Context) { h.beat.run(ctx) }

// Ready says why this gateway cannot serve clients at the moment; nil when it
// can. It cannot while what homes send does not reach it in time.
func (h *Homes) Ready() error {
	h.mu.Lock()
	draining := h.draining != nil
	h.mu.Unlock()
	if draining {
		return errors.New("this gateway is shutting down")
	}
	return h.beat.ready()
}

// Do sends a command about cmd.User to that user's home and waits for the reply. The
// version and the reply address are filled in. The error is a *maru.Error with
// code UNAVAILABLE when the outcome is unknown or the command was not taken, or
// that of ctx; a refusal by the home is a reply, not an error.
func (h *Homes) Do(ctx context.Context, cmd record.Command) (record.Reply, error) {
	return h.command(ctx, maru.SlotOf(cmd.User, h.cfg.Partitions), []byte(cmd.User), cmd)
}

// DoAt is Do for a command that concerns several users of one slot: it goes to
// that slot by number, without a key.
func (h *Homes) DoAt(ctx context.Context, slot int32, cmd record.Command) (record.Reply, error) {
	return h.command(ctx, slot, nil, cmd)
}

// Slot returns the slot of a user.
func (h *Homes) Slot(user string) int32 { return maru.SlotOf(user, h.cfg.Partitions) }

// Address returns where homes send replies to this gateway.
func (h *Homes) Address() record.Address { return h.cfg.Address }

func (h *Homes) command(ctx context.Context, slot int32, key []byte, cmd record.Command) (record.Reply, error) {
	cmd.V, cmd.Reply = record.Version, &h.cfg.Address
	value, err := record.Encode(&cmd)
	if err != nil {
		return record.Reply{}, err
	}
	return h.await(ctx, cmd.ID, maru.LogRecord{Topic: h.cfg.Topics.Commands, Partition: slot, Key: key, Value: value})
}

// LoginRequest is what goes to login-request for one attempt to sign in.
type LoginRequest struct {
	ID     maru.CommandID
	User   string // folded
	Sealed string // the password, sealed to the homes for this user and id
	Claims string // what the gateway asserts, behind its MAC
}

// Login puts a login request on the fixed topic and waits for the reply, like Do.
func (h *Homes) Login(ctx context.Context, req LoginRequest) (record.Reply, error) {
	value, err := record.Encode(record.LoginRequest{UserID: req.User, SealedPw: req.Sealed})
	if err != nil {
		return record.Reply{}, err
	}
	return h.await(ctx, req.ID, maru.LogRecord{
		Topic:     h.cfg.Topics.LoginRequest,
		Partition: h.Slot(req.User),
		Key:       []byte(req.User),
		Value:     value,
		Headers: []maru.Header{
			{Key: record.HeaderID, Value: []byte(req.ID.String())},
			{Key: record.HeaderReply, Value: []byte(h.cfg.Address.String())},
			{Key: record.HeaderClaims, Value: []byte(req.Claims)},
		},
	})
}

// await produces rec, and again each Retry, until the command is answered.
func (h *Homes) await(ctx context.Context, id maru.CommandID, rec maru.LogRecord) (record.Reply, error) {
	if len(rec.Value) > record.MaxSize {
		return record.Reply{}, &maru.Error{Code: maru.CodeTooLarge, Message: "the request is larger than a record may be"}
	}
	c, err := h.enter(id)
	if err != nil {
		return record.Reply{}, err
	}
	defer h.leave(id, c)
	start := time.Now()
	giveUp := time.NewTimer(h.cfg.Timeout)
	defer giveUp.Stop()
	again := time.NewTicker(h.cfg.Retry)
	defer again.Stop()
	h.send(id, c, rec)
	for {
		select {
		case a := <-c.answer:
			h.metrics.took.Observe(time.Since(start).Seconds())
			return a.reply, a.err
		case <-again.C:
			h.metrics.retries.Inc()
			h.send(id, c, rec)
		case <-giveUp.C:
			h.metrics.timeouts.Inc()
			return record.Reply{}, &maru.Error{
				Code: maru.CodeUnavailable, RetryAfter: time.Second,
				Message: "no answer in time, so the outcome is unknown; repeating the request with the same Idempotency-Key is safe",
			}
		case <-ctx.Done():
			return record.Reply{}, ctx.Err()
		}
	}
}

// enter adds a call for id to those that wait.
func (h *Homes) enter(id maru.CommandID) (*call, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.draining != nil:
		return nil, unavailable("this gateway is shutting down; repeat the request", nil)
	case h.waiting >= h.cfg.MaxWaiting:
		h.metrics.overflows.Inc()
		return nil, unavailable("too many requests wait for an answer; try again in a moment", nil)
	}
	c := &call{answer: make(chan answer, 1)}
	h.calls[id] = append(h.calls[id], c)
	h.waiting++
	return c, nil
}

// leave forgets c, answered or not.
func (h *Homes) leave(id maru.CommandID, c *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting--
	left := h.calls[id]
	for i := range left {
		if left[i] == c {
			left = append(left[:i:i], left[i+1:]...)
			break
		}
	}
	if len(left) == 0 {
		delete(h.calls, id)
	} else {
		h.calls[id] = left
	}
	if h.waiting == 0 && h.draining != nil {
		close(h.draining)
	}
}

func (h *Homes) send(id maru.CommandID, c *call, rec maru.LogRecord) {
	h.mu.Lock()
	c.sent++
	h.mu.Unlock()
	h.cfg.Log.TryProduce(rec, func(_ int64, err error) {
		if err != nil {
			h.refused(c, err)
		}
	})
}

// refused answers c with the log's error once the log has refused every attempt:
// while one is on its way, a home may still reply to it.
func (h *Homes) refused(c *call, err error) {
	h.metrics.refused.Inc()
	h.mu.Lock()
	c.refused++
	all := c.refused == c.sent
	h.mu.Unlock()
	if !all {
		return
	}
	if e := (*maru.Error)(nil); !errors.As(err, &e) {
		err = unavailable("the request could not be passed on; repeat it with the same Idempotency-Key", err)
	}
	c.resolve(answer{err: err})
}

// resolve gives c its answer unless it has one: the first wins, and all replies
// to one command are equal.
func (c *call) resolve(a answer) {
	select {
	case c.answer <- a:
	default:
	}
}

// HandleDelivery takes a record of the delivery topic. It is called by the one
// goroutine that reads the gateway's partition, in order, and never blocks.
func (h *Homes) HandleDelivery(rec maru.LogRecord) {
	d, err := record.ParseDelivery(rec.Value)
	switch {
	case err != nil:
		h.metrics.skipped.WithLabelValues("unreadable").Inc()
		h.cfg.Logger.Debug("skipped an unreadable delivery", "partition", rec.Partition, "offset", rec.Offset, "err", err)
	case d.To != h.cfg.Address.Gateway:
		h.metrics.skipped.WithLabelValues("other gateway").Inc()
	case d.Reply != nil:
		h.reply(*d.Reply)
	case d.Beat > 0:
		h.beat.returned(d.Beat)
	default:
		h.metrics.skipped.WithLabelValues("unknown kind").Inc()
	}
}

func (h *Homes) reply(r record.Reply) {
	h.mu.Lock()
	calls := h.calls[r.ID]
	h.mu.Unlock()
	if len(calls) == 0 {
		h.metrics.skipped.WithLabelValues("nobody waits").Inc()
	}
	for _, c := range calls {
		c.resolve(answer{reply: r})
	}
}

// Drain refuses new commands and waits for the replies to those under way, or
// for the end of ctx, whose error it returns. It may be called once.
func (h *Homes) Drain(ctx context.Context) error {
	h.mu.Lock()
	done := make(chan struct{})
	h.draining = done
	if h.waiting == 0 {
		close(done)
	}
	h.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waiting returns how many commands wait for their replies.
func (h *Homes) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting
}

// unavailable is a refusal of something that was not tried, or not taken.
func unavailable(message string, cause error) *maru.Error {
	return &maru.Error{Code: maru.CodeUnavailable, Message: message, RetryAfter: time.Second, Err: cause}
}

func orDefault[T time.Duration | int | int64](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
