package imports

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule says what a package may import besides the standard library, its test
// files excepted.
type rule struct {
	own    []string // packages of maru, without the module's name; "." is the root
	others []string // modules of others, or packages of them with all below
	any    bool     // whole clusters in one test, and what pins modules
}

// rules is the layout: imports go downwards only. A package that is not here has
// no place yet: give it one.
var rules = map[string]rule{
	".":                    {},
	"record":               {own: []string{"."}},
	"auth":                 {others: []string{"golang.org/x/crypto/argon2", "golang.org/x/text/unicode/norm", "github.com/ccojocar/zxcvbn-go/data"}},
	"internal/faultswitch": {},
	"internal/imports":     {},
	"home/fold":            {own: []string{".", "record", "internal/faultswitch"}},
	"home":                 {own: []string{".", "record", "home/fold", "auth", "internal/faultswitch"}, others: []string{"github.com/prometheus/client_golang/prometheus"}},
	"gateway": {own: []string{".", "record", "auth", "gateway/strictjson"}, others: []string{
		"github.com/prometheus/client_golang/prometheus", "golang.org/x/sync", "golang.org/x/text/unicode/norm", "golang.org/x/time/rate",
	}},
	"gateway/strictjson": {own: []string{"."}},
	"kafka":              {own: []string{"."}, others: []string{"github.com/twmb/franz-go"}},
	"kafka/embedded": {others: []string{
		"github.com/twmb/franz-go", "github.com/gofrs/flock", "github.com/klauspost/compress", "github.com/pierrec/lz4", "golang.org/x/sync", "golang.org/x/sys",
	}},
	"store": {own: []string{"."}, others: []string{
		"github.com/jackc/pgx", "github.com/pressly/goose", "modernc.org/sqlite", "github.com/gofrs/flock",
	}},
	"store/storetest": {own: []string{".", "store"}},
	"node": {
		own:    []string{".", "auth", "gateway", "home", "home/fold", "internal/faultswitch", "kafka", "kafka/embedded", "record", "store"},
		others: []string{"github.com/prometheus/client_golang/prometheus"},
	},
	"bench":    {own: []string{".", "auth", "kafka", "kafka/embedded"}},
	"cmd/maru": {own: []string{".", "auth", "bench", "gateway", "home", "kafka", "node"}, others: []string{"github.com/alecthomas/kong", "golang.org/x/sys"}},

	"deploy":               {others: []string{"github.com/compose-spec/compose-go"}},
	"internal/childproc":   {others: []string{"golang.org/x/sys"}},
	"internal/pgtest":      {own: []string{"deploy", "internal/childproc"}, others: []string{"github.com/jackc/pgx", "golang.org/x/sys"}},
	"internal/oracle":      {own: []string{".", "home/fold", "record"}},
	"internal/realkafka":   {own: []string{"deploy", "internal/childproc"}, others: []string{"golang.org/x/sync"}},
	"internal/testcluster": {any: true},
	"internal/soak":        {any: true},
	"internal/e2e":         {any: true},
	"internal/deps":        {any: true},
}

// Packages that stand above the server or beside it: what serves users may not
// contain them.
var outside = []string{"deploy", "internal/childproc", "internal/e2e", "internal/oracle", "internal/pgtest", "internal/realkafka", "internal/soak", "internal/testcluster", "store/storetest"}

// listed is what go list says of a package.
type listed struct {
	ImportPath string
	Dir        string
	Standard   bool
	Imports    []string
	GoFiles    []string
}

func list(t *testing.T, args ...string) (all []listed) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Standard,Imports,GoFiles"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

// short is the name of a package of maru in the rules.
func short(path string) (name string, own bool) {
	if path == "maru" {
		return ".", true
	}
	return strings.CutPrefix(path, "maru/")
}

func allowed(r rule, path string) bool {
	if name, own := short(path); own {
		return slices.Contains(r.own, name)
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(r.others, func(o string) bool { return path == o || strings.HasPrefix(path, o+"/") })
}

func TestImportsGoDownwards(t *testing.T) {
	packages := list(t, "./...")
	if len(packages) < 10 {
		t.Fatalf("go list names only %d packages", len(packages))
	}
	for _, p := range packages {
		name, _ := short(p.ImportPath)
		r, ok := rules[name]
		if !ok {
			t.Errorf("package %s has no place in the layout: add it to the rules", name)
		}
		for _, path := range p.Imports {
			if !r.any && !allowed(r, path) {
				t.Errorf("package %s may not import %s", name, path)
			}
		}
	}
}

// Each of these is reached through one package, so that it can be replaced, and
// guarded, in one place.
func TestOnlyImporters(t *testing.T) {
	for path, importers := range map[string][]string{
		"github.com/twmb/franz-go/pkg/kgo":   {"kafka", "kafka/embedded"},
		"github.com/twmb/franz-go/pkg/kadm":  {"kafka", "kafka/embedded"},
		"github.com/twmb/franz-go/pkg/kfake": {"kafka/embedded"},
		"modernc.org/sqlite":                 {"store"},
		"database/sql":                       {"store"},
		"net/http":                           {"bench", "gateway", "node", "cmd/maru"},
	} {
		for _, p := range list(t, "./...") {
			name, _ := short(p.ImportPath)
			if slices.Contains(p.Imports, path) && !slices.Contains(importers, name) && !rules[name].any && !slices.Contains(outside, name) {
				t.Errorf("package %s imports %s, which is for %s", name, path, strings.Join(importers, ", "))
			}
		}
	}
}

// The program contains neither what tests use nor a Go file that is not its own.
func TestProgramContainsNoTestPackages(t *testing.T) {
	for _, p := range list(t, "-deps", "./cmd/maru") {
		if name, own := short(p.ImportPath); own && slices.Contains(outside, name) || p.ImportPath == "testing" {
			t.Errorf("the program contains %s", p.ImportPath)
		}
	}
}

// The fold is a function of the log: what could make two homes fold the same log
// differently is not in it.
func TestFoldIsPure(t *testing.T) {
	p := list(t, "./home/fold")[0]
	if len(p.GoFiles) < 5 {
		t.Fatalf("only %d files found", len(p.GoFiles))
	}
	for _, file := range p.GoFiles {
		for _, fault := range impurities(t, filepath.Join(p.Dir, file), nil) {
			t.Error(fault)
		}
	}
}

// impure are packages, with all below them, that read or change the world.
var impure = []string{"context", "crypto/rand", "database", "io/fs", "log", "maps", "math/rand", "net", "os", "path/filepath", "runtime", "sync", "syscall", "unsafe", "testing"}

// impureCalls are functions of packages that are harmless otherwise.
var impureCalls = map[string][]string{
	"time": {"After", "AfterFunc", "Local", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"},
	"maru": {"NewCommandID"},
}

// impurities returns what in a file depends on more than its input. src replaces
// the file's text unless it is nil.
func impurities(t *testing.T, path string, src any) (faults []string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // by which a file calls a package
	for _, imp := range f.Imports {
		of, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := of[strings.LastIndex(of, "/")+1:]
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = of
		if slices.ContainsFunc(impure, func(p string) bool { return of == p || strings.HasPrefix(of, p+"/") }) || name == "." {
			faults = append(faults, fset.Position(imp.Pos()).String()+": imports "+of)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impureCalls[names[x.Name]], n.Sel.Name) {
				faults = append(faults, fset.Position(n.Pos()).String()+": uses "+x.Name+"."+n.Sel.Name)
			}
		case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
			faults = append(faults, fset.Position(n.Pos()).String()+": has goroutines or channels")
		}
		return true
	})
	return faults
}

// The test above finds what it looks for.
func TestImpuritiesAreFound(t *testing.T) {
	for src, want := range map[string]int{
		"package p\nimport \"time\"\nvar x = time.Now()":                                 1,
		"package p\nimport clock \"time\"\nfunc f() { f := clock.Since; _ = f }":         1,
		"package p\nimport \"time\"\nvar x = time.UnixMilli(0).In(time.UTC)":             0,
		"package p\nimport \"os\"":                                                       1,
		"package p\nimport \"math/rand/v2\"":                                             1,
		"package p\nimport . \"time\"":                                                   1,
		"package p\nfunc f() { go f() }":                                                 1,
		"package p\nfunc f(c chan int) { c <- 1 }":                                       1,
		"package p\nimport \"maru\"\nvar x = maru.NewCommandID()":                        1,
		"package p\nimport (\"sync\"; \"fmt\")\nvar x sync.Mutex; var y = fmt.Sprint(1)": 1,
	} {
		if got := impurities(t, "p.go", src); len(got) != want {
			t.Errorf("%q: %v, want %d", src, got, want)
		}
	}
}
