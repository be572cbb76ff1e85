package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// No SQL text is built from values. Every call that takes a statement is given a
// constant of this package or, in tx.go alone, a field or the rendering of one by
// dialect.text, which puts in placeholders only.
func TestStatementsAreConstants(t *testing.T) {
	// Position of the statement among the arguments, by the method's name.
	statement := map[string]int{
		"exec": 1, "row": 1, "rows": 2, "bulk": 4, "list": 3,
		"ExecContext": 1, "QueryContext": 1, "QueryRowContext": 1, "PrepareContext": 1,
		"Exec": 0, "Query": 0, "QueryRow": 0, "Prepare": 0,
	}
	files := parsePackage(t)
	constants := map[string]bool{}
	for _, f := range files {
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				for _, s := range g.Specs {
					for _, n := range s.(*ast.ValueSpec).Names {
						constants[n.Name] = true
					}
				}
			}
		}
	}
	calls := 0
	for name, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			i, ok := statement[sel.Sel.Name]
			if !ok {
				return true
			}
			if sel.Sel.Name == "Exec" && len(call.Args) == 2 { // pgx's, with a context
				i = 1
			}
			if i >= len(call.Args) {
				return true
			}
			calls++
			if !constantText(call.Args[i], constants, name == "tx.go") {
				t.Errorf("%s: the statement of %s is not a constant of the package", name, sel.Sel.Name)
			}
			return true
		})
	}
	if calls < 25 {
		t.Errorf("only %d statements were found: this test no longer sees them", calls)
	}
}

func constantText(arg ast.Expr, constants map[string]bool, wrapper bool) bool {
	switch a := arg.(type) {
	case *ast.BasicLit:
		return a.Kind == token.STRING
	case *ast.Ident:
		return constants[a.Name] || wrapper && (a.Name == "query" || a.Name == "text") // what the wrappers were given
	case *ast.SelectorExpr:
		return a.Sel.Name == "beginWrite" || a.Sel.Name == "beginRead"
	case *ast.CallExpr:
		sel, ok := a.Fun.(*ast.SelectorExpr)
		return wrapper && ok && sel.Sel.Name == "text" && constantText(a.Args[0], constants, true)
	}
	return false
}

func parsePackage(t *testing.T) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = f
	}
	return files
}
