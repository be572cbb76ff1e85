package deploy_test

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"

	"maru/deploy"
)

func load(t *testing.T) *types.Project {
	t.Helper()
	project, err := deploy.LoadCompose(t.Context(), "../compose.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// makers are the services that make a secret and end.
var makers = []string{"cluster-secret", "database-secret"}

func TestComposeServices(t *testing.T) {
	want := []string{"cluster-secret", "database-secret", "gateway1", "gateway2", "home1", "home2", "kafka1", "kafka2", "kafka3", "postgres"}
	if got := slices.Sorted(slices.Values(load(t).ServiceNames())); !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
}

func TestComposeRefusesUnknownKeys(t *testing.T) {
	text, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(broken, []byte(strings.Replace(string(text), "read_only:", "readonly:", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.LoadCompose(t.Context(), broken, nil); err == nil {
		t.Error("a misspelt key was taken: the schema is not checked")
	}
}

func TestKafkaEnvironmentIsTheSettings(t *testing.T) {
	project := load(t)
	nodes := deploy.ReferenceNodes()
	for i, node := range nodes {
		name := node.InternalHost
		service := project.Services[name]
		want := map[string]string{}
		for property, value := range deploy.KafkaSettings(nodes, i) {
			want[deploy.KafkaEnvName(property)] = value
		}
		got := map[string]string{}
		for key, value := range service.Environment {
			if strings.HasPrefix(key, "KAFKA_") && key != "KAFKA_HEAP_OPTS" {
				got[key] = *value
			}
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if got[key] != want[key] {
				t.Errorf("%s: %s is %q, the settings say %q", name, key, got[key], want[key])
			}
			delete(got, key)
		}
		for key := range got {
			t.Errorf("%s: %s is not among the settings", name, key)
		}
		if service.Hostname != name || service.ContainerName != name {
			t.Errorf("%s: host %q, container %q", name, service.Hostname, service.ContainerName)
		}
		if id := service.Environment["CLUSTER_ID"]; id == nil || *id != *project.Services["kafka1"].Environment["CLUSTER_ID"] {
			t.Errorf("%s: its cluster id is not kafka1's", name)
		}
		if len(service.Volumes) != 1 || service.Volumes[0].Target != node.LogDir {
			t.Errorf("%s: volumes %v, want one at %s", name, service.Volumes, node.LogDir)
		}
	}
}

func TestKafkaSettings(t *testing.T) {
	nodes := deploy.ReferenceNodes()
	for i, want := range []string{
		"INTERNAL://kafka1:9092,EXTERNAL://localhost:8097",
		"INTERNAL://kafka2:9092,EXTERNAL://localhost:8098",
		"INTERNAL://kafka3:9092,EXTERNAL://localhost:8099",
	} {
		if got := deploy.KafkaSettings(nodes, i)["advertised.listeners"]; got != want {
			t.Errorf("node %d advertises %s, want %s", i+1, got, want)
		}
	}
	for n, want := range map[int][2]string{1: {"1", "1"}, 2: {"2", "1"}, 3: {"3", "2"}} {
		settings := deploy.KafkaSettings(nodes[:n], 0)
		if got := [2]string{settings["default.replication.factor"], settings["min.insync.replicas"]}; got != want {
			t.Errorf("%d nodes: replicas and in-sync minimum %v, want %v", n, got, want)
		}
	}
	if got := deploy.KafkaEnvName("a.b_c-d"); got != "KAFKA_A_B__C___D" {
		t.Errorf("environment name %s", got)
	}
}

func TestComposePorts(t *testing.T) {
	want := map[string]string{
		"kafka1": "8097>8097", "kafka2": "8098>8098", "kafka3": "8099>8099", "gateway1": "8080>8080", "gateway2": "8081>8080",
	}
	for name, service := range load(t).Services {
		var got []string
		for _, port := range service.Ports {
			got = append(got, fmt.Sprintf("%s>%d", port.Published, port.Target))
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open on %q", name, port.Published, port.HostIP)
			}
		}
		if strings.Join(got, " ") != want[name] {
			t.Errorf("%s publishes %v, want %q", name, got, want[name])
		}
	}
}

func TestComposeIsHardened(t *testing.T) {
	for name, s := range load(t).Services {
		if !s.ReadOnly {
			t.Errorf("%s: its root can be written", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
			t.Errorf("%s: drops %v, security %v", name, s.CapDrop, s.SecurityOpt)
		}
		wantAdded := 0
		if name == "database-secret" {
			wantAdded = 1
		}
		if len(s.CapAdd) != wantAdded || wantAdded == 1 && s.CapAdd[0] != "CHOWN" {
			t.Errorf("%s: adds capabilities %v", name, s.CapAdd)
		}
		if s.Privileged || s.Pid != "" || s.Ipc != "" || s.UserNSMode != "" || s.NetworkMode == "host" || len(s.Devices) > 0 {
			t.Errorf("%s shares a namespace or a device of the host", name)
		}
		if s.MemLimit == 0 {
			t.Errorf("%s: no memory limit", name)
		}
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeVolume {
				t.Errorf("%s mounts %s of the host", name, v.Source)
			}
			if strings.HasSuffix(v.Source, "-secret") && !v.ReadOnly && v.Source != name {
				t.Errorf("%s may write %s", name, v.Source)
			}
		}
	}
}

func TestComposeImages(t *testing.T) {
	pom, err := os.ReadFile("../internal/realkafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	release := regexp.MustCompile(`<kafka.version>(.+)</kafka.version>`).FindSubmatch(pom)
	if release == nil {
		t.Fatal("no kafka.version in pom.xml")
	}
	for name, s := range load(t).Services {
		repository, tag, tagged := strings.Cut(s.Image, ":")
		if !tagged || tag == "latest" {
			t.Errorf("%s: image %s has no fixed tag", name, s.Image)
		}
		if first, _, nested := strings.Cut(repository, "/"); nested && strings.Contains(first, ".") {
			t.Errorf("%s: image %s names a registry", name, s.Image)
		}
		if repository == "apache/kafka" && tag != string(release[1]) {
			t.Errorf("%s: Kafka %s, the tests run %s", name, tag, release[1])
		}
	}
}

func TestComposeHealthAndOrder(t *testing.T) {
	project := load(t)
	for name, s := range project.Services {
		if slices.Contains(makers, name) {
			if s.Restart != "no" || s.NetworkMode != "none" {
				t.Errorf("%s: restart %q, network %q, want it to run once and alone", name, s.Restart, s.NetworkMode)
			}
			continue
		}
		if s.Restart != "unless-stopped" {
			t.Errorf("%s: restart is %q", name, s.Restart)
		}
		if c := s.HealthCheck; c == nil || c.Disable || len(c.Test) < 2 || c.Interval == nil || c.Timeout == nil || c.StartPeriod == nil {
			t.Errorf("%s: no complete health check", name)
		}
	}
	for name, s := range project.Services {
		for other, dependency := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if slices.Contains(makers, other) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if dependency.Condition != want || !dependency.Required {
				t.Errorf("%s waits for %s to be %s, want %s", name, other, dependency.Condition, want)
			}
		}
		if path := cycle(project, name, nil); path != nil {
			t.Errorf("waits in a circle: %v", path)
		}
	}
	for _, name := range []string{"gateway1", "gateway2", "home1", "home2"} {
		for _, other := range append([]string{"kafka1", "kafka2", "kafka3", "postgres"}, makers...) {
			if _, ok := project.Services[name].DependsOn[other]; !ok {
				t.Errorf("%s does not wait for %s", name, other)
			}
		}
	}
}

// cycle returns the way from a service back to itself along depends_on, nil when there is none.
func cycle(project *types.Project, name string, path []string) []string {
	if slices.Contains(path, name) {
		return append(path, name)
	}
	path = append(slices.Clone(path), name)
	for other := range project.Services[name].DependsOn {
		if found := cycle(project, other, path); found != nil {
			return found
		}
	}
	return nil
}

func TestComposeVolumes(t *testing.T) {
	project := load(t)
	used := map[string]bool{}
	for _, s := range project.Services {
		for _, v := range s.Volumes {
			used[v.Source] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(project.Volumes)); !slices.Equal(got, want) {
		t.Errorf("volumes used %v, declared %v", got, want)
	}
}

func TestComposeHoldsNoSecret(t *testing.T) {
	sensitive := regexp.MustCompile(`PASSWORD|PASSWD|SECRET|TOKEN|KEY`)
	for name, s := range load(t).Services {
		for key, value := range s.Environment {
			if sensitive.MatchString(key) && !strings.HasSuffix(key, "_FILE") {
				t.Errorf("%s: %s is in the environment; give a file", name, key)
			}
			if u, err := url.Parse(*value); err == nil && u.User != nil {
				if _, readable := u.User.Password(); readable || u.Query().Has("password") {
					t.Errorf("%s: %s holds a password", name, key)
				}
			}
		}
	}
}

func TestComposeDatabaseIsMadeAsInTests(t *testing.T) {
	args := load(t).Services["postgres"].Environment["POSTGRES_INITDB_ARGS"]
	if args == nil || *args != deploy.InitdbArgs {
		t.Errorf("initdb arguments differ from %q", deploy.InitdbArgs)
	}
}

// TestComposeDatabaseSecret runs the script of the service as it stands, with chown noted instead of
// done, and reads its work as maru does.
func TestComposeDatabaseSecret(t *testing.T) {
	project := load(t)
	maker := project.Services["database-secret"]
	folder, bin := t.TempDir(), t.TempDir()
	owners := filepath.Join(bin, "owners")
	if err := os.WriteFile(filepath.Join(bin, "chown"), []byte("#!/bin/sh\necho \"$@\" >>\"$OWNERS\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func() {
		t.Helper()
		line := append(slices.Clone(maker.Entrypoint), maker.Command...)
		cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
		cmd.Env = append(os.Environ(), "FOLDER="+folder, "OWNERS="+owners, "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run()
	password := readFile(t, filepath.Join(folder, "password"))
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(password) {
		t.Fatalf("the password has %d characters, want 64 hex digits", len(password))
	}
	if got, want := readFile(t, owners), "postgres new-password\n65532 new-pgpass\n"; got != want {
		t.Errorf("owners %q, want %q", got, want)
	}
	for _, name := range []string{"password", "pgpass"} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}

	dsn := *project.Services["home1"].Environment["MARU_DATABASE"]
	config, err := pgx.ParseConfig(strings.ReplaceAll(dsn, "/run/database", folder))
	if err != nil {
		t.Fatal(err)
	}
	if config.Password != password {
		t.Error("the address of the database does not lead to its password")
	}

	run()
	if readFile(t, filepath.Join(folder, "password")) != password {
		t.Error("a second run made another password")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
