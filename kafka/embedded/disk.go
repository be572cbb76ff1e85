package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canaryEvery is how often the disk is looked at, and so how long a failed disk
// can go unnoticed.
const canaryEvery = time.Second

// probe is how the disk is looked at; tests replace it.
type probe struct {
	// free returns the bytes that this process may still write under dir.
	free func(dir string) (int64, error)
	// touch writes to the canary file and waits until it is on the disk.
	touch func(f *os.File) error
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// touchCanary writes the canary anew. Truncating first makes the file system
// allocate a block each time, so that a full disk is felt here as well.
func touchCanary(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(time.Now().UTC().Format(time.RFC3339Nano)+"\n"), 0); err != nil {
		return err
	}
	return f.Sync()
}

// disk watches the file system under the log. mu guards its fields below it;
// watch runs in a goroutine of its own.
//
// kfake drops the error of every Sync and has no exported way to replace its
// file system, so an fsync that failed under a record cannot be seen: the record
// is acknowledged. The canary, a file beside the log that is written and synced
// every second, stands in for it. It covers a device that fails as a whole, a
// journal that was aborted, and a file system that the kernel made read-only:
// within a second the state is failed and nothing is acknowledged any more. It
// does not cover what was acknowledged in that second, nor a single bad sector
// under a segment that leaves the rest of the disk in order; a restart finds the
// latter by its checksum, cuts the log there, and maru's comparison of the log's
// end with its checkpoint tells.
type disk struct {
	dir    string // empty: the log is in memory and there is nothing to watch
	floor  int64
	probe  probe
	log    *slog.Logger
	fatal  func(error)
	canary *os.File
	every  time.Duration

	mu    sync.Mutex
	state DiskState
	why   *string // told to producers; nil when writes are taken
}

// DiskState says whether the broker takes writes.
type DiskState int

const (
	// DiskOK: writes are taken.
	DiskOK DiskState = iota
	// DiskFull: less than Config.MinFree is free, or a write found no space.
	// Producers are told to try again; it ends by itself.
	DiskFull
	// DiskFailed: a write or fsync failed, what was acknowledged may not be
	// on the disk. It lasts until the process is started again.
	DiskFailed
)

func (s DiskState) String() string {
	switch s {
	case DiskOK:
		return "ok"
	case DiskFull:
		return "full"
	}
	return "failed"
}

func newDisk(cfg Config, canary *os.File) *disk {
	d := &disk{
		dir: cfg.Dir, floor: cfg.MinFree, probe: cfg.probe, log: cfg.Logger, fatal: cfg.Fatal,
		canary: canary, every: cfg.pace.canary,
	}
	if d.probe.free == nil {
		d.probe.free = freeBytes
	}
	if d.probe.touch == nil {
		d.probe.touch = touchCanary
	}
	return d
}

// refuses returns what to tell a producer whose write is not taken; nil: it is.
func (d *disk) refuses() *string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why
}

func (d *disk) current() (DiskState, *string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.why
}

// watch looks at the disk at its pace until ctx ends.
func (d *disk) watch(ctx context.Context) {
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.look()
		}
	}
}

// look judges the disk once.
func (d *disk) look() {
	if d.dir == "" {
		return
	}
	err := d.probe.touch(d.canary)
	if err == nil {
		var free int64
		if free, err = d.probe.free(d.dir); err == nil {
			d.judgeSpace(free)
			return
		}
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		d.become(DiskFull, "the disk under the embedded broker is full: free some space, writing goes on by itself", err)
	case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN):
		// Says nothing about the disk; the next look will.
	default:
		// EIO and EROFS, and with them whatever is unknown: a log whose
		// writes may not arrive must not be acknowledged.
		d.become(DiskFailed, "the disk under the embedded broker failed; nothing is written any more", err)
	}
}

// judgeSpace compares what is free with the floor. Writing goes on only with a
// quarter more than that, so that the state does not flutter.
func (d *disk) judgeSpace(free int64) {
	state, _ := d.current()
	if free < d.floor || state == DiskFull && free < d.floor+d.floor/4 {
		d.become(DiskFull, "too little free disk space for the embedded broker: free some, writing goes on by itself",
			fmt.Errorf("%d bytes free, %d wanted", free, d.floor+d.floor/4))
		return
	}
	d.become(DiskOK, "", nil)
}

// become changes the state, tells the operator once, and calls fatal once.
// Failed is for good: after a failed fsync the kernel may report later ones as
// successful although the data is gone.
func (d *disk) become(state DiskState, why string, cause error) {
	d.mu.Lock()
	old := d.state
	if old == DiskFailed || old == state {
		d.mu.Unlock()
		return
	}
	d.state, d.why = state, nil
	if state != DiskOK {
		d.why = &why
	}
	d.mu.Unlock()

	switch state {
	case DiskOK:
		d.log.Info("disk under the embedded broker takes writes again", "dir", d.dir)
	case DiskFull:
		d.log.Error("disk under the embedded broker is full, writes are refused for now", "dir", d.dir, "error", cause)
	case DiskFailed:
		d.log.Error("disk under the embedded broker failed, writes are refused", "dir", d.dir, "error", cause)
		d.fatal(fmt.Errorf("embedded broker: the disk under %s cannot be trusted any more: %w", d.dir, cause))
	}
}
