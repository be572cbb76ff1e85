package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"maru/gateway"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// duration is a time span of the command line: what time.ParseDuration reads, and
// days.
type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := parseDuration(string(b))
	*d = duration(v)
	return err
}

func (d duration) String() string {
	v := time.Duration(d)
	if v >= 24*time.Hour && v%(24*time.Hour) == 0 {
		return strconv.Itoa(int(v/(24*time.Hour))) + "d"
	}
	s := v.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no time: write a number and its unit, such as 30s, 10m, 12h or 7d", s)
	}
	return d, nil
}

// rate is a limit such as 10/1m: ten at once, and ten more in each minute.
type rate gateway.Rate

func (r *rate) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "0" {
		*r = rate{N: -1} // gateway.Config: N < 0 is no limit, 0 the default
		return nil
	}
	n, per, ok := strings.Cut(s, "/")
	count, err := strconv.ParseUint(n, 10, 24)
	span, terr := parseDuration(per)
	if !ok || err != nil || terr != nil || count == 0 || span < time.Second {
		return fmt.Errorf("%q is no limit: write a number and a time of at least 1s, such as 10/1m, or 0 for no limit", s)
	}
	*r = rate{N: int(count), Per: span}
	return nil
}

func (r rate) String() string {
	if r.N <= 0 {
		return "0"
	}
	return strconv.Itoa(r.N) + "/" + duration(r.Per).String()
}

// prefix is a network, or a single address.
type prefix netip.Prefix

func (p *prefix) UnmarshalText(b []byte) error {
	s := string(b)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		*p = prefix(netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	v, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q is no network: write an address such as 10.0.0.7 or a network such as 10.0.0.0/8", s)
	}
	*p = prefix(v)
	return nil
}

// checkOrigins refuses what the browser never sends as an origin.
func checkOrigins(origins []string) error {
	for _, o := range origins {
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(o); err != nil {
			return fmt.Errorf("--origins %q is no origin: write scheme://host or scheme://host:port, such as https://chat.example", o)
		}
	}
	return nil
}

// wholeNumber reads the numbers of the command line. It exists for its sentence.
var wholeNumber = kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
	t, err := ctx.Scan.PopValue("number")
	if err != nil {
		return err
	}
	s := fmt.Sprint(t.Value)
	if f, ok := t.Value.(float64); ok { // a number of the configuration file
		s = strconv.FormatFloat(f, 'f', -1, 64)
	}
	bits := target.Type().Bits()
	if target.CanUint() {
		n, err := strconv.ParseUint(s, 10, bits)
		if err != nil {
			return fmt.Errorf("%q is no number from 0 to %d", s, uint64(1)<<bits-1)
		}
		target.SetUint(n)
		return nil
	}
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		return fmt.Errorf("%q is no whole number of at most %d", s, uint64(1)<<(bits-1)-1)
	}
	target.SetInt(n)
	return nil
})
