package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"maru/auth"
	"maru/bench"
)

type benchCmd struct {
	Login benchLoginCmd `cmd:"" help:"Measure logins, and what limits them on this machine."`
}

type benchLoginCmd struct {
	Users      int      `placeholder:"N" default:"1000" help:"Accounts to make (${default}). Each signs in at most 91 times, so that none reaches the 100 sessions that are kept of it; parts end early for that."`
	Senders    int      `placeholder:"N" default:"64" help:"Requests under way at a time (${default})."`
	For        duration `placeholder:"TIME" default:"10s" help:"How long each timed part takes (${default})."`
	URL        string   `name:"url" placeholder:"URL" help:"Server to measure, http://host:port; start it with --registrations 0. Empty: a server of its own in a temporary directory."`
	Remote     bool     `help:"Allow a --url that is not on this machine. It will have the accounts for good."`
	Dir        string   `placeholder:"DIR" help:"Where the temporary directory is made; its disk is part of what is measured. Empty: the system's place."`
	Partitions int32    `placeholder:"N" default:"${partitions}" help:"Partitions of the topics (${default})."`
	Memory     uint32   `name:"password-memory" placeholder:"KIB" default:"${passwordmemory}" help:"Memory of one argon2id hash in KiB (${default})."`
	Time       uint32   `name:"password-time" placeholder:"N" default:"${passwordtime}" help:"Passes of one argon2id hash (${default})."`
	jsonFlag
}

// Run measures until it is done or interrupted; either way nothing stays behind.
func (c *benchLoginCmd) Run(w *world) error {
	ctx, stop := signal.NotifyContext(w.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := bench.Config{
		Users: c.Users, Senders: c.Senders, For: time.Duration(c.For), URL: c.URL, Remote: c.Remote,
		Binary: binary, Dir: c.Dir, Partitions: c.Partitions,
		Params: auth.Params{MemoryKiB: c.Memory, Time: c.Time, Threads: auth.DefaultParams().Threads},
	}
	if err := cfg.Check(); err != nil {
		return &usageError{err}
	}
	var clear func()
	cfg.Progress, clear = progress(w.stderr)
	report, err := bench.Login(ctx, cfg)
	clear()
	if ctx.Err() != nil && w.ctx.Err() == nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	return c.write(w.stdout, report, func(w io.Writer) { report.WriteText(w) })
}

// progress returns what shows one line that is written over again and again, and
// what removes it. Only a terminal gets it.
func progress(to io.Writer) (show func(string), clear func()) {
	f, ok := to.(*os.File)
	if !ok {
		return nil, func() {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil, func() {}
	}
	const erase = "\r\x1b[K" // ECMA-48: erase to the end of the line
	return func(s string) { io.WriteString(f, erase+s) }, func() { io.WriteString(f, erase) }
}
