package embedded

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
)

// kfakeLog passes on what kfake logs and counts its errors, the only sign that
// its Close did not save everything.
type kfakeLog struct {
	log    *slog.Logger
	errors atomic.Int64
}

// Logf takes a line of kfake.
func (l *kfakeLog) Logf(level kfake.LogLevel, msg string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.errors.Add(1)
		l.log.Error("embedded broker", "detail", fmt.Sprintf(msg, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("embedded broker", "detail", fmt.Sprintf(msg, args...))
	}
}

// failures counts the errors so far.
func (l *kfakeLog) failures() int64 { return l.errors.Load() }
