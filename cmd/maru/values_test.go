package main

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"maru/gateway"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "10m": 10 * time.Minute, "12h": 12 * time.Hour, "7d": 168 * time.Hour,
		"1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond, "0": 0,
	} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v (%v), want %v", text, time.Duration(d), err, want)
		}
		if text != "0" && d.String() != text {
			t.Errorf("%s is written as %s", text, d)
		}
	}
	for _, text := range []string{"", "7", "d", "-1s", "7x", "99999999d", "1d12h"} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %v", text, time.Duration(d))
		}
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]rate{
		"10/1m": {N: 10, Per: time.Minute}, "20/1h": {N: 20, Per: time.Hour}, "1/1d": {N: 1, Per: 24 * time.Hour},
		"0": {N: -1}, // as gateway.Config says it: 0 would be its default
	} {
		var r rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%s is %v (%v), want %v", text, gateway.Rate(r), err, gateway.Rate(want))
		}
		if r.String() != text {
			t.Errorf("%s is written as %s", text, r)
		}
	}
	for _, text := range []string{"", "10", "/1m", "10/", "0/1m", "-1/1m", "10/1ms", "10/0s", "x/1m", "99999999999/1m"} {
		var r rate
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %v", text, gateway.Rate(r))
		}
	}
}

func TestPrefixes(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.7": "10.0.0.7/32", "10.0.0.0/8": "10.0.0.0/8", "::1": "::1/128", "fd00::/8": "fd00::/8",
	} {
		var p prefix
		if err := p.UnmarshalText([]byte(text)); err != nil || netip.Prefix(p).String() != want {
			t.Errorf("%s is %v (%v), want %s", text, netip.Prefix(p), err, want)
		}
	}
	for _, text := range []string{"", "10.0.0", "10.0.0.0/33", "host", "fe80::1%eth0"} {
		var p prefix
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %v", text, netip.Prefix(p))
		}
	}
}

// A file is either refused or gives values that stand for settings that exist.
func FuzzConfigFile(f *testing.F) {
	known := map[string]bool{"listen": true, "kafka": true, "replicas": true}
	for _, s := range []string{
		`{"listen": ":8080", "kafka": ["a:1", "b:2"], "replicas": 3}`, `{}`, `{"listen": ""`, `[]`, `{"listen": {}}`,
		`{"listen": "a", "listen": "b"}`, `{"kafka": [1]}`, `{} {}`, "", `{"Listen": "a"}`, `{"listen": null}`, `{"listen": true}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := parseConfig(b, known)
		if err != nil {
			return
		}
		if !json.Valid(b) {
			t.Errorf("%q is taken and no JSON", b)
		}
		for key, v := range values {
			if !known[key] {
				t.Errorf("%q gives a value for %q", b, key)
			}
			switch v.(type) {
			case string, float64:
			default:
				t.Errorf("%q gives %q a %T", b, key, v)
			}
		}
	})
}
