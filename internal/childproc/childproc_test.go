package childproc_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"maru/internal/childproc"
)

// helperEnv makes this test binary play the one that is killed while its child runs.
const helperEnv = "MARU_CHILDPROC_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		runHelper()
	}
	goleak.VerifyTestMain(m)
}

// runHelper starts a child in a directory, tells both on standard output and waits to be killed.
func runHelper() {
	dir, err := childproc.NewDir("maru-childproc-")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	sleeper := exec.Command("sleep", "60")
	sleeper.Dir = dir.Path
	child, err := childproc.Start(sleeper, syscall.SIGKILL)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(child.PID(), dir.Path)
	select {}
}

func TestKilledParentLeavesNothing(t *testing.T) {
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperEnv+"=1")
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("helper said %q: %v", line, err)
	}
	pidText, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		t.Fatalf("helper said %q", line)
	}
	if !childproc.Running(pid) {
		t.Fatal("the child is not running before the kill")
	}
	if children, err := childproc.Children(helper.Process.Pid); err != nil || !slices.Contains(children, pid) {
		t.Fatalf("children of the helper: %v (%v), want %d among them", children, err, pid)
	}
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	helper.Wait()

	waitUntil(t, "the child ended", func() bool { return !childproc.Running(pid) })
	waitUntil(t, "its directory is gone", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist)
	})
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s until %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestStopEscalates(t *testing.T) {
	var log childproc.Log
	ready := log.Expect("deaf")
	cmd := exec.Command("/bin/sh", "-c", `trap "" TERM; echo deaf; while :; do sleep 0.05; done`)
	cmd.Stdout = &log
	p, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	if err := p.Stop(50*time.Millisecond, syscall.SIGTERM); err == nil {
		t.Error("the child ignored SIGTERM, and Stop does not say so")
	}
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v, want SIGKILL after the ignored SIGTERM", p.Err())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to an ended child: %v", err)
	}
}

func TestStartRefusesMissingProgram(t *testing.T) {
	if _, err := childproc.Start(exec.Command("/nowhere/at/all"), syscall.SIGKILL); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want not exist", err)
	}
}

func TestDirRemove(t *testing.T) {
	dir, err := childproc.NewDir("maru-childproc-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.Path+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dir.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v, want not exist", err)
	}
}

func TestLogExpectAcrossWrites(t *testing.T) {
	var log childproc.Log
	ready := log.Expect("server started")
	for _, part := range []string{"one\nserver st", "arted", " well"} {
		log.Write([]byte(part))
		select {
		case <-ready:
			t.Fatalf("ready after %q, before the line ended", part)
		default:
		}
	}
	log.Write([]byte("\nlast"))
	select {
	case <-ready:
	default:
		t.Fatal("not ready although the line has ended")
	}
	if got, want := log.Tail(2), "server started well\nlast"; got != want {
		t.Errorf("tail %q, want %q", got, want)
	}
}

func TestLogIsBounded(t *testing.T) {
	var log childproc.Log
	block := []byte(strings.Repeat("x", 64<<10))
	for range 64 {
		log.Write(block)
	}
	log.Write([]byte("\nthe end\n"))
	tail := log.Tail(1 << 20)
	if len(tail) > 1<<20 {
		t.Errorf("kept %d bytes of 4 MiB", len(tail))
	}
	if !strings.HasSuffix(tail, "the end") {
		t.Error("the newest line was not kept")
	}
}

func TestPorts(t *testing.T) {
	ports, err := childproc.FreePorts(9)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] {
			t.Errorf("port %d twice", port)
		}
		seen[port] = true
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := childproc.CheckPort(ports[0]); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: got %v, want address in use", err)
	}
}
