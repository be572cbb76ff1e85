package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// What lies in a data directory. The log is kfake's; the rest is ours.
const (
	lockFile   = "lock"
	marker     = "running" // there while a broker runs: found at start, the last one did not stop cleanly
	canaryFile = "canary"
	logDir     = "log"
	crashedDir = "log.crashed" // see Broker.Crash
)

// dataDir is a locked data directory. It belongs to the Broker, whose Start and
// Close call it one after the other.
type dataDir struct {
	path    string
	lock    *flock.Flock
	canary  *os.File
	unclean bool // the last run did not stop cleanly
}

// openDataDir makes the directory if need be and locks it. kfake has no lock, and
// two brokers on one directory destroy each other's log.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory of the embedded broker: %w", err)
	}
	d := &dataDir{path: path, lock: flock.New(filepath.Join(path, lockFile))}
	locked, err := d.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data directory %s: %w", path, err)
	}
	if !locked {
		return nil, fmt.Errorf("data directory %s is in use by another maru: stop that one, or name another directory with --data", path)
	}
	_, err = os.Stat(filepath.Join(path, marker))
	d.unclean = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.close()
		return nil, fmt.Errorf("data directory of the embedded broker: %w", err)
	}
	if err := d.undoCrash(); err != nil {
		d.close()
		return nil, err
	}
	d.canary, err = os.OpenFile(filepath.Join(path, canaryFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		d.close()
		return nil, fmt.Errorf("data directory of the embedded broker: %w", err)
	}
	return d, nil
}

func (d *dataDir) log() string { return filepath.Join(d.path, logDir) }

// begin notes durably that a broker runs.
func (d *dataDir) begin() error {
	f, err := os.OpenFile(filepath.Join(d.path, marker), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mark the data directory as in use: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close(), d.sync()); err != nil {
		return fmt.Errorf("mark the data directory as in use: %w", err)
	}
	return nil
}

// finish notes durably that the broker stopped cleanly.
func (d *dataDir) finish() error {
	if err := errors.Join(os.Remove(filepath.Join(d.path, marker)), d.sync()); err != nil {
		return fmt.Errorf("mark the data directory as stopped cleanly: %w", err)
	}
	return nil
}

// sync makes changes of names in the directory durable.
func (d *dataDir) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// hideLog moves the log out of kfake's reach, undoCrash puts it back. Between
// the two, kfake's Close writes to a log that is thrown away, which leaves the
// log as a killed process would have left it.
func (d *dataDir) hideLog() error {
	return os.Rename(d.log(), filepath.Join(d.path, crashedDir))
}

func (d *dataDir) undoCrash() error {
	hidden := filepath.Join(d.path, crashedDir)
	if _, err := os.Stat(hidden); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := errors.Join(os.RemoveAll(d.log()), os.Rename(hidden, d.log())); err != nil {
		return fmt.Errorf("put back the log of a simulated crash: %w", err)
	}
	return nil
}

// close gives the directory free.
func (d *dataDir) close() error {
	var err error
	if d.canary != nil {
		err = d.canary.Close()
	}
	return errors.Join(err, d.lock.Close())
}
