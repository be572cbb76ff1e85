// Package node turns a configuration into a running process: the roles gateway and
// home with what they need. Start reads top to bottom as the order of starting,
// Close reverses it. It is the only package that imports all others; it has no
// logic of its own beyond that.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"maru"
	"maru/auth"
	"maru/gateway"
	"maru/home"
	"maru/internal/faultswitch"
	"maru/kafka"
	"maru/kafka/embedded"
)

// Role says what a process is.
type Role string

// The roles.
const (
	RoleAll     Role = "all" // gateway and home
	RoleGateway Role = "gateway"
	RoleHome    Role = "home"
)

// DefaultPartitions is P when the first start does not ask for another number.
const DefaultPartitions = 16

// Config is what a process is made of. Settings come from the command line and
// the environment; Seams from tests.
type Config struct {
	Settings
	Logger *slog.Logger
	Seams  Seams
}

// Settings are what an operator can set; see the tags of the command line for
// what each means and its default.
type Settings struct {
	Name   string // of this process; empty: host name and process id
	Role   Role
	Listen string
	Data   string

	Kafka       []string // bootstrap servers; none: the embedded broker
	KafkaListen string   // of the embedded broker; empty: none
	Database    string   // DSN; empty: SQLite in Data

	Partitions int32 // 0: as recorded, DefaultPartitions at the first start
	Replicas   int16
	Group      string
	Topics     Topics

	SecretFile string
	Secret     string // text of the cluster secret; beats SecretFile
	TimeZone   string // IANA name
	KeepLog    time.Duration
	Session    time.Duration // of the consumer group

	PasswordMin     int
	PasswordMemory  uint32 // KiB
	PasswordTime    uint32
	PasswordWorkers int
	FailedLogins    gateway.Rate
	Registrations   gateway.Rate
	TrustedProxies  []netip.Prefix
	TrustedOrigins  []string
}

// Topics are the names of the four topics.
type Topics struct{ LoginRequest, LoginResponse, Commands, Delivery string }

// DefaultTopics are the names that other programs know.
var DefaultTopics = Topics{LoginRequest: "login-request", LoginResponse: "login-response", Commands: "commands", Delivery: "delivery"}

// Defaults returns the settings of a plain `maru`.
func Defaults() Settings {
	p := auth.DefaultParams()
	return Settings{
		Role: RoleAll, Listen: "127.0.0.1:8080", Data: "./maru-data", KafkaListen: "127.0.0.1:8097",
		Replicas: 1, Group: "chatServerGroup", Topics: DefaultTopics,
		TimeZone: "Asia/Seoul", KeepLog: 7 * 24 * time.Hour, Session: 6 * time.Second,
		PasswordMin: auth.DefaultMinBytes, PasswordMemory: p.MemoryKiB, PasswordTime: p.Time,
		FailedLogins:  gateway.Rate{N: 10, Per: time.Minute},
		Registrations: gateway.Rate{N: 20, Per: time.Hour},
	}
}

// Seams let a test replace the world around a process. All are optional.
type Seams struct {
	Listen    func(network, addr string) (net.Listener, error)
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error) // to Kafka
	Broker    *embedded.Broker                                                  // shared by several nodes; not closed by them
	StoreHook func(ctx context.Context, point string) error
	HomeGate  func(ctx context.Context, point string) bool
	WrapLog   func(home.Log) home.Log // of the home
	WrapStore func(home.Store) home.Store
	Fetch     func([]maru.LogRecord) []maru.LogRecord // what was read, before the home gets it
	Off       *faultswitch.Set
	NoAdmin   bool // no admin.sock: unix sockets do not work in virtual time
	NoSync    bool // of the embedded broker
	Beat      time.Duration

	CheckpointEvery time.Duration
	MaxResident     int
	Heartbeat       time.Duration
	Rebalance       time.Duration
	Force           time.Duration
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// Check refuses what cannot work, with a sentence that names the setting and what
// to write instead, and fills in what follows from the rest.
func (c *Config) Check() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Name == "" {
		host, _ := os.Hostname()
		c.Name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	for _, check := range []func() error{c.checkRole, c.checkKafka, c.checkAddresses, c.checkTopics, c.checkValues} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) embedded() bool { return len(c.Kafka) == 0 && c.Seams.Broker == nil }

func (c *Config) checkRole() error {
	switch c.Role {
	case RoleAll:
		return nil
	case RoleGateway, RoleHome:
		if c.embedded() {
			return fmt.Errorf("--role %s is one part of a cluster and needs its log: name the brokers with --kafka host:port,…, or use --role all", c.Role)
		}
		if c.Database == "" {
			return fmt.Errorf("--role %s is one part of a cluster and needs its database: give --database postgres://…, or use --role all", c.Role)
		}
		return nil
	}
	return fmt.Errorf("--role %q is none: use all, gateway or home", string(c.Role))
}

func (c *Config) checkKafka() error {
	for _, s := range c.Kafka {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
			return fmt.Errorf("--kafka %q is no address of a broker: write host:port, several with commas between", s)
		}
	}
	if c.Partitions < 0 || c.Partitions > 4096 {
		return fmt.Errorf("--partitions %d: choose a number from 1 to 4096, at least as many as homes should work at once", c.Partitions)
	}
	if c.Replicas < 1 || c.Replicas > 100 {
		return fmt.Errorf("--replicas %d: choose a number from 1 to the number of brokers", c.Replicas)
	}
	if c.embedded() && c.Replicas > 1 {
		return fmt.Errorf("--replicas %d needs as many brokers, and the embedded one is single: name brokers with --kafka, or use --replicas 1", c.Replicas)
	}
	if !nameRule.MatchString(c.Group) {
		return fmt.Errorf("--group %q: use 1 to 100 letters, digits, dots, underscores and hyphens", c.Group)
	}
	if c.Session < 6*time.Second && !c.embedded() && c.Seams.Broker == nil {
		return fmt.Errorf("--session %v: brokers allow no less than 6s", c.Session)
	}
	return nil
}

func (c *Config) checkAddresses() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("--listen %q is no address: write host:port, such as 127.0.0.1:8080, or :8080 for all interfaces", c.Listen)
	}
	if c.KafkaListen != "" {
		if _, _, err := net.SplitHostPort(c.KafkaListen); err != nil {
			return fmt.Errorf("--kafka-listen %q is no address: write host:port, such as 127.0.0.1:8097, or leave it empty for none", c.KafkaListen)
		}
	}
	if d := c.Database; d != "" && strings.Contains(d, "://") && !strings.HasPrefix(d, "postgres://") && !strings.HasPrefix(d, "postgresql://") {
		return errors.New("--database is no address that maru knows: write postgres://user:password@host:port/name, or leave it out for SQLite under --data")
	}
	if c.Data == "" {
		return errors.New("--data is empty: name the directory in which maru keeps its files")
	}
	return nil
}

func (c *Config) checkTopics() error {
	names := []string{c.Topics.LoginRequest, c.Topics.LoginResponse, c.Topics.Commands, c.Topics.Delivery}
	for i, n := range names {
		if !nameRule.MatchString(n) {
			return fmt.Errorf("topic name %q: use 1 to 100 letters, digits, dots, underscores and hyphens", n)
		}
		if slices.Contains(names[:i], n) {
			return fmt.Errorf("topic name %q is used twice: each of the four topics needs a name of its own", n)
		}
	}
	return nil
}

func (c *Config) checkValues() error {
	if _, err := time.LoadLocation(c.TimeZone); err != nil || c.TimeZone == "" || c.TimeZone == "Local" {
		return fmt.Errorf("--time-zone %q is not known: write an IANA name such as Asia/Seoul or UTC", c.TimeZone)
	}
	if c.KeepLog < time.Hour {
		return fmt.Errorf("--keep-log %v: keep at least 1h, so that a home that was down finds what it missed", c.KeepLog)
	}
	if c.PasswordMin < 1 || c.PasswordMin > auth.MaxPasswordBytes {
		return fmt.Errorf("--password-min %d: choose from 1 to %d bytes", c.PasswordMin, auth.MaxPasswordBytes)
	}
	if err := c.hashParams().Validate(); err != nil {
		return fmt.Errorf("--password-memory, --password-time: %w", err)
	}
	return nil
}

func (c *Config) hashParams() auth.Params {
	return auth.Params{MemoryKiB: c.PasswordMemory, Time: c.PasswordTime, Threads: 1}
}

func (c *Config) dsn() string {
	if c.Database != "" {
		return c.Database
	}
	return filepath.Join(c.Data, "maru.db")
}

func (c *Config) layout(partitions int32) kafka.Layout {
	return kafka.Layout{
		Partitions: partitions, Replicas: c.Replicas,
		LoginRequest: c.Topics.LoginRequest, LoginResponse: c.Topics.LoginResponse,
		Commands: c.Topics.Commands, Delivery: c.Topics.Delivery,
		DeliveryPartitions: deliveryPartitions, DeliveryRetention: deliveryRetention,
	}
}

const (
	deliveryPartitions = 64
	deliveryRetention  = 10 * time.Minute
	loginRetention     = 7 * 24 * time.Hour
)
