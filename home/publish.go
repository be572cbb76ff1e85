package home

import (
	"errors"
	"sync/atomic"

	"maru"
	"maru/home/fold"
	"maru/record"
)

// errRefused: Kafka refused an output for good. The slot starts over at its
// checkpoint and sends it again; numbered streams close the gap.
var errRefused = errors.New("the log refused an output")

// ackGroup counts the outputs of the records of one checkpoint that are not yet
// acknowledged. done is closed when it was sealed and all are.
type ackGroup struct {
	open   atomic.Int64 // outputs, and one more until sealed
	failed atomic.Pointer[error]
	done   chan struct{}
}

func newAckGroup() *ackGroup {
	g := &ackGroup{done: make(chan struct{})}
	g.open.Store(1)
	return g
}

func (g *ackGroup) finish(err error) {
	if err != nil {
		g.failed.CompareAndSwap(nil, &err)
	}
	if g.open.Add(-1) == 0 {
		close(g.done)
	}
}

// seal says that no output will be added.
func (g *ackGroup) seal() { g.finish(nil) }

func (g *ackGroup) err() error {
	if p := g.failed.Load(); p != nil {
		return errors.Join(errRefused, *p)
	}
	return nil
}

// publish sends outputs in order and adds them to the current group. It blocks
// while the producer's buffer is full.
func (s *slot) publish(outputs []fold.Output) {
	if len(outputs) == 0 {
		return
	}
	g := s.acks
	g.open.Add(int64(len(outputs)))
	s.waiting.Store(true)
	for i := range outputs {
		s.cfg.Log.Produce(s.record(&outputs[i]), func(_ int64, err error) { g.finish(err) })
	}
	s.waited()
}

func (s *slot) record(o *fold.Output) maru.LogRecord {
	r := maru.LogRecord{Partition: o.Partition, Time: o.Time, Value: o.Value}
	if o.Key != "" {
		r.Key = []byte(o.Key)
	}
	switch o.Topic {
	case fold.ToDelivery:
		r.Topic = s.cfg.Topics.Delivery
	case fold.ToCommands:
		r.Topic = s.cfg.Topics.Commands
	case fold.ToLoginResponse:
		r.Topic = s.cfg.Topics.LoginResponse
		if o.ID != "" {
			r.Headers = []maru.Header{{Key: record.HeaderID, Value: []byte(o.ID)}}
		}
	}
	return r
}

// produceHere is produce on the slot's own goroutine, which is not stuck while it
// waits for room in the producer's buffer.
func (s *slot) produceHere(r maru.LogRecord) {
	s.waiting.Store(true)
	s.produce(r)
	s.waited()
}

// produce sends what is not an output of the fold: results of work beside it. If
// Kafka refuses it the slot starts over, which does the work again. Any goroutine
// may call it.
func (s *slot) produce(r maru.LogRecord) {
	s.cfg.Log.Produce(r, func(_ int64, err error) {
		if err != nil {
			s.post(func() { s.drop(errors.Join(errRefused, err)) })
		}
	})
}
