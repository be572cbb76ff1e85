package deploy_test

import (
	"strings"
	"testing"

	"maru/deploy"
)

func TestInvocations(t *testing.T) {
	all, err := deploy.Invocations(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]deploy.Invocation{}
	for _, in := range all {
		t.Logf("%s: maru %s %v", in.Where, strings.Join(in.Args, " "), in.Env)
		got[in.Where] = in
	}
	want := map[string]string{
		"Dockerfile":              "serve",
		"Dockerfile health check": "health --url http://127.0.0.1:8080/readyz",
		"cluster-secret":          "secret init --file /secrets/cluster",
		"home1":                   "serve --role home",
		"home2":                   "serve --role home",
		"gateway1":                "serve --role gateway",
		"gateway2":                "serve --role gateway",
		"home1 health check":      "health --url http://127.0.0.1:8080/readyz",
		"home2 health check":      "health --url http://127.0.0.1:8080/readyz",
		"gateway1 health check":   "health --url http://127.0.0.1:8080/readyz",
		"gateway2 health check":   "health --url http://127.0.0.1:8080/readyz",
	}
	if len(got) != len(want) {
		t.Errorf("%d invocations, want %d", len(got), len(want))
	}
	for where, args := range want {
		if line := strings.Join(got[where].Args, " "); line != args {
			t.Errorf("%s runs maru %s, want maru %s", where, line, args)
		}
	}
	for _, where := range []string{"home1", "home2", "gateway1", "gateway2"} {
		for name, value := range map[string]string{
			"MARU_LISTEN": "0.0.0.0:8080", "MARU_DATA": "/data", "MARU_PARTITIONS": "2", "MARU_REPLICAS": "3",
			"MARU_KAFKA":    "kafka1:9092,kafka2:9092,kafka3:9092",
			"MARU_DATABASE": "postgres://maru@postgres:5432/maru?sslmode=disable&passfile=/run/database/pgpass", "MARU_SECRET_FILE": "/secrets/cluster",
		} {
			if got[where].Env[name] != value {
				t.Errorf("%s: %s is %q, want %q", where, name, got[where].Env[name], value)
			}
		}
	}
}
