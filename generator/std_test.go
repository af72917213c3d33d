package generator

import (
	"fmt"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/txtar"
)

// TestInterfacesOfTheStandardLibraryCanBeWrapped declares every interface of
// some packages once more, as an alias, as a defined type or by embedding, and
// has the go command vet what is emitted for them.
func TestInterfacesOfTheStandardLibraryCanBeWrapped(t *testing.T) {
	loaded, err := packages.Load(&packages.Config{Context: t.Context(), Mode: packages.NeedName | packages.NeedTypes},
		"context", "database/sql/driver", "encoding", "fmt", "go/types", "hash", "io", "io/fs", "log/slog", "net", "net/http", "reflect", "sync", "testing")
	if err != nil {
		t.Fatal(err)
	}
	var imports, decls strings.Builder
	declared := 0
	for i, p := range loaded {
		fmt.Fprintf(&imports, "import p%d %q\n", i, p.PkgPath)
		for _, name := range p.Types.Scope().Names() {
			obj := p.Types.Scope().Lookup(name)
			if _, ok := obj.(*types.TypeName); !ok || !token.IsExported(name) || !wrappable(obj.Type()) {
				continue
			}
			declared++
			decls.WriteString("\n//protect:wrap\n")
			if declared%2 == 0 {
				decls.WriteString("//protect:fallback next\n")
			}
			form := []string{"type I%d = p%d.%s\n", "type I%d p%d.%s\n", "type I%d interface{ p%d.%s }\n"}[declared%3]
			fmt.Fprintf(&decls, form, declared, i, name)
		}
		fmt.Fprintf(&decls, "\nvar _ p%d.%s\n", i, anyType(p.Types))
	}
	if declared < 60 {
		t.Fatalf("%d interfaces were found", declared)
	}

	dir := goldenModule(t, []*golden{{name: "std", archive: &txtar.Archive{Files: []txtar.File{
		{Name: "std.go", Data: []byte("package std\n\n" + imports.String() + decls.String())},
	}}}})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"./..."}})
	if err != nil || result.Failed() {
		t.Fatal(err, result)
	}
	apply(t, result)
	content, err := os.ReadFile(filepath.Join(dir, "std", "std_protect.go"))
	if err != nil || strings.Count(string(content), "\nfunc NewProtected") != declared {
		t.Errorf("%d wrappers of %d (%v)", strings.Count(string(content), "\nfunc NewProtected"), declared, err)
	}
	goCommand(t, dir, "vet", "./...")
}

// TestWhatTheStandardLibraryLooksForExists holds the table against the
// library: a name that is not there would never be told of, or mislead.
func TestWhatTheStandardLibraryLooksForExists(t *testing.T) {
	loaded, err := packages.Load(&packages.Config{Context: t.Context(), Mode: packages.NeedName | packages.NeedTypes},
		"database/sql/driver", "io", "io/fs", "net", "net/http")
	if err != nil {
		t.Fatal(err)
	}
	find := func(name string) types.Type {
		for _, p := range loaded {
			if rest, ok := strings.CutPrefix(name, p.PkgPath+"."); ok && p.Types.Scope().Lookup(rest) != nil {
				return p.Types.Scope().Lookup(rest).Type()
			}
		}
		return nil
	}
	for _, w := range lookedFor {
		in := find(w.in)
		if in == nil || !wrappable(in) || slices.ContainsFunc(w.methods, func(m string) bool { return has(in, nil, m) }) {
			t.Errorf("%s is no interface that may lack %s", w.in, w.methods)
		}
		if strings.HasPrefix(w.name, "interface{") {
			if !strings.HasPrefix(w.name, "interface{"+w.methods[0]+"(") {
				t.Errorf("%s has no %s", w.name, w.methods[0])
			}
		} else if of := find(w.name); of == nil || !wrappable(of) || !has(of, nil, w.methods[0]) {
			t.Errorf("%s is no interface with %s", w.name, w.methods[0])
		}
	}
}

// wrappable reports whether t is an interface with methods and without type
// parameters.
func wrappable(t types.Type) bool {
	if named, ok := t.(*types.Named); ok && named.TypeParams().Len() > 0 {
		return false
	}
	it, ok := t.Underlying().(*types.Interface)
	return ok && it.IsMethodSet() && it.NumMethods() > 0
}

// anyType returns an exported type of pkg without type parameters.
func anyType(pkg *types.Package) string {
	for _, name := range pkg.Scope().Names() {
		obj, ok := pkg.Scope().Lookup(name).(*types.TypeName)
		if !ok || !obj.Exported() {
			continue
		}
		if named, ok := obj.Type().(*types.Named); ok && named.TypeParams().Len() == 0 {
			return name
		}
	}
	return ""
}
