package generator

import (
	"context"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"
)

const small = "package p\n\n//protect:limit 5/s\ntype A interface{ M() error }\n"

func TestRunningTwiceGivesTheSame(t *testing.T) {
	// given interfaces in many packages and files
	var files []txtar.File
	for _, name := range []string{"a/x.go", "a/y.go", "b/x.go", "b/x_test.go", "c/d/x.go"} {
		letter := strings.ToUpper(name[len(name)-4 : len(name)-3])
		files = append(files, txtar.File{Name: name, Data: []byte(strings.ReplaceAll(small, "type A", "type A"+letter))})
	}
	dir := module(t, files)
	cfg := Config{Dir: dir, Env: environment(), Patterns: []string{"./..."}}
	first, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Files) != len(files) {
		t.Fatalf("%d files, want %d: %v", len(first.Files), len(files), first.Diagnostics)
	}
	// when the output is there and it runs again
	for _, f := range first.Files {
		write(t, dir, strings.TrimPrefix(f.Path, dir), f.Content)
	}
	second, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// then nothing is different
	if !reflect.DeepEqual(first, second) {
		t.Errorf("first %+v\nsecond %+v", first, second)
	}
}

func TestTheWorkingDirectoryIsNotLookedAt(t *testing.T) {
	dir := module(t, []txtar.File{{Name: "p.go", Data: []byte(small)}})
	t.Chdir(t.TempDir())
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment()})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 1 || result.Files[0].Path != filepath.Join(dir, "p_protect.go") {
		t.Errorf("%+v", result)
	}
}

func TestFilesCanBePatterns(t *testing.T) {
	dir := module(t, []txtar.File{{Name: "p.go", Data: []byte(small)}})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"p.go"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 1 || result.Failed() {
		t.Errorf("%+v", result)
	}
}

func TestALinkToAFolderIsAPattern(t *testing.T) {
	dir := module(t, []txtar.File{{Name: "p/p.go", Data: []byte(small)}, {Name: "README.md"}})
	if err := os.Symlink("p", filepath.Join(dir, "link")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"./link"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 1 || result.Files[0].Path != filepath.Join(dir, "link", "p_protect.go") || result.Failed() {
		t.Errorf("%+v", result)
	}
	// A file is no package, and that is not passed over in silence.
	result, err = Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"./README.md"}})
	if err == nil && !result.Failed() {
		t.Errorf("%+v", result)
	}
}

func TestACancelledRunSaysSo(t *testing.T) {
	dir := module(t, []txtar.File{{Name: "p.go", Data: []byte(small)}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{Dir: dir, Env: environment()}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestAWorkspaceIsOneRun(t *testing.T) {
	dir := module(t, []txtar.File{
		{Name: "go.work", Data: []byte("go 1.26\n\nuse ./one\nuse ./two\n")},
		{Name: "one/go.mod", Data: []byte("module example.com/one\n\ngo 1.26\n")},
		{Name: "one/p.go", Data: []byte(small)},
		{Name: "two/go.mod", Data: []byte("module example.com/two\n\ngo 1.26\n")},
		{Name: "two/p.go", Data: []byte("package q\n\nimport \"example.com/one\"\n\n//protect:breaker\ntype B interface{ p.A }\n")},
	})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment("GOWORK=", "GOFLAGS="), Patterns: []string{"work"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 2 || result.Failed() {
		t.Errorf("%+v", result)
	}
}

func TestVendoredDependenciesAreRead(t *testing.T) {
	dir := module(t, []txtar.File{
		{Name: "go.mod", Data: []byte("module example.com/m\n\ngo 1.26\n\nrequire example.com/dep v1.0.0\n")},
		{Name: "go.sum", Data: nil},
		{Name: "vendor/modules.txt", Data: []byte("# example.com/dep v1.0.0\n## explicit; go 1.26\nexample.com/dep\n")},
		{Name: "vendor/example.com/dep/dep.go", Data: []byte("package dep\n\ntype I interface{ Get(*T) error }\n\ntype T struct{}\n")},
		{Name: "p.go", Data: []byte("package p\n\nimport \"example.com/dep\"\n\n//protect:breaker\ntype B interface{ dep.I }\n")},
	})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment("GOFLAGS=-mod=vendor"), Patterns: []string{"./..."}})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 1 || result.Failed() {
		t.Fatalf("%+v", result)
	}
	if content := string(result.Files[0].Content); !strings.Contains(content, `"example.com/dep"`) || strings.Contains(content, "vendor/") {
		t.Errorf("%s", content)
	}
}

func TestFilesWithCgoAreReadAsTheyWereWritten(t *testing.T) {
	const source = `package p

// int twice(int x) { return 2 * x; }
import "C"

func twice(x int) int { return int(C.twice(C.int(x))) }

//protect:limit 5/s key=id
type A interface {
	M(id int) error
	//protect:limit 5/s key=nope
	N(id int) error
}
`
	dir := module(t, []txtar.File{{Name: "p.go", Data: []byte(source)}})
	env := environment("CGO_ENABLED=1")
	result, err := Run(t.Context(), Config{Dir: dir, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Diagnostics) != 1 || result.Diagnostics[0].Position.String() != filepath.Join(dir, "p.go")+":11:26" {
		t.Fatalf("%+v", result.Diagnostics)
	}
	write(t, dir, "p.go", []byte(strings.Replace(source, "key=nope", "key=id", 1)))
	result, err = Run(t.Context(), Config{Dir: dir, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Files) != 1 || result.Files[0].Path != filepath.Join(dir, "p_protect.go") {
		t.Errorf("%+v", result)
	}
}

func TestLineDirectivesDoNotMoveTheOutput(t *testing.T) {
	dir := module(t, []txtar.File{{Name: "p.go", Data: []byte("//line elsewhere.y:100\n" + small + "\n//protect:limit 5\ntype B interface{ M() error }\n")}})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment()})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Diagnostics) != 1 || result.Diagnostics[0].Position.String() != filepath.Join(dir, "p.go")+":7:17" {
		t.Errorf("%v", result.Diagnostics)
	}
}

func TestUnreadableFilesAreAnError(t *testing.T) {
	if os.Getuid() == 0 {
		// Permissions do not bind root; a file that is a folder does.
		dir := module(t, nil)
		if _, err := read(dir); err == nil {
			t.Error("a folder was read")
		}
		return
	}
	dir := module(t, []txtar.File{{Name: "p.go", Data: []byte(small)}})
	if err := os.Chmod(filepath.Join(dir, "p.go"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := read(filepath.Join(dir, "p.go")); err == nil {
		t.Error("a file was read that may not be")
	}
}

func TestInspectingChangesNothingThatOthersRead(t *testing.T) {
	// given a package that several look at, as vet's analyzers do
	const source = `package p

import (
	"errors"
	"strings"
)

var ErrX = errors.New("x")

func tenant(s string) string { return strings.ToLower(s) }

func saved(s string, err error) error { return err }

//protect:breaker ignore=ErrX
type A interface {
	//protect:limit 5/s key=tenant(s)
	//protect:fallback saved
	M(s string) error
	//protect:limit 5
	N() error
}

// ProtectedA is what an earlier run wrote, and in the way of nothing.
`
	const written = "// Code generated by protectgen. DO NOT EDIT.\n\npackage p\n\ntype ProtectedA struct{}\n\nfunc NewProtectedA() {}\n"
	fset := token.NewFileSet()
	var files []*ast.File
	for name, content := range map[string]string{"a.go": source, "a_protect.go": written} {
		f, err := parser.ParseFile(fset, name, content, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Scopes: map[ast.Node]*types.Scope{}}
	pkg, err := (&types.Config{Importer: importer.Default()}).Check("p", fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	before := pkg.Scope().String()
	// when they do so at once (and the race detector watches)
	var wg sync.WaitGroup
	results := make([][]Diagnostic, 4)
	for i := range results {
		wg.Go(func() { results[i] = Inspect(fset, files, pkg, info) })
	}
	wg.Wait()
	// then each sees the one mistake, and the scope is what it was
	for _, diagnostics := range results {
		if len(diagnostics) != 1 || diagnostics[0].Position.String() != "a.go:19:18" {
			t.Errorf("%v", diagnostics)
		}
	}
	if after := pkg.Scope().String(); after != before {
		t.Errorf("the scope was %s and is %s", before, after)
	}
}

func TestInspectingWarnsOfWhatAWrapperHides(t *testing.T) {
	// given a package whose wrapper is there, as vet sees it
	const source = `package p

import "io"

//protect:breaker
type A interface{ M() error }

func ask(a A) {
	_, _ = a.(*ProtectedA)
	_, _ = a.(io.Closer)
}

func (p *ProtectedA) inside() { _, _ = p.A.(io.Reader) }
`
	const test = "package p\n\nfunc inTest(a A) { _ = a.(interface{ Fake() }) }\n"
	const written = "// Code generated by protectgen. DO NOT EDIT.\n\npackage p\n\ntype ProtectedA struct{ A }\n\nfunc again(a A) { _ = a.(interface{ Again() }) }\n"
	fset := token.NewFileSet()
	var files []*ast.File
	for _, f := range []txtar.File{{Name: "a.go", Data: []byte(source)}, {Name: "a_protect.go", Data: []byte(written)}, {Name: "a_test.go", Data: []byte(test)}} {
		file, err := parser.ParseFile(fset, f.Name, f.Data, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{
		Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Types: map[ast.Expr]types.TypeAndValue{}, Scopes: map[ast.Node]*types.Scope{},
	}
	pkg, err := (&types.Config{Importer: importer.Default()}).Check("p", fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	// when it is inspected
	diagnostics := Inspect(fset, files, pkg, info)
	// then what the wrapper is, what it asks itself, and what tests ask is fine
	const want = "a wrapped A is no io.Closer (a.go:10 finds none)"
	if len(diagnostics) != 1 || diagnostics[0].Severity != Warning || diagnostics[0].Message != want {
		t.Errorf("%v", diagnostics)
	}
}
