package home

import (
	"fmt"
	"strconv"
	"time"
)

// watch ends the process when a slot's goroutine is stuck: the Kafka client has no
// max.poll.interval, so a member that applies nothing would keep its slots. Waiting
// for Kafka or SQL is not being stuck: nobody else could do better.
func (h *Home) watch() {
	t := time.NewTicker(max(h.cfg.StuckAfter/10, time.Second))
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-t.C:
			for _, s := range h.all() {
				if s.waiting.Load() { // asked first: see waited
					continue
				}
				if at := s.turn.Load(); at != 0 && now.UnixMilli()-at > h.cfg.StuckAfter.Milliseconds() {
					h.die(fmt.Errorf("slot %d has been at one thing for %v: this process ends so that another home takes over", s.n, now.Sub(time.UnixMilli(at)).Round(time.Second)))
				}
			}
		}
	}
}

// waited ends a wait for Kafka or SQL. What the goroutine does from here on begins
// now, and that is noted before the wait ends: the moment in which SQL is back after
// a long time would else look like having been stuck for so long.
func (s *slot) waited() {
	s.turn.Store(time.Now().UnixMilli())
	s.waiting.Store(false)
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
