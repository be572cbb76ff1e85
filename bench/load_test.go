package bench

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// In virtual time an operation takes exactly what it sleeps.
func TestRunCountsWhatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := new(Config).run(t.Context(), part{
			name: "x", senders: 4, length: time.Second, timed: true,
			op: func(context.Context, int, int64) (int, error) {
				time.Sleep(30 * time.Millisecond)
				return 2, nil
			},
		})
		// The 34th of each sender begins at 990 ms and ends at 1,020.
		if err != nil || r.Count != 4*34*2 || r.Failed != 0 || r.Seconds != 1.02 || r.PerSecond != float64(r.Count)/1.02 {
			t.Errorf("%+v, %v", r, err)
		}
		if l := r.Latency; l.P50 != 30*time.Millisecond || l.Max != 30*time.Millisecond {
			t.Errorf("latency %+v", l)
		}
	})
}

func TestRunStopsAtTheTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen [10]atomic.Int32
		r, err := new(Config).run(t.Context(), part{
			senders: 3, length: time.Hour, total: 10,
			op: func(_ context.Context, _ int, n int64) (int, error) {
				seen[n].Add(1)
				time.Sleep(time.Second)
				return 1, nil
			},
		})
		if err != nil || r.Count != 10 || r.Seconds != 4 || r.Latency != nil {
			t.Errorf("%+v, %v", r, err)
		}
		for n := range seen {
			if seen[n].Load() != 1 {
				t.Errorf("operation %d was done %d times", n, seen[n].Load())
			}
		}
	})
}

// What failed is neither in the rate nor in the latency.
func TestRunTellsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := new(Config).run(t.Context(), part{
			senders: 1, length: time.Hour, total: 10, timed: true,
			op: func(_ context.Context, _ int, n int64) (int, error) {
				if n%2 == 1 {
					time.Sleep(time.Minute)
					return 1, errors.New("first line\nsecond")
				}
				time.Sleep(time.Second)
				return 1, nil
			},
		})
		if err != nil || r.Count != 5 || r.Failed != 5 || r.Error != "first line" || r.Latency.Max != time.Second {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := new(Config).run(ctx, part{
			senders: 2, length: time.Hour,
			op: func(ctx context.Context, _ int, _ int64) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			},
		})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		c := Config{Progress: func(s string) { said = append(said, s) }}
		c.run(t.Context(), part{
			name: "warm logins", senders: 1, length: 10 * time.Second,
			op: func(context.Context, int, int64) (int, error) {
				time.Sleep(500 * time.Microsecond)
				return 1, nil
			},
		})
		if len(said) < 40 || !strings.HasPrefix(said[24], "warm logins: 5 s, ") || !strings.Contains(said[24], ",") || !strings.HasSuffix(said[24], "/s") {
			t.Errorf("%d lines: %q", len(said), said)
		}
	})
}

func TestRateForProcessorTime(t *testing.T) {
	for cpu, want := range map[CPU]float64{{1.5, 0.5}: 50, {-1, 0.5}: 200, {-1, -1}: 0, {0, 0}: 0} {
		if r := (Result{Seconds: 2, CPU: cpu}).add([]tally{{done: 150}, {done: 50}}); r.PerCPU != want {
			t.Errorf("%+v: %v, want %v", cpu, r.PerCPU, want)
		}
	}
}

func TestParseStat(t *testing.T) {
	const line = "4711 (a ) (b) S 1 4711 4711 0 -1 4194560 800 0 0 0 250 50 0 0 20 0 9 0 100 5000 900 1844"
	if got := parseStat([]byte(line)); got != 3*time.Second {
		t.Errorf("%v, want 3 s", got)
	}
	for _, bad := range []string{"", ")", "1 (x) S 1 2 3", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b 1"} {
		if got := parseStat([]byte(bad)); got != -1 {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (x) S 1 4711 4711 0 -1 4194560 800 0 0 0 250 50 0"))
	f.Fuzz(func(t *testing.T, b []byte) { parseStat(b) })
}

func TestUsage(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc on this system, so processor time is not known: ", err)
	}
	before := usage(os.Getpid())
	begin := time.Now()
	for time.Since(begin) < 200*time.Millisecond {
	}
	// The clock of /proc ticks every 10 ms; other processes may take a share.
	if c := usage(os.Getpid()).since(before, time.Since(begin)); c.Bench <= 0 || c.Server <= 0 || c.Bench > 64 {
		t.Errorf("%+v after computing", c)
	}
	if c := usage(0).since(usage(0), time.Second); c.Server >= 0 {
		t.Errorf("an unknown server has used %v", c.Server)
	}
}
