package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// documents are the Markdown files of the repository, by path from its root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root(t), filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root(t), path)
			if err != nil {
				t.Fatal(err)
			}
			docs[name] = string(b)
		}
	}
	if len(docs) < 10 {
		t.Fatalf("only %d documents found", len(docs))
	}
	return docs
}

// sources is all Go code of the repository; tests says of which files.
func sources(t *testing.T, tests bool) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root(t):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") != tests:
			return nil
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

var (
	mdLink  = regexp.MustCompile(`\]\(([^)#:]+)\)`)
	goFile  = regexp.MustCompile("`([a-z][a-z/0-9_]*\\.go)`")
	goTest  = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	aSwitch = regexp.MustCompile("switch(?:es)? ((?:`[a-z-]+`(?:, )?)+)")
	quoted  = regexp.MustCompile("`([a-z-]+)`")
	metric  = regexp.MustCompile(`maru_(?:home|gateway|http|producer)_[a-z_]+`)
	mdRoute = regexp.MustCompile("\\| `([A-Z]+ /[^`]*)` \\|")
	goRoute = regexp.MustCompile(`\{"([A-Z]+)", "(/[^"]*)", (?:system|anonymous|signedIn)`)
	aFlag   = regexp.MustCompile("`(--[a-z-]+)[^`]*`")
)

// What documents name is there.
func TestDocumentsNameWhatExists(t *testing.T) {
	testCode, steps := sources(t, true), readFile(t, "internal/faultswitch/steps.go")
	flags := map[string]bool{"--describe": true} // of Kafka's tools
	collectFlags(parserFor(t, &cli{}).Model.Node, flags)
	for name, text := range documents(t) {
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root(t), filepath.Dir(name), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
		for _, m := range goFile.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root(t), filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s: %v", name, m[1], err)
			}
		}
		for _, m := range goTest.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(testCode, "func "+m[1]+"(") {
				t.Errorf("%s names %s, which is no test", name, m[1])
			}
		}
		for _, m := range aSwitch.FindAllStringSubmatch(text, -1) {
			for _, s := range quoted.FindAllStringSubmatch(m[1], -1) {
				if !strings.Contains(steps, `"`+s[1]+`"`) {
					t.Errorf("%s names the switch %s, which does not exist", name, s[1])
				}
			}
		}
		for _, m := range aFlag.FindAllStringSubmatch(text, -1) {
			if !flags[m[1]] {
				t.Errorf("%s names %s, which is no flag", name, m[1])
			}
		}
	}
}

// collectFlags adds the flags of a command and of those under it.
func collectFlags(n *kong.Node, flags map[string]bool) {
	for _, f := range n.Flags {
		flags["--"+f.Name] = true
	}
	for _, child := range n.Children {
		collectFlags(child, flags)
	}
}

// The operators' page has every metric, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	documented := metric.FindAllString(readFile(t, "docs/operations.md"), -1)
	inCode := metric.FindAllString(sources(t, false), -1)
	if len(inCode) < 20 {
		t.Fatalf("only %d metrics found", len(inCode))
	}
	compare(t, "metric", documented, inCode)
}

// The protocol page has every route, and no other.
func TestRoutesAreDocumented(t *testing.T) {
	var documented, inCode []string
	for _, m := range mdRoute.FindAllStringSubmatch(readFile(t, "docs/protocol.md"), -1) {
		documented = append(documented, m[1])
	}
	for _, m := range goRoute.FindAllStringSubmatch(readFile(t, "gateway/routes.go"), -1) {
		inCode = append(inCode, m[1]+" "+m[2])
	}
	if len(inCode) < 10 {
		t.Fatalf("only %d routes found", len(inCode))
	}
	compare(t, "route", documented, inCode)
}

func compare(t *testing.T, what string, documented, inCode []string) {
	t.Helper()
	for _, x := range inCode {
		if !slices.Contains(documented, x) {
			t.Errorf("%s %s is not documented", what, x)
		}
	}
	for _, x := range documented {
		if !slices.Contains(inCode, x) {
			t.Errorf("%s %s is documented and does not exist", what, x)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
