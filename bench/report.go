package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"maru/auth"
)

// Names of the parts.
const (
	PartHash       = "argon2 alone"
	PartRemembered = "remembered password"
	PartSeal       = "seal and open a password"
	PartSync       = "append and fsync"
	PartProduce    = "raw log: acked produces"
	PartHops       = "raw log: hops of a login"
	PartRegister   = "registrations"
	PartCold       = "cold logins"
	PartWarm       = "warm logins"
	PartMe         = "GET /api/me"
)

// Result is what one part measured. Latency is absent where single operations are
// too short to be timed.
type Result struct {
	Name      string   `json:"name"`
	Senders   int      `json:"senders"`
	Count     int64    `json:"count"`
	Failed    int64    `json:"failed"`
	Error     string   `json:"error,omitempty"` // the first
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"perSecond"`
	CPU       CPU      `json:"cpu"`
	PerCPU    float64  `json:"perCpu"` // operations for each second that a processor worked for them; 0: not known
	Latency   *Latency `json:"latency,omitempty"`
}

// Target is a figure that is promised.
type Target struct {
	Name string  `json:"name"`
	Want float64 `json:"want"` // at least
	Got  float64 `json:"got"`
	Met  bool    `json:"met"`
}

// Report is a whole run.
type Report struct {
	Machine    Machine       `json:"machine"`
	Users      int           `json:"users"`
	Senders    int           `json:"senders"`
	For        time.Duration `json:"forNs"`
	Partitions int32         `json:"partitions"`
	Params     auth.Params   `json:"argon2"`
	URL        string        `json:"url,omitempty"`
	Results    []Result      `json:"results"`
	Targets    []Target      `json:"targets"`
	WarmToRaw  float64       `json:"warmToRaw"` // warm logins to the hops alone

	// ColdPerCPU is cold logins to hashes alone, both for each second of processor
	// time. Parts follow one another, so what else the machine does falls on them
	// unevenly; this ratio suffers less from it than the one of the rates.
	ColdPerCPU float64 `json:"coldPerCpu"`
}

func newReport(c *Config) Report {
	return Report{
		Machine: machine(), Users: c.Users, Senders: c.Senders, For: c.For,
		Partitions: c.Partitions, Params: c.Params, URL: c.URL,
	}
}

// finish compares what was measured.
func (r *Report) finish() {
	r.Machine.LoadAfter = load()
	hash, cold, hops, warm := r.part(PartHash), r.part(PartCold), r.part(PartHops), r.part(PartWarm)
	r.WarmToRaw = ratio(warm.PerSecond, hops.PerSecond)
	r.ColdPerCPU = ratio(cold.PerCPU, hash.PerCPU)
	r.Targets = []Target{
		{Name: "cold logins to hashes alone", Want: 0.9, Got: ratio(cold.PerSecond, hash.PerSecond)},
		{Name: "checks of a remembered password per second", Want: 200_000, Got: r.part(PartRemembered).PerSecond},
		{Name: "warm logins per second", Want: 2000, Got: warm.PerSecond},
	}
	for i := range r.Targets {
		t := &r.Targets[i]
		t.Met = t.Got >= t.Want
	}
}

// part returns a result by name, the zero one if it was not measured.
func (r *Report) part(name string) Result {
	for i := range r.Results {
		if r.Results[i].Name == name {
			return r.Results[i]
		}
	}
	return Result{}
}

// ratio is 0 where there is nothing to compare with.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	m := &r.Machine
	fmt.Fprintf(w, "%d processors, %.1f GiB, %s, %s; load %.2f before, %.2f after\n",
		m.Processors, float64(m.Memory)/(1<<30), m.Platform, m.Go, m.LoadBefore, m.LoadAfter)
	fmt.Fprintf(w, "%s users, %d senders, %v for each part, %d partitions, argon2id m=%d KiB t=%d\n\n",
		number(float64(r.Users)), r.Senders, r.For, r.Partitions, r.Params.MemoryKiB, r.Params.Time)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "PART\tPER SECOND\tP50\tP90\tP99\tP99.9\tMAX\tFAILED\tCPU SERVER\tCPU BENCH\tPER CPU S\t")
	for i := range r.Results {
		x := &r.Results[i]
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", x.Name, number(x.PerSecond), x.Latency.cells(), x.Failed, share(x.CPU.Server), share(x.CPU.Bench), number(x.PerCPU))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i := range r.Results {
		x := &r.Results[i]
		if x.Error != "" {
			fmt.Fprintf(w, "\n%s failed %d times, first: %s\n", x.Name, x.Failed, x.Error)
		}
		if x.Name == PartCold || x.Name == PartWarm {
			x.writeHistogram(w)
		}
	}
	return r.writeTargets(w)
}

func (r *Report) writeTargets(w io.Writer) error {
	fmt.Fprintf(w, "\nwarm logins to the hops of the raw log: %.2f\n", r.WarmToRaw)
	fmt.Fprintf(w, "cold logins to hashes alone, for the same processor time: %.2f\n", r.ColdPerCPU)
	for _, t := range r.Targets {
		met := "met"
		if !t.Met {
			met = "NOT MET"
		}
		fmt.Fprintf(w, "%s: %s, wanted %s: %s\n", t.Name, number(t.Got), number(t.Want), met)
	}
	_, err := io.WriteString(w, "Each account signs in "+strconv.Itoa(MaxLogins+1)+" times at most, so that none reaches the 100 sessions or 4,096 outcomes\nthat are kept of it: a part that would needs more users ends before its time.\n")
	return err
}

// barWidth is the longest bar of a histogram.
const barWidth = 50

func (x *Result) writeHistogram(w io.Writer) {
	if x.Latency == nil {
		return
	}
	fmt.Fprintf(w, "\n%s\n", x.Name)
	most := 0
	for _, b := range x.Latency.Histogram {
		most = max(most, b.Count)
	}
	for _, b := range x.Latency.Histogram {
		n := (b.Count*barWidth + most - 1) / most
		fmt.Fprintf(w, "  up to %8s %9s %s\n", span(b.UpTo), number(float64(b.Count)), strings.Repeat("#", n))
	}
}

// cells are the percentiles as cells of a table.
func (l *Latency) cells() string {
	if l == nil {
		return "\t\t\t\t"
	}
	var cells []string
	for _, d := range []time.Duration{l.P50, l.P90, l.P99, l.P999, l.Max} {
		cells = append(cells, span(d))
	}
	return strings.Join(cells, "\t")
}

// span writes a time with three digits that count.
func span(d time.Duration) string {
	switch {
	case d >= 100*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return strconv.FormatFloat(d.Seconds(), 'g', 3, 64) + " s"
	case d >= time.Millisecond:
		return digits(float64(d)/1e6) + " ms"
	}
	return digits(float64(d)/1e3) + " µs"
}

func digits(v float64) string {
	switch {
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// number writes a number with commas between thousands, small ones with decimals.
func number(v float64) string {
	if v < 99.95 && v != float64(int64(v)) {
		return digits(v)
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func share(v float64) string {
	if v < 0 {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
