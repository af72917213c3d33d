package templates_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// compiled finds the export data of the packages that sources of these tests
// and the files emitted for them import.
var compiled = sync.OnceValues(func() (map[string]string, error) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}",
		"context", "errors", "html/template", "io", "net/url", "strconv", "testing", "text/template", "time",
		"github.com/protectgen/protectgen/runtime").Output()
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[path] = file
	}
	return files, err
})

// check type-checks the files of a package.
func check(t *testing.T, path string, sources ...string) *types.Package {
	t.Helper()
	files, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var parsed []*ast.File
	for i, src := range sources {
		f, err := parser.ParseFile(fset, fmt.Sprintf("%d.go", i), src, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		parsed = append(parsed, f)
	}
	conf := types.Config{
		GoVersion: "go1.26",
		Importer: withAny{importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
			return os.Open(files[path])
		})},
	}
	pkg, err := conf.Check(path, fset, parsed, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, sources[len(sources)-1])
	}
	return pkg
}

// withAny finds one package more: any, with a type T.
type withAny struct{ types.Importer }

func (i withAny) Import(path string) (*types.Package, error) {
	if path == "example.com/any" {
		return packageAny(), nil
	}
	return i.Importer.Import(path)
}

var packageAny = sync.OnceValue(func() *types.Package {
	p := types.NewPackage("example.com/any", "any")
	name := types.NewTypeName(token.NoPos, p, "T", nil)
	types.NewNamed(name, types.NewStruct(nil, nil), nil)
	p.Scope().Insert(name)
	p.MarkComplete()
	return p
})
