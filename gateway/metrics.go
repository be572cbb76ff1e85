package gateway

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// homesMetrics are the figures of the correlator.
type homesMetrics struct {
	took      prometheus.Histogram
	retries   prometheus.Counter
	timeouts  prometheus.Counter
	refused   prometheus.Counter
	overflows prometheus.Counter
	skipped   *prometheus.CounterVec
}

func newHomesMetrics(reg prometheus.Registerer, h *Homes) homesMetrics {
	m := homesMetrics{
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "maru_gateway_command_seconds", Help: "Time from sending a command to its reply.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		retries:   counter("maru_gateway_command_retries_total", "Commands sent again because no reply had come."),
		timeouts:  counter("maru_gateway_command_timeouts_total", "Commands given up without a reply."),
		refused:   counter("maru_gateway_produce_errors_total", "Records that the log did not take."),
		overflows: counter("maru_gateway_command_overflows_total", "Commands refused because too many waited."),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "maru_gateway_deliveries_skipped_total", Help: "Records on delivery that meant nothing to this gateway, by reason.",
		}, []string{"reason"}),
	}
	if reg != nil {
		reg.MustRegister(m.took, m.retries, m.timeouts, m.refused, m.overflows, m.skipped,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "maru_gateway_commands_waiting", Help: "Commands that wait for their replies.",
			}, func() float64 { return float64(h.Waiting()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "maru_gateway_ready", Help: "1 while the gateway can serve clients.",
			}, func() float64 {
				if h.Ready() != nil {
					return 0
				}
				return 1
			}))
	}
	return m
}

// httpMetrics are the figures of the REST server. Routes are those of the table,
// so that no request can invent a label.
type httpMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newHTTPMetrics(reg prometheus.Registerer) httpMetrics {
	m := httpMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "maru_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "maru_http_request_seconds", Help: "Time to answer a request, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, []string{"route"}),
	}
	reg.MustRegister(m.requests, m.seconds)
	return m
}

func (m httpMetrics) observe(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}
