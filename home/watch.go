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
				if at := s.turn.Load(); at != 0 && !s.waiting.Load() && now.UnixMilli()-at > h.cfg.StuckAfter.Milliseconds() {
					h.die(fmt.Errorf("slot %d has been at one thing for %v: this process ends so that another home takes over", s.n, now.Sub(time.UnixMilli(at)).Round(time.Second)))
				}
			}
		}
	}
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
