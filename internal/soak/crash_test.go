package soak

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"maru/node"
)

// startGoal is how soon maru is there again after it was killed; tests on a shared
// machine fail at five times that.
const startGoal = 2 * time.Second

// Nothing that was answered is lost when the process is killed under load, again
// and again, and what clients repeat across the crashes happens once.
func TestCrashes(t *testing.T) {
	data := t.TempDir()
	m := newServer(t, data)
	starts := []time.Duration{m.start()}
	w := newTown(t, 8, m.url())
	w.live()
	for range *crashes {
		time.Sleep(time.Duration(300+rand.IntN(600)) * time.Millisecond) // of load
		m.kill()
		starts = append(starts, m.start())
	}
	w.settle()
	m.terminate()
	mustHold(t, w, data)
	t.Logf("%d crashes; %s", *crashes, w.figures())
	t.Logf("ready after: %s", percentiles(starts))
	if worst := longest(starts); worst > 5*startGoal {
		t.Errorf("one start took %v, the goal is %v", worst, startGoal)
	}
	if w.changes.Load() < int64(20**crashes) {
		t.Errorf("only %d changes in %d rounds: that was no load", w.changes.Load(), *crashes)
	}
}

func longest(all []time.Duration) (worst time.Duration) {
	for _, d := range all {
		worst = max(worst, d)
	}
	return worst
}

// A data directory has one process. The second one leaves with a sentence and does
// the first no harm; what a killed one leaves behind is in nobody's way.
func TestTwoProcessesOneDirectory(t *testing.T) {
	data := t.TempDir()
	first, second := newServer(t, data), newServer(t, data)
	first.start()
	w := newTown(t, 2, first.url())
	if says := second.refused(); !strings.Contains(says, "in use by another maru") {
		t.Errorf("the second process says\n%s", says)
	}
	w.inspect(2)
	if _, err := first.residents(t.Context()); err != nil {
		t.Errorf("the socket of the first process: %v", err)
	}

	first.kill()
	if _, err := os.Lstat(filepath.Join(data, node.SocketName)); err != nil {
		t.Errorf("a killed process leaves its socket behind, or this test is void: %v", err)
	}
	first.start()
	w.inspect(2)
	if held, err := first.residents(t.Context()); err != nil || len(held) == 0 {
		t.Errorf("the socket after a crash: %v, %v", held, err)
	}
	first.terminate()
	mustHold(t, w, data)
}

// More people than the limits per address allow come from one address when the
// limits are turned off on the command line.
func TestZeroMeansNoLimit(t *testing.T) {
	m := newServer(t, t.TempDir()) // see cheap
	m.start()
	w := newTown(t, 25, m.url())           // 20 an hour by default
	for _, p := range w.everybody()[:12] { // 10 a minute by default
		p.mistype()
	}
	w.mustHold()
	if n := w.tries(http.StatusTooManyRequests); n > 0 {
		t.Errorf("%d requests were told to come back later", n)
	}
}
