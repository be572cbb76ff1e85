package bench

import (
	"math"
	"slices"
	"time"
)

// Latency is the distribution of the times of single operations. All samples are
// kept and sorted, so the percentiles are exact: the smallest sample that is not
// less than the given share of them (nearest rank).
type Latency struct {
	P50  time.Duration `json:"p50Ns"`
	P90  time.Duration `json:"p90Ns"`
	P99  time.Duration `json:"p99Ns"`
	P999 time.Duration `json:"p999Ns"`
	Max  time.Duration `json:"maxNs"`

	Histogram []Bucket `json:"histogram"`
}

// Bucket counts the samples above the bound of the bucket before and up to its own.
type Bucket struct {
	UpTo  time.Duration `json:"upToNs"`
	Count int           `json:"count"`
}

// summarise sorts samples and describes them; nil when there are none.
func summarise(samples []time.Duration) *Latency {
	if len(samples) == 0 {
		return nil
	}
	slices.Sort(samples)
	return &Latency{
		P50: percentile(samples, 0.50), P90: percentile(samples, 0.90),
		P99: percentile(samples, 0.99), P999: percentile(samples, 0.999),
		Max: samples[len(samples)-1], Histogram: histogram(samples),
	}
}

// percentile returns the nearest rank of share in sorted samples.
func percentile(sorted []time.Duration, share float64) time.Duration {
	// A share such as 0.9 is a little more than nine tenths in binary; without
	// the allowance ten samples would have their ninth rank at the tenth.
	rank := int(math.Ceil(share*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// histogram counts sorted samples in buckets whose bounds double from one
// microsecond on, from the first that has a sample to the last.
func histogram(sorted []time.Duration) (buckets []Bucket) {
	upTo := time.Microsecond
	for sorted[0] > upTo {
		upTo *= 2
	}
	for rest := sorted; len(rest) > 0; upTo *= 2 {
		n, _ := slices.BinarySearch(rest, upTo+1)
		buckets = append(buckets, Bucket{UpTo: upTo, Count: n})
		rest = rest[n:]
	}
	return buckets
}
