package auth

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"
)

var benchPassword = []byte("correct horse battery")

func BenchmarkHash(b *testing.B) {
	h := newHasher(b, DefaultParams())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Hash(benchPassword); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	h := newHasher(b, DefaultParams())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Verify(h.Dummy(), benchPassword); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFlood verifies on all processors at once, 500 callers that come back when
// refused. hashes/s is what these parameters allow here, and peak-MiB how much the
// process grew.
func BenchmarkFlood(b *testing.B) {
	h := newHasher(b, DefaultParams())
	p := NewPool(0)
	defer p.Close()
	debug.FreeOSMemory() // so that what earlier runs left behind is not counted as there before
	before := memory(b, "VmRSS:")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // resets VmHWM
		b.Logf("peak since the start of the process, not of the flood: %v", err)
	}
	var gc runtime.MemStats
	runtime.ReadMemStats(&gc)
	cycles, pause := gc.NumGC, gc.PauseTotalNs
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	start := time.Now()
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			for range left {
				for p.Do(context.Background(), func() { h.Verify(h.Dummy(), benchPassword) }) != nil {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	spent := time.Since(start)
	runtime.ReadMemStats(&gc)
	b.ReportMetric(float64(b.N)/spent.Seconds(), "hashes/s")
	b.ReportMetric(float64(memory(b, "VmHWM:")-before)/(1<<20), "peak-MiB")
	b.ReportMetric(float64(gc.NumGC-cycles)/float64(b.N), "gc/op")
	b.ReportMetric(float64(gc.PauseTotalNs-pause)/float64(b.N), "gc-pause-ns/op")
}

// memory reads a figure of /proc/self/status, in bytes.
func memory(b *testing.B, name string) int {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skipf("memory figures need Linux: %v", err)
	}
	for line := range bytes.Lines(status) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == name {
			kib, err := strconv.Atoi(string(f[1]))
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
	}
	b.Fatalf("no %s in /proc/self/status", name)
	return 0
}

func BenchmarkRemembered(b *testing.B) {
	r := NewRemembered(100_000)
	users := make([]string, 50_000)
	for i := range users {
		users[i] = fmt.Sprint("user", i)
		r.Add(users[i], 1, benchPassword)
	}
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if !r.Check(users[i%len(users)], 1, benchPassword) {
				b.Fatal("missed")
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				r.Check(users[i%len(users)], 1, benchPassword)
			}
		})
	})
}

func BenchmarkSeal(b *testing.B) {
	s := newSealer(b, fixed(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Seal("alice", "0123456789abcdef", benchPassword); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := newSealer(b, fixed(b))
	text := seal(b, s, "alice", "0123456789abcdef", string(benchPassword))
	open := func(b *testing.B) {
		if _, err := s.Open("alice", "0123456789abcdef", text); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			open(b)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				open(b)
			}
		})
	})
}

func BenchmarkTokenSign(b *testing.B) {
	tokens := NewTokens(fixed(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokens.Sign(someToken()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenParse(b *testing.B) {
	tokens := NewTokens(fixed(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tokens.Parse(knownToken, issued); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClaimsVerify(b *testing.B) {
	claims := NewClaims(fixed(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := claims.Verify("alice", "c1", knownClaims); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDeriveID(b *testing.B) {
	key := fixed(b).Derive(LabelCommandID)
	b.ReportAllocs()
	for b.Loop() {
		DeriveID(key, "alice", "0a6ab2a4-9b52-4ad2-a9b1-52f6c31b4a55")
	}
}

func BenchmarkPolicy(b *testing.B) {
	p := newPolicy(b, 0, false)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Check("alice", benchPassword); err != nil {
			b.Fatal(err)
		}
	}
}
