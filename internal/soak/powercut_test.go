package soak

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Everything that was answered before a power cut is there after it, whatever was
// under way. The cut is a copy of the disk without what the kernel had not yet
// written to it, made while the server stands still.
func TestPowerCuts(t *testing.T) {
	for left := *cuts; left > 0 && !t.Failed(); left -= cutsPerDisk {
		t.Run("disk", func(t *testing.T) { powerCuts(t, min(left, cutsPerDisk)) })
	}
}

// cutsPerDisk bounds what one disk goes through: after every cut its whole log is
// folded.
const cutsPerDisk = 20

func powerCuts(t *testing.T, cuts int) {
	d := newDisk(t, 1024)
	data := filepath.Join(d.dir, "data")
	m := newServer(t, data)
	m.start()
	w := newTown(t, 8, m.url())
	w.live()
	copied := filepath.Join(t.TempDir(), "cut.img")
	var starts []time.Duration
	for n := range cuts {
		time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond) // of load
		m.signal(syscall.SIGSTOP)
		d.cut(copied)
		must := w.copyAt("")
		m.signal(syscall.SIGCONT)
		starts = append(starts, afterTheCut(t, copied, must))
		if t.Failed() {
			t.Fatalf("after cut %d", n+1)
		}
	}
	w.settle()
	m.terminate()
	mustHold(t, w, data)
	t.Logf("%d power cuts; %s", cuts, w.figures())
	t.Logf("ready after a cut: %s", percentiles(starts))
	if worst := longest(starts); worst > 5*startGoal {
		t.Errorf("one start took %v, the goal is %v", worst, startGoal)
	}
}

// afterTheCut starts maru on what a power cut has left, and compares.
func afterTheCut(t *testing.T, image string, must *town) (start time.Duration) {
	d := openDisk(t, image)
	defer d.unmount()
	data := filepath.Join(d.dir, "data")
	if err := os.Remove(filepath.Join(data, "admin.sock")); err != nil {
		t.Log(err) // not synced yet
	}
	m := newServer(t, data)
	defer m.kill()
	start = m.start()
	must.gateways = []string{m.url()}
	must.inspect(10)
	m.terminate()
	mustHold(t, must, data)
	return start
}
