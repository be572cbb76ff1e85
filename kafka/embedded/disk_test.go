package embedded

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// faultyDisk is a disk whose state a test sets.
type faultyDisk struct {
	free atomic.Int64
	err  atomic.Pointer[error]
}

func (f *faultyDisk) probe() probe {
	return probe{
		free: func(string) (int64, error) { return f.free.Load(), nil },
		touch: func(*os.File) error {
			if err := f.err.Load(); err != nil {
				return &fs.PathError{Op: "sync", Path: canaryFile, Err: *err}
			}
			return nil
		},
	}
}

func (f *faultyDisk) fail(err error) { f.err.Store(&err) }

func TestProducersWaitForDiskSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk faultyDisk
		disk.free.Store(1 << 30)
		b := startBroker(t, Config{Dir: t.TempDir(), MinFree: 1 << 20, probe: disk.probe()})
		cl := insideClient(t, b)
		createTopic(t, cl, "talk", 1, nil)
		produce(t, cl, "talk", 1)

		for name, fill := range map[string]func(){
			"below the floor": func() { disk.free.Store(1<<20 - 1) },
			"no space":        func() { disk.fail(syscall.ENOSPC) },
		} {
			before := span(t, b, "talk").End
			fill()
			time.Sleep(2 * canaryEvery)
			if state, why := b.Disk(); state != DiskFull || !strings.Contains(why, "free some") {
				t.Fatalf("%s: state %v, %q", name, state, why)
			}
			done := make(chan error, 1)
			cl.Produce(t.Context(), &kgo.Record{Topic: "talk"}, func(_ *kgo.Record, err error) { done <- err })
			time.Sleep(time.Minute)
			select {
			case err := <-done:
				t.Fatalf("%s: the producer gave up: %v", name, err)
			default:
			}
			if got := span(t, b, "talk").End; got != before {
				t.Fatalf("%s: end %d", name, got)
			}
			disk.err.Store(nil)
			disk.free.Store(1<<20 + 1) // above the floor, not yet by a quarter
			time.Sleep(2 * canaryEvery)
			if state, _ := b.Disk(); state != DiskFull {
				t.Fatalf("%s: state %v flutters", name, state)
			}
			disk.free.Store(1 << 21)
			if err := <-done; err != nil {
				t.Fatalf("%s: after there was space again: %v", name, err)
			}
			if state, why := b.Disk(); state != DiskOK || why != "" {
				t.Fatalf("%s: state %v, %q", name, state, why)
			}
		}
	})
}

func TestFailedDiskIsFatalOnceAndForGood(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.EROFS} {
		synctest.Test(t, func(t *testing.T) {
			var disk faultyDisk
			disk.free.Store(1 << 40)
			var fatal []error
			b := startBroker(t, Config{
				Dir: t.TempDir(), probe: disk.probe(), Fatal: func(err error) { fatal = append(fatal, err) },
			})
			cl := insideClient(t, b, kgo.RecordRetries(2), kgo.RecordDeliveryTimeout(time.Minute))
			createTopic(t, cl, "talk", 1, nil)
			produce(t, cl, "talk", 1)
			disk.fail(cause)
			time.Sleep(2 * canaryEvery)
			disk.err.Store(nil) // fsync succeeds again, the data is gone all the same
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(fatal) != 1 || !errors.Is(fatal[0], cause) {
				t.Fatalf("%v: fatal was called with %v", cause, fatal)
			}
			if state, _ := b.Disk(); state != DiskFailed {
				t.Fatalf("%v: state %v", cause, state)
			}
			err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "talk"}).FirstErr()
			if !errors.Is(err, kerr.KafkaStorageError) {
				t.Fatalf("%v: produce: %v", cause, err)
			}
			cl.Close()
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			// The next start does not take the directory for a clean one.
			disk.err.Store(nil)
			if b = startBroker(t, Config{Dir: b.cfg.Dir}); !b.Recovered() {
				t.Fatalf("%v: the directory was marked as stopped cleanly", cause)
			}
		})
	}
}

func TestFailedWriteIsRetriedUnlessIdempotent(t *testing.T) {
	b := startBroker(t, Config{Dir: t.TempDir()})
	cl := insideClient(t, b)
	createTopic(t, cl, "talk", 1, nil)
	// The directory of partitions is replaced by a file: no segment can be made.
	parts := b.dir.log() + "/partitions"
	if err := errors.Join(os.RemoveAll(parts), os.WriteFile(parts, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	plain := newBatch(time.Now(), "x")
	wantCode(t, "plain", produceRaw(t, cl, "talk", plain).ErrorCode, kerr.KafkaStorageError)
	numbered := sealBatch(time.Now(), 1, codecNone, appendRecord(nil, 0, 0, "x"), func(b []byte) {
		clear(b[batchProducerID : batchProducerID+14])
	})
	wantCode(t, "idempotent", produceRaw(t, cl, "talk", numbered).ErrorCode, kerr.UnknownServerError)
	if err := os.Remove(parts); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "mended", produceRaw(t, cl, "talk", plain).ErrorCode, &kerr.Error{})
}

func TestCanaryTouchesTheRealDisk(t *testing.T) {
	dir, err := openDataDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk(Config{Dir: dir.path, Logger: testLog(t)}, dir.canary)
	d.look()
	if state, why := d.current(); state != DiskOK {
		t.Fatal(state, *why)
	}
	if st, err := dir.canary.Stat(); err != nil || st.Size() == 0 {
		t.Fatal(st, err)
	}
	if err := dir.close(); err != nil { // and with it the canary: writing fails now
		t.Fatal(err)
	}
	called := false
	d.fatal = func(error) { called = true }
	d.look()
	if state, _ := d.current(); state != DiskFailed || !called {
		t.Fatal(state, called)
	}
}
