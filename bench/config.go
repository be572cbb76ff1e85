// Package bench measures what maru promises, on the machine that it runs on, and
// puts the machine's own limits beside the figures: the rate of the password hash
// alone, of the log alone, and of the server that needs both.
//
// It owns the load, the clocks and the report. The server is another process; the
// log that it is compared with is the same embedded broker with the same client,
// in this process, without anything of maru's between the hops. It judges no
// correctness beyond the status of each answer, and it is no load test for a
// server that people use: it fills it with accounts.
package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"maru/auth"
)

// Config says what to measure. It is a value; Run does not change it.
type Config struct {
	Users   int           // accounts made for the run
	Senders int           // requests under way at a time
	For     time.Duration // of each timed part
	Params  auth.Params   // of the password hash, for the server and for the raw rate

	// URL is the server to measure, http://host:port; empty: Binary is started as
	// a server of its own in a temporary directory, and removed afterwards.
	URL string
	// Remote allows a URL that is not of this machine's loopback.
	Remote bool

	Binary     string // of maru
	Dir        string // where temporary data is made; empty: the system's place
	Partitions int32  // P, of the server and of the raw log

	// Progress is told what is going on, a few times a second, from one goroutine
	// at a time; nil: nobody is.
	Progress func(text string)
}

// Bounds of a run. An account keeps 100 sessions and the outcomes of 4,096
// commands of the last 15 minutes, so a run over few accounts would measure the
// dropping of sessions and the writing of rows that no real user has. MaxLogins
// stays below both, with room for the first login.
const (
	MaxUsers   = 100_000
	MaxSenders = 4096
	MaxLogins  = 90 // of one account in one part
)

// Check refuses what cannot be measured, with a sentence that says what to do.
func (c *Config) Check() error {
	switch {
	case c.Users < 1 || c.Users > MaxUsers:
		return fmt.Errorf("%d users: choose a number from 1 to %d", c.Users, MaxUsers)
	case c.Senders < 1 || c.Senders > MaxSenders:
		return fmt.Errorf("%d senders: choose a number from 1 to %d", c.Senders, MaxSenders)
	case c.For <= 0 || c.For > time.Hour:
		return fmt.Errorf("%v for each part: choose a time up to 1h", c.For)
	case c.Partitions < 1 || c.Partitions > 4096:
		return fmt.Errorf("%d partitions: choose a number from 1 to 4096", c.Partitions)
	case c.URL == "" && c.Binary == "":
		return errors.New("neither a server nor a binary to start one with is named")
	}
	if err := c.Params.Validate(); err != nil {
		return err
	}
	if c.URL == "" {
		return nil
	}
	return checkURL(c.URL, c.Remote)
}

// checkURL refuses what this package cannot measure, and other machines unless
// that is wanted: a bench pointed at the wrong server is an attack on it.
func checkURL(text string, remote bool) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return fmt.Errorf("%q is no address of a server: write http://host:port", text)
	}
	if remote || loopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("%s is not this machine: load is put on the loopback only, unless --remote says that the server is yours to load", u.Hostname())
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// address returns host:port of a URL that checkURL has passed.
func address(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "80")
	}
	return u.Host
}

func (c *Config) say(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}
