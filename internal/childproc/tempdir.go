package childproc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// janitor waits until its input ends, which the kernel sees to when the test binary dies, and then
// removes the directory. A server that is still ending may write while it works, hence the rounds.
const janitor = `read -r _
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	rm -rf -- "$1" 2>/dev/null && [ ! -e "$1" ] && exit 0
	sleep 0.25
done`

// Dir is a temporary directory that goes away with this process, even when it is killed.
// It has one owner; its methods are not for concurrent use.
type Dir struct {
	// Path is the directory's absolute path, mode 0700.
	Path  string
	alive io.Closer
	clean *exec.Cmd
}

// NewDir makes a directory beside the system's other temporary files. It is not below the
// directory of a test, whose parents another user could not enter.
func NewDir(prefix string) (*Dir, error) {
	path, err := os.MkdirTemp("", prefix)
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	clean := exec.Command("/bin/sh", "-c", janitor, "janitor", path)
	clean.Dir = "/"
	clean.Stdin = read
	// Out of the test's session: what ends the test must not end the one who sweeps behind it.
	clean.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = clean.Start()
	read.Close()
	if err != nil {
		write.Close()
		return nil, errors.Join(fmt.Errorf("start the janitor of %s: %w", path, err), os.RemoveAll(path))
	}
	return &Dir{Path: path, alive: write, clean: clean}, nil
}

// Remove removes the directory; nothing may use it any more.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.Path)
	d.alive.Close()
	return errors.Join(err, d.clean.Wait())
}
