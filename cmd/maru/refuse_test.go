package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each wrong value ends with status 2 and the sentence that mends it, before
// anything is started or written.
func TestWrongValuesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  []string
		says string
	}{
		"unknown command":     {args: []string{"frob"}, says: "unexpected argument frob"},
		"unknown flag":        {args: []string{"--frob"}, says: "unknown flag --frob"},
		"no subcommand":       {args: []string{"user"}, says: `expected one of "add", "passwd", "admin"`},
		"help of nothing":     {args: []string{"help", "frob"}, says: "unexpected argument frob"},
		"role":                {args: []string{"--role", "x"}, says: `--role must be one of "all","gateway","home" but got "x"`},
		"role in environment": {env: []string{"MARU_ROLE=x"}, says: `--role must be one of`},
		"role alone":          {args: []string{"--role", "home"}, says: "--role home is one part of a cluster and needs its log: name the brokers with --kafka"},
		"role without sql":    {args: []string{"--role", "gateway", "--kafka", "h:1"}, says: "needs its database: give --database postgres://"},
		"listen":              {args: []string{"--listen", "8080"}, says: `--listen "8080" is no address: write host:port`},
		"kafka listen":        {args: []string{"--kafka-listen", "8097"}, says: `--kafka-listen "8097" is no address`},
		"data":                {args: []string{"--data", ""}, says: "--data is empty"},
		"kafka":               {args: []string{"--kafka", "localhost"}, says: `--kafka "localhost" is no address of a broker`},
		"database":            {args: []string{"--database", "mysql://x"}, says: "write postgres://user:password@host:port/name"},
		"partitions":          {args: []string{"--partitions", "many"}, says: `--partitions: "many" is no whole number`},
		"partitions negative": {args: []string{"--partitions=-1"}, says: "--partitions -1: choose a number from 1 to 4096"},
		"partitions, too big": {env: []string{"MARU_PARTITIONS=9999999999"}, says: `--partitions: "9999999999" is no whole number of at most 2147483647`},
		"replicas":            {args: []string{"--replicas", "0"}, says: "--replicas 0: choose a number from 1"},
		"replicas, embedded":  {args: []string{"--replicas", "3"}, says: "needs as many brokers, and the embedded one is single"},
		"group":               {args: []string{"--group", "a b"}, says: `--group "a b": use 1 to 100 letters`},
		"topic":               {args: []string{"--commands", "a/b"}, says: `topic name "a/b"`},
		"topic twice":         {args: []string{"--commands", "delivery"}, says: `topic name "delivery" is used twice`},
		"time zone":           {args: []string{"--time-zone", "Seoul"}, says: `--time-zone "Seoul" is not known: write an IANA name`},
		"keep log":            {args: []string{"--keep-log", "7"}, says: `--keep-log: "7" is no time: write a number and its unit`},
		"keep log, short":     {args: []string{"--keep-log", "1m"}, says: "keep at least 1h"},
		"session":             {args: []string{"--session", "x"}, says: `--session: "x" is no time`},
		"password":            {args: []string{"--password-min", "0"}, says: "--password-min 0: choose from 1 to"},
		"password memory":     {args: []string{"--password-memory", "1"}, says: "--password-memory"},
		"failed logins":       {args: []string{"--failed-logins", "10"}, says: `--failed-logins: "10" is no limit: write a number and a time`},
		"registrations":       {args: []string{"--registrations", "x"}, says: `--registrations: "x" is no limit`},
		"proxies":             {args: []string{"--trusted-proxies", "lan"}, says: `--trusted-proxies: "lan" is no network: write an address`},
		"origins":             {args: []string{"--origins", "chat.example"}, says: `--origins "chat.example" is no origin: write scheme://host`},
		"log level":           {args: []string{"--log-level", "loud"}, says: `--log-level must be one of`},
		"log format":          {env: []string{"MARU_LOG_FORMAT=xml"}, says: `--log-format must be one of`},
		"user id":             {args: []string{"user", "add", "A B"}, says: "a user id is 1 to 32 letters"},
		"user id, long":       {args: []string{"where", strings.Repeat("a", 33)}, says: "a user id is 1 to 32 letters"},
		"user admin":          {args: []string{"user", "admin", "a", "maybe"}, says: `must be one of "on","off" but got "maybe"`},
		"no password":         {args: []string{"user", "add", "a"}, says: "no password: give it on standard input"},
		"health":              {args: []string{"health", "--url", "localhost"}, says: "is no address: write http://host:port/readyz"},
		"secret":              {args: []string{"secret", "init"}, says: "missing flags: --file=FILE"},
		"half a cluster":      {args: []string{"topics", "--kafka", "h:1"}, says: "both --kafka and --database are needed"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := call{dir: dir, env: c.env, args: c.args}.do(t)
			if o.status != statusUsage || !strings.Contains(o.stderr, c.says) {
				t.Errorf("status %d, want %d and %q:\n%s", o.status, statusUsage, c.says, o.stderr)
			}
			if o.stdout != "" || strings.Contains(o.stderr, "goroutine") {
				t.Errorf("it also writes:\n%s%s", o.stdout, o.stderr)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("it leaves %v behind (%v)", left, err)
			}
		})
	}
}

func TestConfigurationFileIsChecked(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"unknown":     {`{"lisen": ":1"}`, `"lisen" is no setting: "maru help serve" lists them`},
		"spelling":    {`{"Kafka_Listen": ":1"}`, `"Kafka_Listen" is no setting: write "kafka-listen"`},
		"dashes":      {`{"--listen": ":1"}`, `"--listen" is no setting: write "listen"`},
		"itself":      {`{"config": "x"}`, `"config" is no setting`},
		"secret":      {`{"secret": "x"}`, `"secret" is no setting`},
		"option":      {`{"allow-weak": "x"}`, `"allow-weak" is no setting`},
		"twice":       {`{"listen": ":1", "listen": ":2"}`, `"listen" stands there twice`},
		"not JSON":    {`listen: 1`, "is not a JSON object of settings"},
		"cut":         {`{"listen": ":1"`, "is not a JSON object of settings"},
		"array":       {`[]`, "is not a JSON object of settings"},
		"more":        {`{} {}`, "something follows the JSON object"},
		"object":      {`{"listen": {}}`, `"listen" is neither text, nor a number`},
		"null":        {`{"listen": null}`, `"listen" is neither text, nor a number`},
		"mixed list":  {`{"kafka": ["a:1", 2]}`, `"kafka" is a list with something that is not text`},
		"wrong value": {`{"listen": "8080"}`, `--listen "8080" is no address`},
		"fraction":    {`{"partitions": 3.5}`, `--partitions: "3.5" is no whole number`},
		"enum":        {`{"role": "boss"}`, `--role must be one of`},
		"list":        {`{"kafka": ["a:1", "b"]}`, `--kafka "b" is no address of a broker`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "maru.json")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for how, o := range map[string]outcome{
				"--config":    call{dir: t.TempDir(), args: []string{"--config", path}}.do(t),
				"MARU_CONFIG": call{dir: t.TempDir(), env: []string{"MARU_CONFIG=" + path}}.do(t),
			} {
				if o.status != statusUsage || !strings.Contains(o.stderr, c.says) {
					t.Errorf("%s: status %d, want %d and %q:\n%s", how, o.status, statusUsage, c.says, o.stderr)
				}
			}
		})
	}
	o := call{dir: t.TempDir(), args: []string{"--config", "none.json"}}.do(t)
	if o.status != statusUsage || !strings.Contains(o.stderr, "configuration file none.json: no such file") {
		t.Errorf("a file that is not there: status %d\n%s", o.status, o.stderr)
	}
}

// The command line beats the environment, which beats the file, which beats the default.
func TestPrecedence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "maru.json")
	file := `{"kafka": ["f:1", "f:2"], "group": "file", "commands": "file", "delivery": "file", "replicas": 7, "keep-log": "2d"}`
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MARU_CONFIG", path)
	t.Setenv("MARU_GROUP", "environment")
	t.Setenv("MARU_COMMANDS", "environment")
	c := &cli{}
	if _, err := parserFor(t, c).Parse([]string{"--commands", "line"}); err != nil {
		t.Fatal(err)
	}
	s := &c.Serve
	if s.Commands != "line" || s.Group != "environment" || s.Delivery != "file" || s.LoginRequest != "login-request" {
		t.Errorf("commands from %s, group from %s, delivery from %s, login-request %s", s.Commands, s.Group, s.Delivery, s.LoginRequest)
	}
	if strings.Join(s.Kafka, " ") != "f:1 f:2" || s.Replicas != 7 || s.KeepLog.String() != "2d" {
		t.Errorf("kafka %q, replicas %d, keep-log %s from the file", s.Kafka, s.Replicas, s.KeepLog)
	}
}
