package auth

import (
	"runtime"
	"runtime/metrics"
)

const (
	sweepFromKiB   = 4 << 10 // smaller hashes leave little behind
	sweepScanBytes = 4 << 20 // of heap with pointers in it; measured: BenchmarkFlood
)

// sweep frees the memory of the hash that just ended. argon2 allocates it anew each time,
// and by default the collector lets as much garbage gather as is in use: a flood of
// hashes of 19 MiB, two at a time, takes 78 MiB, and less than 60 when each is collected
// at its end. On a small heap that costs nothing, because the next hash finds warm pages.
// The cost grows with the pointers to follow, so processes with more of them are left to
// the collector's own pace.
func sweep() {
	scan := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(scan)
	if scan[0].Value.Kind() == metrics.KindUint64 && scan[0].Value.Uint64() <= sweepScanBytes {
		runtime.GC()
	}
}
