package bench

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, 100 on every Linux (proc(5)).
const clockTick = 10 * time.Millisecond

// CPU is how many processors were busy with the server and with the bench itself,
// which is client, hasher or log as the part wants it. Negative: not known.
type CPU struct {
	Server float64 `json:"server"`
	Bench  float64 `json:"bench"`
}

// used is the processor time of both so far.
type used struct{ server, bench time.Duration }

func usage(server int) used {
	u := used{server: -1, bench: cpuTime(os.Getpid())}
	if server != 0 {
		u.server = cpuTime(server)
	}
	return u
}

func (u used) since(before used, elapsed time.Duration) CPU {
	share := func(now, then time.Duration) float64 {
		if now < 0 || then < 0 || elapsed <= 0 {
			return -1
		}
		return float64(now-then) / float64(elapsed)
	}
	return CPU{Server: share(u.server, before.server), Bench: share(u.bench, before.bench)}
}

// busy is how many processors were busy with either, 0 when it is not known.
func (c CPU) busy() float64 { return max(c.Server, 0) + max(c.Bench, 0) }

// cpuTime is the time that a process has computed; -1 where it cannot be known.
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return -1
	}
	return parseStat(text)
}

// parseStat reads user and system time from a line of proc_pid_stat(5). The name in
// parentheses may itself hold spaces and parentheses.
func parseStat(text []byte) time.Duration {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return -1
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return -1
	}
	return time.Duration(user+system) * clockTick
}

// Machine is where a run took place.
type Machine struct {
	Platform   string  `json:"platform"`
	Processors int     `json:"processors"`
	Memory     int64   `json:"memoryBytes"` // 0: not known
	Go         string  `json:"go"`
	LoadBefore float64 `json:"loadBefore"` // of the last minute; negative: not known
	LoadAfter  float64 `json:"loadAfter"`
}

func machine() Machine {
	m := Machine{
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.GOMAXPROCS(0),
		Go: runtime.Version(), LoadBefore: load(),
	}
	text, _ := os.ReadFile("/proc/meminfo") // absent elsewhere than on Linux
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			m.Memory = kib << 10
		}
	}
	return m
}

func load() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return v
}
