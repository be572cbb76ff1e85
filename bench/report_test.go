package bench

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"maru/auth"
)

func exampleReport() Report {
	r := newReport(&Config{Users: 1000, Senders: 64, For: 10 * time.Second, Partitions: 16, Params: auth.DefaultParams()})
	latency := summarise([]time.Duration{time.Millisecond, 2 * time.Millisecond, 1500 * time.Microsecond, 9 * time.Millisecond})
	r.Results = []Result{
		{Name: PartHash, PerSecond: 80, CPU: CPU{-1, 2}, PerCPU: 40, Latency: latency},
		{Name: PartRemembered, PerSecond: 1_234_567.8, CPU: CPU{-1, 2}},
		{Name: PartHops, PerSecond: 4000, Latency: latency, CPU: CPU{-1, 1.5}},
		{Name: PartCold, PerSecond: 71.9, Latency: latency, CPU: CPU{1.9, 0.05}, PerCPU: 37},
		{Name: PartWarm, PerSecond: 2500, Latency: latency, CPU: CPU{1.2, 0.34}, Failed: 3, Error: "status 503"},
	}
	r.finish()
	return r
}

func TestTargets(t *testing.T) {
	r := exampleReport()
	met := func() (all []bool) {
		for _, t := range r.Targets {
			all = append(all, t.Met)
		}
		return all
	}
	if got := met(); !reflect.DeepEqual(got, []bool{false, true, true}) || r.WarmToRaw != 0.625 || r.ColdPerCPU != 0.925 {
		t.Errorf("met %v, warm to raw %v, cold %v", got, r.WarmToRaw, r.ColdPerCPU)
	}
	r.Results[3].PerSecond, r.Results[4].PerSecond, r.Results[1].PerSecond = 72, 1999, 199_999
	r.finish()
	if got := met(); !reflect.DeepEqual(got, []bool{true, false, false}) {
		t.Errorf("met %v", got)
	}
	r.Results = nil
	r.finish()
	if got := met(); !reflect.DeepEqual(got, []bool{false, false, false}) {
		t.Errorf("without results: met %v", got)
	}
}

func TestReportForPeople(t *testing.T) {
	r := exampleReport()
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"1,000 users, 64 senders, 10s for each part, 16 partitions, argon2id m=19456 KiB t=2",
		"PER SECOND", "1,234,568", "1.50 ms", "9.00 ms",
		"warm logins failed 3 times, first: status 503",
		"up to  1.02 ms         1 #", "up to  2.05 ms         2 ####",
		"warm logins to the hops of the raw log: 0.62",
		"for the same processor time: 0.93",
		"cold logins to hashes alone: 0.90, wanted 0.90: NOT MET",
		"checks of a remembered password per second: 1,234,568, wanted 200,000: met",
		"warm logins per second: 2,500, wanted 2,000: met",
		"signs in 91 times at most",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestReportForPrograms(t *testing.T) {
	r := exampleReport()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("%v\n%+v\n%+v", err, back, r)
	}
}

func TestNumbersAndTimes(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.123: "0.12", 1: "1", 12.34: "12.3", 99.94: "99.9", 99.96: "100", 999.6: "1,000", 12345: "12,345", 1234567: "1,234,567",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0.00 µs", 1500: "1.50 µs", 123_400: "123 µs", 12_340_000: "12.3 ms", 1_234_000_000: "1.23 s", 150 * time.Second: "2m30s",
	} {
		if got := span(d); got != want {
			t.Errorf("%d ns is written %q, want %q", d, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := Config{Users: 1, Senders: 1, For: time.Second, Params: auth.DefaultParams(), Binary: "maru", Partitions: 1}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"0 users":      func(c *Config) { c.Users = 0 },
		"5000 senders": func(c *Config) { c.Senders = 5000 },
		"0s for each":  func(c *Config) { c.For = 0 },
		"0 partitions": func(c *Config) { c.Partitions = 0 },
		"binary":       func(c *Config) { c.Binary = "" },
		"argon2":       func(c *Config) { c.Params.Time = 0 },
		"--remote":     func(c *Config) { c.URL = "http://192.0.2.1:8080" },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
}

func TestOnlyTheLoopbackIsLoaded(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://localhost:80/": true, "http://[::1]:80": true, "http://127.9.9.9": true,
		"http://10.0.0.1:80": false, "http://example.com": false, "http://0.0.0.0:80": false, "http://localhost.example.com": false,
	} {
		if err := checkURL(url, false); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
		if err := checkURL(url, true); err != nil {
			t.Errorf("%s, allowed: %v", url, err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:8080", "https://localhost", "http://", "http://localhost/api", "http://a:b@localhost", "http://localhost?x=1", "http://[::1"} {
		if err := checkURL(bad, true); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	for url, want := range map[string]string{"http://localhost": "localhost:80", "http://[::1]/": "[::1]:80", "http://127.0.0.1:8080": "127.0.0.1:8080"} {
		if got := address(url); got != want {
			t.Errorf("%s is at %s, want %s", url, got, want)
		}
	}
}
