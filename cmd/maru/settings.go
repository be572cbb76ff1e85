package main

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"maru/gateway"
	"maru/node"
)

// defaults are the values of the command line that nobody gave, taken from
// package node, so that there is one place for each.
func defaults() kong.Vars {
	d := node.Defaults()
	return kong.Vars{
		"role": string(d.Role), "listen": d.Listen, "data": d.Data, "kafkalisten": d.KafkaListen,
		"partitions": strconv.Itoa(node.DefaultPartitions), "replicas": strconv.Itoa(int(d.Replicas)),
		"group": d.Group, "loginrequest": d.Topics.LoginRequest, "loginresponse": d.Topics.LoginResponse,
		"commands": d.Topics.Commands, "delivery": d.Topics.Delivery, "timezone": d.TimeZone,
		"keeplog": duration(d.KeepLog).String(), "session": duration(d.Session).String(),
		"passwordmin":    strconv.Itoa(d.PasswordMin),
		"passwordmemory": strconv.FormatUint(uint64(d.PasswordMemory), 10),
		"passwordtime":   strconv.FormatUint(uint64(d.PasswordTime), 10),
		"failedlogins":   rate(d.FailedLogins).String(), "registrations": rate(d.Registrations).String(),
	}
}

// settings is what serve was told.
func (c *serveCmd) settings() (node.Settings, error) {
	if err := checkOrigins(c.Origins); err != nil {
		return node.Settings{}, &usageError{err}
	}
	s := node.Defaults()
	c.clusterFlags.fill(&s)
	c.passwordFlags.fill(&s)
	s.Role, s.Listen, s.Data, s.Name = node.Role(c.Role), c.Listen, c.Data, c.Name
	s.SecretFile, s.Secret, s.TimeZone = c.SecretFile, os.Getenv("MARU_SECRET"), c.TimeZone
	s.KafkaListen, s.KeepLog, s.Session = c.KafkaListen, time.Duration(c.KeepLog), time.Duration(c.Session)
	s.PasswordWorkers = c.PasswordWorkers
	s.FailedLogins, s.Registrations = gateway.Rate(c.FailedLogins), gateway.Rate(c.Registrations)
	for _, p := range c.TrustedProxies {
		s.TrustedProxies = append(s.TrustedProxies, netip.Prefix(p))
	}
	s.TrustedOrigins = c.Origins
	return s, nil
}

func (c *clusterFlags) fill(s *node.Settings) {
	s.Kafka = slices.DeleteFunc(slices.Clone(c.Kafka), func(b string) bool { return b == "" })
	s.Database, s.Partitions, s.Replicas, s.Group = c.Database, c.Partitions, c.Replicas, c.Group
	s.Topics = node.Topics{LoginRequest: c.LoginRequest, LoginResponse: c.LoginResponse, Commands: c.Commands, Delivery: c.Delivery}
}

func (c *passwordFlags) fill(s *node.Settings) {
	s.PasswordMin, s.PasswordMemory, s.PasswordTime = c.PasswordMin, c.PasswordMemory, c.PasswordTime
}

// logger writes to w in the form and from the level that were asked for.
func (c *logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // unreachable: the parser allows the four names only
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
