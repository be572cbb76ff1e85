package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"maru/internal/childproc"
)

// Stop ends the server in order: it closes all connections and writes a checkpoint (SIGINT, "fast").
func (s *Server) Stop() error { return s.end(syscall.SIGINT, syscall.SIGQUIT) }

// Kill ends all of the server's processes at once (SIGKILL), as the kernel does when memory is out.
// What was not synced is still in the page cache: this is no power cut.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.process.Running() {
		return nil
	}
	// A postmaster that stands still neither makes new backends nor tells the old ones to end.
	pids, err := s.freeze()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := ignoreGone(syscall.Kill(pid, syscall.SIGKILL)); err != nil {
			return fmt.Errorf("kill backend %d: %w", pid, err)
		}
	}
	return s.process.Stop(0)
}

// RestartImmediate is pg_ctl restart -m immediate: every backend is ended where it stands, without a
// checkpoint, and the new server recovers from the log.
func (s *Server) RestartImmediate(ctx context.Context) error {
	if err := s.end(syscall.SIGQUIT); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return s.Start(ctx)
}

// Pause makes all of the server's processes stand still (SIGSTOP); connections stay open, and new
// ones are accepted by the kernel alone.
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.process.Running() {
		return errors.New("pause PostgreSQL: it is not running")
	}
	_, err := s.freeze()
	return err
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.process.Running() {
		return errors.New("resume PostgreSQL: it is not running")
	}
	return s.thaw()
}

// end stops the server by the signals, one after another.
func (s *Server) end(signals ...syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.process.Running() {
		return nil
	}
	if err := s.thaw(); err != nil { // a paused server could not obey
		return err
	}
	return s.process.Stop(stopPatience, signals...)
}

// freeze stops the postmaster, then its backends, whose ids it returns. The caller holds mu.
func (s *Server) freeze() ([]int, error) {
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	pids, err := childproc.Children(s.process.PID())
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		if err := ignoreGone(syscall.Kill(pid, syscall.SIGSTOP)); err != nil {
			return nil, fmt.Errorf("stop backend %d: %w", pid, err)
		}
	}
	return pids, nil
}

// thaw lets backends and postmaster go on. The caller holds mu.
func (s *Server) thaw() error {
	pids, err := childproc.Children(s.process.PID())
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := ignoreGone(syscall.Kill(pid, syscall.SIGCONT)); err != nil {
			return fmt.Errorf("continue backend %d: %w", pid, err)
		}
	}
	return s.process.Signal(syscall.SIGCONT)
}

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	// Nobody reads the data any more, so there is no checkpoint to wait for.
	err := s.end(syscall.SIGQUIT)
	return errors.Join(err, s.removeSharedMemory(), s.dir.Remove())
}

// removeSharedMemory gives back the System V segment that a killed postmaster leaves behind (one that
// ends in order has removed the file and the segment). Line 7 of postmaster.pid names it.
func (s *Server) removeSharedMemory() error {
	pidFile, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := strings.Split(string(pidFile), "\n")
	if len(lines) < 7 {
		return nil
	}
	keyAndID := strings.Fields(lines[6])
	if len(keyAndID) != 2 {
		return nil
	}
	id, err := strconv.Atoi(keyAndID[1])
	if err != nil {
		return fmt.Errorf("shared memory in postmaster.pid: %w", err)
	}
	if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove shared memory %d: %w", id, err)
	}
	return nil
}
