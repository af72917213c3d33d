// Package interop tests that interfaces of other projects can be wrapped.
package interop

import (
	"bytes"
	"flag"
	"fmt"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/txtar"

	"github.com/protectgen/protectgen/generator"
)

var (
	update  = flag.Bool("update", false, "rewrite what is expected, and the wrappers that are kept")
	compile = flag.Bool("compile", false, "have the go command compile and vet it all too, which takes minutes")
)

// variants are the ways in which the interfaces of package projects are
// wrapped. The directives that they have there stay.
var variants = []struct {
	name      string
	directive string // another one
	narrow    bool   // of the methods that a pool can serve, and no others
}{
	{"guard", "", false},
	{"pool", pooled, false},
	{"narrow", pooled, true},
	{"chain", chained, false},
}

const (
	pooled  = "//protect:pool size=4 overflow=2\n"
	chained = "//protect:fallback next\n"

	projects = "projects"
	emitted  = "projects/sql_protect.go"
	expects  = "testdata/expected.txtar"
)

// TestInterfacesOfOtherProjectsCanBeWrapped generates all wrappers in one
// module, and has what is emitted judged as the compiler and go vet would.
func TestInterfacesOfOtherProjectsCanBeWrapped(t *testing.T) {
	pkg := load(t, ".", "./"+projects, "-tags=protectgen")[0] // without what is emitted for it
	if len(pkg.Errors) > 0 {
		t.Fatal(pkg.Errors)
	}
	dir := module(t)
	declared := writeVariants(t, dir, pkg)
	exported := writeExported(t, dir, pkg)

	result, err := generator.Run(t.Context(), generator.Config{Dir: dir, Env: environment(t), Patterns: []string{"./..."}})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, result)
	loaded := map[string]*packages.Package{} // by folder, those with wrappers
	for _, p := range judged(t, dir) {
		if slices.ContainsFunc(result.Files, func(f generator.File) bool { return slices.Contains(p.GoFiles, f.Path) }) {
			loaded[strings.TrimPrefix(p.PkgPath, modulePath+"/")] = p
		}
	}
	t.Run("declared", func(t *testing.T) { checkVariants(t, dir, declared, result, loaded) })
	t.Run("exported", func(t *testing.T) { checkExported(t, exported, result, loaded) })
	if *compile {
		goCommand(t, dir, "build")
		goCommand(t, dir, "vet")
	}
}

// TestMistakesAreSeen makes sure that what is judged without the go command is
// judged at all.
func TestMistakesAreSeen(t *testing.T) {
	dir := module(t)
	for name, text := range map[string]string{
		"type": "var _ fmt.Stringer = fmt.Errorf(\"\")\n",
		"call": "func f() { var n int = \"\"; fmt.Print(n) }\n",
		"lock": "func f(m sync.Mutex) { fmt.Print() }\n",
		"fine": "func f(m *sync.Mutex) { fmt.Print() }\n",
	} {
		write(t, filepath.Join(dir, name, "a.go"), []byte("package p\n\nimport (\n\"fmt\"\n\"sync\"\n)\n\nvar _ sync.Mutex\n\n"+text))
	}
	for name, want := range map[string]string{"type": "missing method String", "call": "as int value", "lock": "copylocks: ", "fine": ""} {
		got := mistakes(t, load(t, dir, "./"+name))
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// writeVariants writes each interface of package projects in each variant, in
// a package VARIANT/INTERFACE of its own.
func writeVariants(t *testing.T, dir string, pkg *packages.Package) []*declaration {
	t.Helper()
	declared := declarations(t, pkg)
	for _, d := range declared {
		for _, v := range variants {
			if content := sources(v.directive, v.narrow, d); content != nil {
				write(t, filepath.Join(dir, v.name, d.name, "a.go"), content)
			}
		}
	}
	return declared
}

// checkVariants compares with testdata/expected.txtar, where a file
// VARIANT/INTERFACE has what is refused, warned about or left unprotected; what
// the guard says is not said again by the others.
//
// Invariant: whatever that archive has no file for is emitted without a word
// and protects every method.
func checkVariants(t *testing.T, dir string, declared []*declaration, result *generator.Result, loaded map[string]*packages.Package) {
	got := outcomes(t, dir, result)
	for _, d := range declared {
		if sources("", true, d) == nil {
			got["narrow/"+d.name] = "no method can be pooled\n"
		}
	}
	if *update {
		keep(t, dir, got)
	}
	compare(t, dir, got)
	checkUnprotected(t, declared, result)

	implemented := map[string]int{}
	for _, d := range declared {
		for _, v := range variants {
			at := v.name + "/" + d.name
			if p := loaded[at]; p != nil {
				d.checkImplements(t, p, v.directive)
				implemented[v.name]++
			} else if !slices.ContainsFunc(result.Diagnostics, func(diag generator.Diagnostic) bool {
				return diag.Severity == generator.Error && diag.Position.Filename == filepath.Join(dir, at, "a.go")
			}) && sources(v.directive, v.narrow, d) != nil {
				t.Errorf("%s: nothing was emitted, and nobody said why", at)
			}
		}
		if p := loaded[projects]; p == nil {
			t.Errorf("nothing was emitted for package projects")
		} else {
			d.checkImplements(t, p, "")
		}
	}
	t.Logf("%d interfaces; wrapped as %v", len(declared), implemented)
}

// writeExported writes all interfaces that the imports of package projects
// export: in exported/guard guarded and as a chain, in exported/narrow pooled
// as far as their methods can be. It returns them by folder.
func writeExported(t *testing.T, dir string, pkg *packages.Package) map[string][]*declaration {
	t.Helper()
	out := map[string][]*declaration{}
	add := func(at, directive string, narrow bool, all []*declaration) {
		if content := sources(directive, narrow, all...); content != nil {
			out[at] = all
			write(t, filepath.Join(dir, at, "a.go"), content)
		}
	}
	for _, imported := range pkg.Types.Imports() {
		all := exportedBy(imported)
		add("exported/guard/"+imported.Path(), chained, false, all)
		all = slices.DeleteFunc(slices.Clone(all), func(d *declaration) bool { return sources("", true, d) == nil })
		add("exported/narrow/"+imported.Path(), pooled, true, all)
	}
	return out
}

// checkExported makes sure that there is no exception.
func checkExported(t *testing.T, exported map[string][]*declaration, result *generator.Result, loaded map[string]*packages.Package) {
	for _, d := range result.Diagnostics {
		if d.Severity == generator.Error && strings.Contains(filepath.ToSlash(d.Position.Filename), "/exported/") {
			t.Error(d)
		}
	}
	wrapped := map[string]int{}
	for at, all := range exported {
		p, directive := loaded[at], chained
		if strings.HasPrefix(at, "exported/narrow/") {
			directive = pooled
		}
		if p == nil {
			t.Errorf("nothing was emitted for %s", at)
			continue
		}
		for _, d := range all {
			d.checkImplements(t, p, directive)
		}
		wrapped[directive] += len(all)
	}
	t.Logf("%d interfaces; %d of them pooled", wrapped[chained], wrapped[pooled])
	if wrapped[chained] < 420 || wrapped[pooled] < 277 {
		t.Error("there were more interfaces when this was written")
	}
}

// judged loads what there is in the module, and reports mistakes.
func judged(t *testing.T, dir string) []*packages.Package {
	t.Helper()
	loaded := load(t, dir, "./...")
	for _, m := range mistakes(t, loaded) {
		t.Error(m)
	}
	return loaded
}

// checkUnprotected makes sure that the methods of the guards that are not
// protected are those without an error and those that nobody else can declare
// by the names that they are written with; some of the latter have other names.
func checkUnprotected(t *testing.T, declared []*declaration, result *generator.Result) {
	t.Helper()
	got := map[string][]string{}
	for _, e := range result.Explanations {
		if name, ok := strings.CutPrefix(e.Package, modulePath+"/guard/"); ok && !e.Protected {
			got[name] = append(got[name], e.Method)
		}
	}
	for _, d := range declared {
		for m := range d.iface.Methods() {
			unprotected := slices.Contains(got[d.name], m.Name())
			switch signature, _ := declarable(m, nil); {
			case signature != "" && unprotected:
				t.Errorf("%s: %s is unprotected", d.name, m.Name())
			case !fails(m) && !unprotected:
				t.Errorf("%s: %s is protected", d.name, m.Name())
			}
		}
	}
}

// load loads packages with types. Of their dependencies, it reads declarations.
func load(t *testing.T, dir, pattern string, flags ...string) []*packages.Package {
	t.Helper()
	loaded, err := packages.Load(&packages.Config{
		Context: t.Context(), Dir: dir, Env: environment(t), BuildFlags: flags,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedTypes |
			packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedTypesInfo,
	}, pattern)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// mistakes returns what the compiler would refuse in the packages, and what the
// analyzers of go vet find in those without such a mistake.
func mistakes(t *testing.T, loaded []*packages.Package) []string {
	t.Helper()
	var out []string
	var sound []*packages.Package
	for _, p := range loaded {
		for _, e := range p.Errors {
			out = append(out, e.Error())
		}
		if len(p.Errors) == 0 {
			// On their own: what analyzers would like to know about functions
			// of the dependencies has not been read.
			alone := *p
			alone.Imports = nil
			sound = append(sound, &alone)
		}
	}
	graph, err := checker.Analyze(vet.Suite, sound, nil)
	if err != nil {
		t.Fatal(err)
	}
	for a := range graph.All() {
		if a.Err != nil {
			out = append(out, fmt.Sprintf("%v: %v", a, a.Err))
		}
		for _, d := range a.Diagnostics {
			out = append(out, fmt.Sprintf("%v: %s: %s", a.Package.Fset.Position(d.Pos), a.Analyzer.Name, d.Message))
		}
	}
	return out
}

// goCommand has the go command do something with all packages of the module,
// and with what they depend on.
func goCommand(t *testing.T, dir, does string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", does, "./...")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", cmd, err, out)
	}
}

// outcomes says of each folder what the result has to tell. Of what is long,
// as of redis.UniversalClient, it gives the first and the number.
func outcomes(t *testing.T, dir string, result *generator.Result) map[string]string {
	t.Helper()
	type group struct{ folder, why string }
	lines := map[string][]string{}
	methods := map[group][]string{}
	var order []group
	folder := func(file string) string {
		rel, err := filepath.Rel(dir, filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		return filepath.ToSlash(rel)
	}
	for _, d := range result.Diagnostics {
		if d.Position.Filename == "" {
			t.Fatal(d)
		}
		at := folder(d.Position.Filename)
		d.Position.Filename = ""
		lines[at] = append(lines[at], d.String()+"\n")
	}
	for _, e := range result.Explanations {
		why := "unprotected: " + e.Why
		if e.Protected {
			why = "without " + strings.Join(e.Without, ", ")
			if len(e.Without) == 0 {
				continue
			}
		} else if e.Why == "closes the pools" {
			continue
		}
		g := group{folder(e.Position.Filename), why}
		if methods[g] == nil {
			order = append(order, g)
		}
		methods[g] = append(methods[g], e.Method)
	}
	for _, g := range order {
		names := strings.Join(methods[g], " ")
		if n := len(methods[g]); n > 6 {
			names = fmt.Sprintf("%s and %d more", strings.Join(methods[g][:5], " "), n-5)
		}
		lines[g.folder] = append(lines[g.folder], fmt.Sprintf("%s: %s\n", names, g.why))
	}
	out := map[string]string{}
	for at, said := range lines {
		if variant, name, ok := strings.Cut(at, "/"); ok && variant != variants[0].name {
			guard := lines[variants[0].name+"/"+name]
			said = slices.DeleteFunc(slices.Clone(said), func(line string) bool { return slices.Contains(guard, line) })
		}
		if at != projects && !strings.HasPrefix(at, "exported/") && len(said) > 0 {
			out[at] = strings.Join(said, "")
		}
	}
	return out
}

// keep rewrites what the test compares with.
func keep(t *testing.T, dir string, got map[string]string) {
	t.Helper()
	archive := txtar.Archive{Comment: []byte("What is refused, warned about or left unprotected when package projects is wrapped.\n")}
	for _, at := range slices.Sorted(maps.Keys(got)) {
		archive.Files = append(archive.Files, txtar.File{Name: at, Data: []byte(got[at])})
	}
	write(t, expects, txtar.Format(&archive))
	content, err := os.ReadFile(filepath.Join(dir, emitted))
	if err != nil {
		t.Fatal(err)
	}
	write(t, emitted, content)
}

func compare(t *testing.T, dir string, got map[string]string) {
	t.Helper()
	archive, err := txtar.ParseFile(expects)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	for at, text := range got {
		if text != want[at] {
			t.Errorf("%s\n got:\n%swant:\n%s", at, text, want[at])
		}
	}
	for at, text := range want {
		if _, ok := got[at]; !ok {
			t.Errorf("%s\n got nothing, want:\n%s", at, text)
		}
	}
	fresh, err := os.ReadFile(filepath.Join(dir, emitted))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(emitted); err != nil || !bytes.Equal(kept, fresh) {
		t.Errorf("%s is not what is emitted; see go test . -update (%v)", emitted, err)
	}
}

// checkImplements makes sure that the package has a wrapper that is what it
// wraps, and the constructors that go with the directive.
func (d *declaration) checkImplements(t *testing.T, p *packages.Package, directive string) {
	t.Helper()
	scope := p.Types.Scope()
	instance := func(name string) types.Type {
		obj, ok := scope.Lookup(name).(*types.TypeName)
		if !ok {
			t.Errorf("%s has no type %s", p.PkgPath, name)
			return nil
		}
		named, ok := obj.Type().(*types.Named)
		if !ok || named.TypeParams().Len() == 0 {
			return obj.Type()
		}
		args := slices.Repeat([]types.Type{types.Typ[types.Int]}, named.TypeParams().Len())
		typ, err := types.Instantiate(nil, named, args, true)
		if err != nil {
			t.Error(err)
		}
		return typ
	}
	iface, wrapper := instance(d.name), instance("Protected"+d.name)
	if iface == nil || wrapper == nil {
		return
	}
	if it := iface.Underlying().(*types.Interface); it.NumMethods() == 0 || !types.Implements(types.NewPointer(wrapper), it) {
		t.Errorf("*%v does not implement %v", wrapper, iface)
	}
	if f, ok := scope.Lookup("NewProtected" + d.name).(*types.Func); !ok {
		t.Errorf("%s has no constructor of %v", p.PkgPath, wrapper)
	} else if got, want := takesFactory(f), strings.Contains(d.directives+directive, "//protect:pool"); got != want {
		t.Errorf("%v: pooled is %t, want %t", f, got, want)
	}
	if f, ok := scope.Lookup("NewFallback" + d.name).(*types.Func); ok != (directive == chained) || ok && !f.Signature().Variadic() {
		t.Errorf("%s: chained is %t", p.PkgPath, ok)
	}
}

func takesFactory(constructor *types.Func) bool {
	return strings.Contains(constructor.Signature().Params().String(), "/runtime.Factory[")
}

const modulePath = "github.com/protectgen/protectgen/interop"

// module writes a module with what this one requires, and its package projects.
func module(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", mod, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range f.Replace {
		root, err := filepath.Abs(r.New.Path)
		if err == nil {
			err = f.AddReplace(r.Old.Path, r.Old.Version, root, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if mod, err = f.Format(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "go.mod"), mod)
	files := append(handwritten(t), "go.sum")
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// apply brings the disk in line with a result.
func apply(t *testing.T, result *generator.Result) {
	t.Helper()
	changes, refused := result.Changes()
	for _, change := range changes {
		if d := change.Apply(); d != nil {
			refused = append(refused, *d)
		}
	}
	for _, d := range refused {
		t.Fatal(d)
	}
}
