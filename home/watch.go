package home

import (
	"fmt"
	"strconv"
	"time"
)

// looks is how often in a row the watchdog must see a slot at the same thing. It
// counts what it sees instead of comparing times: a process that was stopped, or
// whose machine slept, did not work on anything for so long.
const looks = 10

// watch ends the process when a slot's goroutine is stuck: the Kafka client has no
// max.poll.interval, so a member that applies nothing would keep its slots. Waiting
// for Kafka or SQL is not being stuck: nobody else could do better.
func (h *Home) watch() {
	type sight struct {
		at int64
		n  int
	}
	seen := map[Lease]sight{}
	t := time.NewTicker(h.cfg.StuckAfter / looks)
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-t.C:
			now := map[Lease]sight{}
			for _, s := range h.all() {
				if s.waiting.Load() { // asked first: see waited
					continue
				}
				at := s.turn.Load()
				if at == 0 {
					continue
				}
				now[s.lease] = sight{at: at}
				if last := seen[s.lease]; last.at == at {
					now[s.lease] = sight{at, last.n + 1}
				}
				if now[s.lease].n >= looks {
					h.die(fmt.Errorf("slot %d has been at one thing for %v: this process ends so that another home takes over", s.n, h.cfg.StuckAfter))
				}
			}
			seen = now
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
