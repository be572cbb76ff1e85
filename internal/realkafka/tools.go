package realkafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"maru/internal/childproc"
)

// Tools are the console tools of Apache Kafka's release. They speak to any Kafka server, maru's
// embedded broker included. A Tools value is immutable.
type Tools struct {
	home string // what scripts/kafka-jars printed
}

// installed fetches Kafka at most once per test binary.
var installed = sync.OnceValues(func() (string, error) {
	root, err := projectRoot()
	if err != nil {
		return "", err
	}
	var stderr bytes.Buffer
	script := exec.Command(filepath.Join(root, "scripts", "kafka-jars"))
	script.Stderr = &stderr
	out, err := script.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/kafka-jars: %w\n%s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
})

// NewTools finds the tools, and fetches them first if this checkout has none yet.
func NewTools() (*Tools, error) {
	home, err := installed()
	if err != nil {
		return nil, err
	}
	return &Tools{home: home}, nil
}

// projectRoot is the folder of go.mod: tests run in the folder of their package, below it.
func projectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in this folder or above it")
		}
		dir = parent
	}
}

// BinDir is the folder of the tools, kafka-topics and the others, with and without ".sh": put it
// into PATH to run the commands of a document as they stand there.
func (t *Tools) BinDir() string { return filepath.Join(t.home, "bin") }

// Command prepares a tool, for instance kafka-topics, without starting it; the caller may set its
// input and output, and starts it with childproc.Start. When ctx ends the tool is killed.
func (t *Tools) Command(ctx context.Context, tool string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(t.BinDir(), tool), args...)
	// The script replaces itself by Java, so one process is all there is to kill.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Tool runs a tool with empty input and returns what it wrote. A status other than 0 is an error
// that includes the tool's own words.
func (t *Tools) Tool(ctx context.Context, tool string, args ...string) (stdout, stderr string, err error) {
	return t.ToolInput(ctx, nil, tool, args...)
}

// ToolInput is Tool with input, such as the records of kafka-console-producer.
func (t *Tools) ToolInput(ctx context.Context, input io.Reader, tool string, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := t.Command(ctx, tool, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &errs
	process, err := childproc.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return "", "", err
	}
	if err := process.Err(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return out.String(), errs.String(), fmt.Errorf("%s %s: %w\n%s%s", tool, strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.String(), errs.String(), nil
}
