//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), getTermios)
	return err == nil
}

// hideEcho turns off that the terminal shows what is typed. restore turns it on
// again; so does an interrupt, which then ends the process.
func hideEcho(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, setTermios, &silent); err != nil {
		return nil, err
	}
	interrupt, done, ended := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(interrupt, os.Interrupt, unix.SIGTERM)
	back := func() { unix.IoctlSetTermios(fd, setTermios, before) } // there is nothing to be done if this fails
	go func() {
		defer close(ended)
		select {
		case <-interrupt:
			back()
			os.Exit(statusFailed)
		case <-done:
		}
	}()
	return func() {
		signal.Stop(interrupt)
		close(done)
		<-ended
		back()
	}, nil
}
