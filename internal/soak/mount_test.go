package soak

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own in an image file. It belongs to the test's
// goroutine.
type disk struct {
	t       testing.TB
	image   string
	dir     string // where it is mounted
	mounted bool
}

// requireMounts skips a test where this process cannot mount anything.
func requireMounts(t testing.TB) {
	t.Helper()
	if said := os.Getenv(insideMounts); said != "yes" {
		t.Skipf("needs loop mounts, which take root's rights: %s", said)
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "e2fsck", "cp"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs loop mounts: %v", err)
		}
	}
}

// newDisk makes an ext4 of the given size and mounts it. The image has holes where
// nothing was written.
func newDisk(t testing.TB, mebibytes int64) *disk {
	t.Helper()
	requireMounts(t)
	top := t.TempDir()
	d := &disk{t: t, image: filepath.Join(top, "disk.img"), dir: filepath.Join(top, "disk")}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, mebibytes<<20); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.ext4", "-q", "-F", "-m", "0", d.image)
	d.mount()
	return d
}

// openDisk mounts a copy of an image.
func openDisk(t testing.TB, image string) *disk {
	t.Helper()
	d := &disk{t: t, image: image, dir: image + ".mounted"}
	d.mount()
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	out, err := exec.Command("mount", "-o", "loop,errors=remount-ro", d.image, d.dir).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "loop device") || strings.Contains(string(out), "permission denied") {
			d.t.Skipf("mount -o loop is not permitted here: %s", out)
		}
		d.t.Fatalf("mount: %v\n%s", err, out)
	}
	d.mounted = true
	d.t.Cleanup(d.unmount)
}

// unmount may be called again. Nothing may use the file system any more.
func (d *disk) unmount() {
	d.t.Helper()
	if !d.mounted {
		return
	}
	d.mounted = false
	if err := unix.Unmount(d.dir, 0); err != nil {
		d.t.Errorf("unmount %s: %v", d.dir, err)
		unix.Unmount(d.dir, unix.MNT_DETACH)
	}
}

// repair does what a system does with a disk that failed before it mounts it again.
func (d *disk) repair() {
	d.t.Helper()
	d.unmount()
	out, err := exec.Command("e2fsck", "-f", "-p", d.image).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: errors were corrected
		d.t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	d.mount()
}

// device returns the name of the loop device below the mount.
func (d *disk) device() string {
	d.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		d.t.Fatal(err)
	}
	return filepath.Base(link)
}

// written returns the number of finished writes to the device, and of those under
// way (the kernel's Documentation/block/stat).
func (d *disk) written() (done, underWay string) {
	d.t.Helper()
	stat, err := os.ReadFile("/sys/block/" + d.device() + "/stat")
	if err != nil {
		d.t.Fatal(err)
	}
	f := strings.Fields(string(stat))
	return f[4], f[8]
}

// cut copies the image as a power cut would leave the disk: what was not yet
// written to the device is missing. Nobody may write files meanwhile; if the kernel
// wrote back on its own, which would tear the copy, it is made anew.
func (d *disk) cut(to string) {
	d.t.Helper()
	for range 50 {
		before, _ := d.written()
		tool(d.t, "cp", "--sparse=always", d.image, to)
		if after, underWay := d.written(); after == before && underWay == "0" {
			return
		}
	}
	d.t.Fatal("the kernel never stopped writing to the disk")
}

// fill leaves so many bytes free for others, in a file that it returns.
func (d *disk) fill(leave int64) (filler string) {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.CreateTemp(d.dir, "filler-")
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-max(leave, 4<<20)); err != nil {
		d.t.Fatal(err)
	}
	if leave > 0 {
		return f.Name()
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		d.t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; { // whatever is left
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
	return f.Name()
}

func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
