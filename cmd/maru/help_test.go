package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"maru/deploy"
	"maru/node"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file, which -update rewrites.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; after looking at what changed, run: go test ./cmd/maru -update\ngot:\n%s", path, got)
	}
}

func TestHelp(t *testing.T) {
	for file, args := range map[string][]string{
		"help.txt":           {"help"},
		"help-serve.txt":     {"help", "serve"},
		"help-user-add.txt":  {"help", "user", "add"},
		"help-where.txt":     {"where", "--help"},
		"help-residents.txt": {"residents", "-h"},
	} {
		t.Run(file, func(t *testing.T) {
			golden(t, filepath.Join("testdata", file), call{args: args}.must(t))
		})
	}
	for _, same := range [][]string{{"--help"}, {"-h"}} {
		if got := (call{args: same}).must(t); got != (call{args: []string{"help"}}).must(t) {
			t.Errorf("maru %s differs from maru help", same[0])
		}
	}
}

// The document that lists the settings is made from them.
func TestConfigurationDocumentIsCurrent(t *testing.T) {
	golden(t, filepath.Join("..", "..", "docs", "configuration.md"), call{args: []string{"settings"}}.must(t))
}

// Each setting has the same name as a flag, in the environment and in the file,
// stands in a group, and says what it means.
func TestSettingsAreNamedAlike(t *testing.T) {
	p := parserFor(t, &cli{})
	flags := settingFlags(p.Model)
	if len(flags) < 25 {
		t.Fatalf("only %d settings found", len(flags))
	}
	for _, f := range flags {
		if want := "MARU_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")); len(f.Envs) != 1 || f.Envs[0] != want {
			t.Errorf("--%s has the environment variables %v, want %s", f.Name, f.Envs, want)
		}
		if f.Group == nil || f.Help == "" {
			t.Errorf("--%s has no group or no help", f.Name)
		}
	}
}

// The defaults of the command line are those of package node.
func TestDefaultsAreThoseOfNode(t *testing.T) {
	c := &cli{}
	if _, err := parserFor(t, c).Parse(nil); err != nil {
		t.Fatal(err)
	}
	got, err := c.Serve.settings()
	if err != nil {
		t.Fatal(err)
	}
	want := node.Defaults()
	if text(got) != text(want) {
		t.Errorf("a plain maru has\n%s\nwant\n%s", text(got), text(want))
	}
}

// Every command line in compose.yaml and the Dockerfile is one that maru takes,
// with settings that it would start with.
func TestDeploymentCommandLinesParse(t *testing.T) {
	all, err := deploy.Invocations(t.Context(), filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no command line found")
	}
	for _, in := range all {
		t.Run(in.Where, func(t *testing.T) {
			for name, value := range in.Env {
				t.Setenv(name, value)
			}
			c := &cli{}
			p := parserFor(t, c)
			for name := range in.Env {
				if !isEnvOfSetting(p.Model.Node.Children[0].Flags, name) && name != "MARU_SECRET" {
					t.Errorf("%s is no setting", name)
				}
			}
			ctx, err := p.Parse(in.Args)
			if err != nil {
				t.Fatalf("maru %s: %v", strings.Join(in.Args, " "), err)
			}
			if ctx.Command() != "serve" {
				return
			}
			s, err := c.Serve.settings()
			if err != nil {
				t.Fatal(err)
			}
			cfg := node.Config{Settings: s}
			if err := cfg.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if got := (call{args: []string{"version"}}).must(t); !strings.HasPrefix(got, "maru test go1.") {
		t.Errorf("maru version says %q", got)
	}
	if got := (call{args: []string{"version", "--json"}}).must(t); !strings.Contains(got, `"version": "test"`) {
		t.Errorf("maru version --json says %q", got)
	}
}

// quiet is a world in which nothing is shown.
func quiet(t *testing.T) *world {
	return &world{ctx: t.Context(), stdin: os.Stdin, stdout: io.Discard, stderr: io.Discard}
}

func parserFor(t *testing.T, c *cli) *kong.Kong {
	t.Helper()
	p, err := newParser(c, quiet(t), func(status int) { t.Fatalf("exit with status %d", status) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func isEnvOfSetting(flags []*kong.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(f *kong.Flag) bool { return slices.Contains(f.Envs, name) })
}

func text(s node.Settings) string { return fmt.Sprintf("%+v", s) }
