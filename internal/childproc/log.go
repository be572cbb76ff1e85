package childproc

import (
	"bytes"
	"strings"
	"sync"
)

// maxLog bounds what a Log keeps: enough for the last lines of a failing server.
const maxLog = 256 << 10

// Log receives a child's output, keeps its newest part, and tells when an expected text appears.
// Its mutex guards all fields; it may be both Stdout and Stderr of a command.
type Log struct {
	mu      sync.Mutex
	kept    []byte
	line    []byte // the line being written, without its end
	expects []expectation
}

type expectation struct {
	text  string
	found chan struct{}
}

// Expect returns a channel that is closed when a later line contains text.
func (l *Log) Expect(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make(chan struct{})
	l.expects = append(l.expects, expectation{text, found})
	return found
}

// Write takes the child's output; it never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, p...)
	if extra := len(l.kept) - maxLog; extra > maxLog {
		l.kept = append(l.kept[:0], l.kept[extra:]...)
	}
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			if len(l.line) < maxLog {
				l.line = append(l.line, rest...)
			}
			break
		}
		l.endLine(append(l.line, rest[:end]...))
		l.line, rest = l.line[:0], rest[end+1:]
	}
	return len(p), nil
}

// endLine closes what waited for this line. The caller holds the mutex.
func (l *Log) endLine(line []byte) {
	waiting := l.expects[:0]
	for _, e := range l.expects {
		if bytes.Contains(line, []byte(e.text)) {
			close(e.found)
			continue
		}
		waiting = append(waiting, e)
	}
	l.expects = waiting
}

// Tail returns the newest lines, at most n.
func (l *Log) Tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimRight(string(l.kept), "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
