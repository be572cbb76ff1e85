package gateway

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// getHealth answers as long as the process can answer at all.
func (s *Server) getHealth(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ok"})
}

// readiness says whether this gateway can serve clients, and each condition of that.
type readiness struct {
	Ready  bool                   `json:"ready"`
	Checks map[string]checkResult `json:"checks"`
}

type checkResult struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

// getReady answers 200 when load balancers may send clients here, otherwise 503
// and why not.
func (s *Server) getReady(w http.ResponseWriter, _ *request) error {
	status, body := Readiness(append([]Check{{Name: "delivery", Ready: s.homes.Ready}}, s.cfg.Checks...))
	return writeJSON(w, status, body)
}

// Readiness asks each check and returns the status and the JSON body of /readyz.
func Readiness(checks []Check) (status int, body any) {
	result := readiness{Ready: true, Checks: make(map[string]checkResult, len(checks))}
	for _, check := range checks {
		if err := check.Ready(); err != nil {
			result.Ready = false
			result.Checks[check.Name] = checkResult{Reason: err.Error()}
		} else {
			result.Checks[check.Name] = checkResult{OK: true}
		}
	}
	if !result.Ready {
		return http.StatusServiceUnavailable, result
	}
	return http.StatusOK, result
}

// getMetrics answers the process's figures in the format of Prometheus.
func (s *Server) getMetrics(w http.ResponseWriter, r *request) error {
	promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{}).ServeHTTP(w, r.Request)
	return nil
}
