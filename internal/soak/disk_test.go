package soak

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// answerLimit is how long a request may wait for an answer, with slack for a
// machine that is busy: after 10 s a gateway says that the outcome is unknown.
const answerLimit = 13 * time.Second

// A full disk is an error that users are told, and nothing else: no answer is lost,
// and it goes on by itself when there is space again.
func TestFullDisk(t *testing.T) {
	d := newDisk(t, 512)
	data := filepath.Join(d.dir, "data")
	m := newServer(t, data)
	m.start()
	w := newTown(t, 6, m.url())
	w.live()
	for name, leave := range map[string]int64{"below the floor": 100 << 20, "to the last byte": 0} {
		filler := d.fill(leave)
		awaitReady(t, m, http.StatusServiceUnavailable, "disk")
		refused := w.tries(http.StatusServiceUnavailable)
		time.Sleep(answerLimit) // with a full disk
		if w.tries(http.StatusServiceUnavailable) == refused {
			t.Errorf("%s: nobody was told", name)
		}
		if late := time.Since(w.lastChange()); late < time.Second {
			t.Errorf("%s: a change was accepted %v ago", name, late)
		}
		freed := time.Now()
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		awaitReady(t, m, http.StatusOK, "")
		for w.lastChange().Before(freed) && time.Since(freed) < patience {
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("%s: changes are accepted again %v after space was freed", name, time.Since(freed).Round(time.Millisecond))
		if late := time.Since(freed); late > 10*time.Second {
			t.Errorf("%s: %v from free space to the first change", name, late)
		}
	}
	w.settle()
	m.terminate()
	mustHold(t, w, data)
	t.Log(w.figures())
	if w.slowest > answerLimit {
		t.Errorf("a request waited %v for its answer", w.slowest)
	}
}

// awaitReady waits until /readyz has the status and says the word.
func awaitReady(t *testing.T, m *machine, status int, word string) {
	t.Helper()
	var got int
	var body []byte
	var err error
	for began := time.Now(); time.Since(began) < patience; time.Sleep(50 * time.Millisecond) {
		if got, body, err = m.get(t.Context(), "/readyz"); err == nil && got == status && strings.Contains(string(body), word) {
			if status != http.StatusOK {
				t.Logf("/readyz says %s", body)
			}
			return
		}
	}
	t.Fatalf("/readyz has not become %d within %v, last: %d %s %v", status, patience, got, body, err)
}

// A disk that fails or turns read-only ends the process with a sentence, before it
// answers what is not on the disk; mended, it starts and has everything.
func TestFailingDisk(t *testing.T) {
	for name, fail := range map[string]func(*disk) error{
		"EIO":   (*disk).shutDown,
		"EROFS": (*disk).turnReadOnly,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, 512)
			data := filepath.Join(d.dir, "data")
			m := newServer(t, data)
			m.start()
			w := newTown(t, 6, m.url())
			w.live()
			time.Sleep(500 * time.Millisecond) // of load
			broken := time.Now()
			if err := fail(d); err != nil {
				t.Fatal(err)
			}
			m.ended(10*time.Second, 1) // within 4 s on a quiet machine
			t.Logf("the process ended after %v", time.Since(broken).Round(time.Millisecond))
			if says := m.log.Tail(30); !strings.Contains(says, "the disk under") {
				t.Errorf("no sentence about the disk:\n%s", says)
			}
			d.repair()
			m.start()
			time.Sleep(500 * time.Millisecond) // of load
			w.settle()
			m.terminate()
			mustHold(t, w, data)
			t.Log(w.figures())
		})
	}
}

// shutDown makes every access to the file system fail with EIO, without writing
// anything back: ext4's own emulation of a disk that is gone.
func (d *disk) shutDown() error {
	const (
		goingDown  = 0x8004587d // EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
		noLogFlush = 2
	)
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	how := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		return fmt.Errorf("shutting the file system down: %w", errno)
	}
	return nil
}

// turnReadOnly tells ext4 that it has found an error in itself; it was mounted to
// become read-only then, with files open for writing.
func (d *disk) turnReadOnly() error {
	return os.WriteFile("/sys/fs/ext4/"+d.device()+"/trigger_fs_error", []byte("an error"), 0o600)
}
