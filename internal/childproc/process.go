// Package childproc runs the real servers that tests need (Kafka brokers, PostgreSQL) as children
// that cannot outlive the test binary, not even one that is killed.
//
// It owns the life of a process, its captured output, its working directory and the choice of its
// ports. It knows nothing about any particular server, and nothing outside of tests may use it.
package childproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a running or ended child. Its fields are written by the goroutine that waits for the
// child, before done is closed, and only read after that; its methods may be called concurrently.
type Process struct {
	pid  int
	proc *os.Process
	done chan struct{}
	err  error
}

// Start starts cmd and binds its life to this process: when this process ends, however it ends, the
// kernel sends the child the signal death.
//
// The child gets a process group of its own, so that an interrupt typed at a terminal reaches the
// test and not its servers. Start must be used in place of cmd.Start, and waits for the child itself.
func Start(cmd *exec.Cmd, death syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	bindLife(cmd.SysProcAttr, death)
	// A pipe that a grandchild still holds must not keep Wait from returning for ever.
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = 10 * time.Second
	}

	p := &Process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// PR_SET_PDEATHSIG follows the thread that forked, not its process (prctl(2)). The thread
		// is therefore kept until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", cmd.Path, err)
			return
		}
		p.pid, p.proc = cmd.Process.Pid, cmd.Process
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID is the process id; it may belong to another process once Done is closed.
func (p *Process) PID() int { return p.pid }

// Done is closed when the child has ended and its output has been read to the end.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running tells whether the child has not ended yet; a nil Process has.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Err waits for the child's end and tells how it ended: nil for exit status 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Signal sends sig to the child. A child that has already ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	err := p.proc.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Stop sends the signals one after another, giving the child patience to end after each, and ends
// with SIGKILL. It returns once the child has ended; that it obeyed none of the signals is an error.
// Without signals it is a kill.
func (p *Process) Stop(patience time.Duration, signals ...syscall.Signal) error {
	for _, sig := range signals {
		if err := p.Signal(sig); err != nil {
			return fmt.Errorf("send %v to process %d: %w", sig, p.pid, err)
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(patience):
		}
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	<-p.done
	if len(signals) > 0 {
		return fmt.Errorf("process %d did not end within %v of %v and was killed", p.pid, patience, signals)
	}
	return nil
}
