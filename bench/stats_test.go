package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	upTo := func(n int) (s []time.Duration) {
		for i := range n {
			s = append(s, time.Duration(i+1))
		}
		return s
	}
	for _, c := range []struct {
		n     int
		share float64
		want  time.Duration
	}{
		{1, 0.5, 1}, {1, 0.999, 1}, {2, 0.5, 1}, {3, 0.5, 2}, {10, 0.9, 9}, {10, 0.99, 10}, {11, 0.9, 10},
		{100, 0.99, 99}, {101, 0.99, 100}, {1000, 0.999, 999}, {1001, 0.999, 1000}, {1000, 0.5, 500},
	} {
		if got := percentile(upTo(c.n), c.share); got != c.want {
			t.Errorf("%v of 1..%d is %d, want %d", c.share, c.n, got, c.want)
		}
	}
}

func TestSummary(t *testing.T) {
	if l := summarise(nil); l != nil {
		t.Errorf("no samples have the distribution %+v", l)
	}
	var samples []time.Duration
	for i := range 1000 {
		samples = append(samples, time.Duration(i+1)*time.Millisecond)
	}
	rand.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
	l := summarise(samples)
	if l.P50 != 500*time.Millisecond || l.P90 != 900*time.Millisecond || l.P99 != 990*time.Millisecond || l.P999 != 999*time.Millisecond || l.Max != time.Second {
		t.Errorf("%+v", l)
	}
}

func TestHistogram(t *testing.T) {
	us := time.Microsecond
	got := histogram([]time.Duration{0, us, us + 1, 2 * us, 2*us + 1, 9 * us})
	want := []Bucket{{us, 2}, {2 * us, 2}, {4 * us, 1}, {8 * us, 0}, {16 * us, 1}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := histogram([]time.Duration{3 * us}); !slices.Equal(got, []Bucket{{4 * us, 1}}) {
		t.Errorf("it does not begin where the samples do: %v", got)
	}
	for range 100 {
		samples := make([]time.Duration, 1+rand.IntN(50))
		for i := range samples {
			samples[i] = time.Duration(rand.Int64N(int64(10 * time.Second)))
		}
		slices.Sort(samples)
		n := 0
		for i, b := range histogram(samples) {
			if n += b.Count; b.UpTo < samples[max(n, 1)-1] || n < len(samples) && samples[n] <= b.UpTo {
				t.Fatalf("bucket %d of %v: %+v", i, samples, b)
			}
		}
		if n != len(samples) {
			t.Fatalf("%d of %d samples counted", n, len(samples))
		}
	}
}
