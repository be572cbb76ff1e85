// Command maru is the server and the hand of its administrators.
//
// It turns the command line, the environment and a configuration file into the
// settings of package node, and what people ask into calls of node.Operator: in
// the process that runs on the data directory, through its admin.sock, or over
// Kafka. It has no logic of the server itself.
//
// Exit status: 0 done, 1 it failed, 2 the command line or the configuration is
// wrong. Results go to standard output, everything else to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"maru/node"
)

// The exit statuses.
const (
	statusDone   = 0
	statusFailed = 1
	statusUsage  = 2
)

// world is what a command may touch outside of its arguments.
type world struct {
	ctx    context.Context
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer
}

func main() {
	w := &world{ctx: context.Background(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(run(w, os.Args[1:]))
}

// usageError is an error of the command line that only a command itself notices.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// run executes one command line and returns the exit status.
func run(w *world, args []string) int {
	exited := -1
	parser, err := newParser(&cli{}, w, func(status int) { exited = status })
	if err != nil {
		fmt.Fprintf(w.stderr, "maru: %v\n", err)
		return statusFailed
	}
	args = helpArgs(args)
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		writeOverview(w.stdout, parser.Model)
		return statusDone
	}
	ctx, err := parser.Parse(args)
	if exited >= 0 { // help was asked for, and written
		return exited
	}
	if err == nil {
		err = ctx.Run(w)
	}
	if err == nil {
		return statusDone
	}
	var (
		file   *fileError
		parse  *kong.ParseError
		usage  *usageError
		config *node.ConfigError
	)
	if errors.As(err, &file) { // the flag that was looked for first has nothing to do with it
		fmt.Fprintf(w.stderr, "maru: %v\n", file)
		return statusUsage
	}
	fmt.Fprintf(w.stderr, "maru: %v\n", err)
	if errors.As(err, &parse) {
		fmt.Fprintln(w.stderr, `Run "maru help" for the commands, "maru help serve" for the settings.`)
		return statusUsage
	}
	if errors.As(err, &usage) || errors.As(err, &config) {
		return statusUsage
	}
	return statusFailed
}

// newParser builds the command line. Its defaults are those of package node.
func newParser(c *cli, w *world, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("maru"),
		kong.Description(tagline),
		kong.Vars(defaults()),
		kong.Writers(w.stdout, w.stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{FlagsLast: true, WrapUpperBound: 100}),
		kong.ExplicitGroups(groups),
		kong.Resolvers(&fileResolver{}),
		kong.TypeMapper(typeOf[int](), wholeNumber),
		kong.TypeMapper(typeOf[int16](), wholeNumber),
		kong.TypeMapper(typeOf[int32](), wholeNumber),
		kong.TypeMapper(typeOf[uint32](), wholeNumber),
	)
}
