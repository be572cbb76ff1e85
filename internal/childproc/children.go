package childproc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Running tells whether pid is a process that still executes. One that has ended and that nobody has
// waited for does not count.
func Running(pid int) bool {
	stat, err := readStat(pid)
	return err == nil && stat.state != 'Z' && stat.state != 'X'
}

// Children returns the ids of the processes whose parent is pid.
func Children(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		stat, err := readStat(child)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		if stat.parent == pid {
			children = append(children, child)
		}
	}
	return children, nil
}

// processStat is what this package needs of proc_pid_stat(5).
type processStat struct {
	state  byte
	parent int
}

func readStat(pid int) (processStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, err
	}
	// The name, in parentheses, may itself hold spaces and parentheses.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return processStat{}, fmt.Errorf("read the state of process %d: unknown format", pid)
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return processStat{}, fmt.Errorf("read the parent of process %d: %w", pid, err)
	}
	return processStat{fields[0][0], parent}, nil
}
