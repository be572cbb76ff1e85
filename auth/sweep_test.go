package auth

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// With the collector's own pace switched off, only sweep collects: after each large hash,
// unless the heap has so many pointers that it would cost more than it saves.
func TestSweepOnSmallHeapsOnly(t *testing.T) {
	h := newHasher(t, DefaultParams())
	small := newHasher(t, cheap)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	collections := func(h *Hasher) uint32 {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := h.Verify(h.Dummy(), []byte("password")); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.NumGC - before.NumGC
	}
	runtime.GC() // so that what other tests left is not taken for heap in use
	if collections(h) == 0 {
		t.Error("a large hash was left on a small heap")
	}
	if n := collections(small); n != 0 {
		t.Errorf("%d collections for a hash of 8 KiB", n)
	}
	pointers := make([]*int, 4*sweepScanBytes/8)
	for i := range pointers {
		pointers[i] = new(int)
	}
	runtime.GC()
	if n := collections(h); n != 0 {
		t.Errorf("%d collections of a heap with many pointers", n)
	}
	runtime.KeepAlive(pointers)
}
