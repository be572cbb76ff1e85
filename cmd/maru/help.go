package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
)

const tagline = "A chat server in one binary, in which every user has one home."

const overviewHead = `maru - ` + tagline + `

What concerns a user is a record in Kafka under the user's id, and exactly one
process at a time has that user in memory. Without any setting, maru brings its
own Kafka-compatible broker and an SQLite database and needs nothing else.

Examples:
  maru                                  start, with all data in ./maru-data
  maru user add alice                   add a user to the server that runs there
  maru serve --kafka a:9092,b:9092 --database postgres://maru@db/maru
                                        start as part of a cluster

Commands:
`

const overviewTail = `
"maru help COMMAND" explains a command; "maru help serve" lists all settings. Each
is a flag, an environment variable (--kafka-listen is MARU_KAFKA_LISTEN) and a
name in the file of --config.
Exit status: 0 done, 1 it failed, 2 the command line or configuration is wrong.
`

// writeOverview is what "maru help" shows.
func writeOverview(w io.Writer, app *kong.Application) {
	io.WriteString(w, overviewHead)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, n := range app.Leaves(true) {
		fmt.Fprintf(tw, "  %s\t%s\n", usage(n), n.Help)
	}
	tw.Flush()
	io.WriteString(w, overviewTail)
}

// usage is a command with its arguments, without its flags.
func usage(n *kong.Node) string {
	words := []string{n.Name}
	for p := n.Parent; p.Type == kong.CommandNode; p = p.Parent {
		words = append([]string{p.Name}, words...)
	}
	for _, a := range n.Positional {
		word := strings.ToUpper(a.Name)
		if !a.Required {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

// Run is not reached: helpArgs turns the command into the flag before parsing.
func (c *helpCmd) Run(w *world) error { return nil }

// helpArgs turns "help COMMAND" into "COMMAND --help".
func helpArgs(args []string) []string {
	if len(args) > 0 && args[0] == "help" {
		return append(append([]string{}, args[1:]...), "--help")
	}
	return args
}

// settingsCmd writes docs/configuration.md, so that it cannot tell anything else
// than the code.
type settingsCmd struct{}

// Run writes the document.
func (c *settingsCmd) Run(w *world, app *kong.Kong) error {
	io.WriteString(w.stdout, settingsHead)
	for _, g := range groups {
		fmt.Fprintf(w.stdout, "\n## %s\n\n| flag | environment | default | meaning |\n|---|---|---|---|\n", strings.TrimSuffix(g.Title, ":"))
		for _, f := range settingFlags(app.Model) {
			if f.Group != nil && f.Group.Key == g.Key {
				fmt.Fprintf(w.stdout, "| `--%s` | `%s` | %s | %s |\n", f.Name, f.Envs[0], code(f.Default), cell(f.Help))
			}
		}
	}
	_, err := io.WriteString(w.stdout, settingsTail)
	return err
}

const settingsHead = `# Configuration

<!-- Written by "make docs" from the flags of cmd/maru. Do not edit. -->

Every setting of ` + "`maru serve`" + ` is a flag, an environment variable, and a key in the JSON
file that ` + "`--config`" + ` names. The command line beats the environment, the
environment beats the file, and the file beats the default. A name or a value that
cannot work is refused at the start with exit status 2.
`

const settingsTail = `
## Secret

` + "`MARU_SECRET`" + ` may hold the cluster secret itself, 32 random bytes in hex or base64
(` + "`openssl rand -base64 32`" + `). It beats ` + "`--secret-file`" + ` and is no flag, for command
lines are seen by every user of a machine, and no key of the file.

## Configuration file

` + "```json" + `
{
  "listen": "0.0.0.0:8080",
  "kafka": ["kafka1:9092", "kafka2:9092", "kafka3:9092"],
  "database": "postgres://maru@postgres:5432/maru",
  "replicas": 3,
  "keep-log": "7d"
}
` + "```" + `
`

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}
