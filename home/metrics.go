package home

import (
	"github.com/prometheus/client_golang/prometheus"

	"maru/home/fold"
)

// Metrics counts what homes do. It is safe for concurrent use.
type Metrics struct {
	applied        prometheus.Counter
	duplicates     prometheus.Counter
	gaps           prometheus.Counter
	skipped        prometheus.Counter
	loaded         prometheus.Counter
	evicted        prometheus.Counter
	sqlErrors      prometheus.Counter
	loginForwarded prometheus.Counter
	loginDiscarded prometheus.Counter
	drops          *prometheus.CounterVec
	checkpoint     prometheus.Histogram
}

// NewMetrics returns metrics registered with r; nil registers nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		if r != nil {
			r.MustRegister(c)
		}
		return c
	}
	m := &Metrics{
		applied:        counter("maru_home_records_applied_total", "Records of commands applied."),
		duplicates:     counter("maru_home_stream_duplicates_total", "Commands from other slots dropped because they were accepted before."),
		gaps:           counter("maru_home_stream_gaps_total", "Commands from other slots refused because one before them is missing."),
		skipped:        counter("maru_home_records_skipped_total", "Records of commands that could not be read or do not belong to the slot."),
		loaded:         counter("maru_home_users_loaded_total", "Users loaded from SQL."),
		evicted:        counter("maru_home_users_evicted_total", "Users evicted from memory."),
		sqlErrors:      counter("maru_home_sql_errors_total", "SQL transactions that failed and were tried again."),
		loginForwarded: counter("maru_home_login_forwarded_total", "Login requests moved to the partition of their user."),
		loginDiscarded: counter("maru_home_login_discarded_total", "Login requests that nobody could be answered for."),
		drops:          prometheus.NewCounterVec(prometheus.CounterOpts{Name: "maru_home_slot_drops_total", Help: "Claims of slots given up, by reason."}, []string{"reason"}),
		checkpoint: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "maru_home_checkpoint_seconds", Help: "Time from the cut of a checkpoint to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
	}
	if r != nil {
		r.MustRegister(m.drops, m.checkpoint)
	}
	return m
}

func (m *Metrics) count(e *fold.Effect) {
	m.applied.Inc()
	switch {
	case e.Duplicate:
		m.duplicates.Inc()
	case e.Gap:
		m.gaps.Inc()
	case e.Skipped:
		m.skipped.Inc()
	}
}

// Collector reports what the home holds at the time of a scrape.
func (h *Home) Collector() prometheus.Collector { return holdings{h} }

var (
	descSlots = prometheus.NewDesc("maru_home_slots", "Slots held.", nil, nil)
	descUsers = prometheus.NewDesc("maru_home_resident_users", "Users in memory, by slot.", []string{"slot"}, nil)
	descBytes = prometheus.NewDesc("maru_home_resident_bytes", "Estimated memory of the entities held, by slot.", []string{"slot"}, nil)
	descSaved = prometheus.NewDesc("maru_home_checkpoint_offset", "First offset of commands not in the checkpoint, by slot.", []string{"slot"}, nil)
)

type holdings struct{ h *Home }

func (c holdings) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSlots, descUsers, descBytes, descSaved} {
		ch <- d
	}
}

func (c holdings) Collect(ch chan<- prometheus.Metric) {
	runs := c.h.all()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descSlots, float64(len(runs)))
	for _, s := range runs {
		slot := itoa(s.n)
		gauge(descUsers, float64(s.held.Load()), slot)
		gauge(descBytes, float64(s.heldBytes.Load()), slot)
		gauge(descSaved, float64(s.savedAt.Load()), slot)
	}
}
