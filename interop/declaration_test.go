package interop

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// declaration is an interface that is to be wrapped.
type declaration struct {
	name       string
	directives string // its doc comment, with the last line's end
	parameters string // of types, in their brackets
	body       string // what it embeds
	imports    map[string]string
	iface      *types.Interface
}

// declarations returns the interfaces that package projects wraps.
func declarations(t *testing.T, pkg *packages.Package) []*declaration {
	t.Helper()
	var all []*declaration
	for _, file := range pkg.Syntax {
		name := pkg.Fset.Position(file.Package).Filename
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text := func(from, to token.Pos) string {
			return string(content[pkg.Fset.Position(from).Offset:pkg.Fset.Position(to).Offset])
		}
		for _, decl := range file.Decls {
			g := decl.(*ast.GenDecl)
			if g.Tok != token.TYPE {
				continue
			}
			spec := g.Specs[0].(*ast.TypeSpec)
			d := &declaration{
				name:       spec.Name.Name,
				directives: text(g.Doc.Pos(), g.Pos()),
				parameters: text(spec.Name.End(), spec.Type.Pos()),
				body:       text(spec.Type.Pos(), spec.End()),
				imports:    map[string]string{},
				iface:      pkg.Types.Scope().Lookup(spec.Name.Name).Type().Underlying().(*types.Interface),
			}
			ast.Inspect(spec, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					if name, ok := pkg.TypesInfo.Uses[id].(*types.PkgName); ok {
						d.imports[name.Imported().Path()] = name.Name()
					}
				}
				return true
			})
			all = append(all, d)
		}
	}
	return all
}

// handwritten returns the files of package projects that were not emitted.
func handwritten(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(projects + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_protect.go") })
}

// exportedBy returns all interfaces with methods that an imported package exports,
// declared in one of three forms.
func exportedBy(pkg *types.Package) []*declaration {
	var all []*declaration
	for _, name := range pkg.Scope().Names() {
		obj, ok := pkg.Scope().Lookup(name).(*types.TypeName)
		if !ok || !obj.Exported() {
			continue
		}
		if generic, ok := obj.Type().(interface{ TypeParams() *types.TypeParamList }); ok && generic.TypeParams().Len() > 0 {
			continue
		}
		it, ok := obj.Type().Underlying().(*types.Interface)
		if !ok || !it.IsMethodSet() || it.NumMethods() == 0 {
			continue
		}
		d := &declaration{name: name, parameters: " ", imports: map[string]string{pkg.Path(): "p0"}, iface: it}
		d.directives = "//protect:wrap\n"
		for m := range it.Methods() {
			if signature, _ := declarable(m, nil); signature != "" {
				d.directives = "//protect:breaker failures=5\n"
			}
		}
		d.body = fmt.Sprintf([]string{"= p0.%s", "p0.%s", "interface{ p0.%s }"}[len(all)%3], name)
		all = append(all, d)
	}
	return all
}

// sources returns a package with the interfaces alone, each with one more
// directive unless it has that. Narrow, they have only the methods that a pool
// can serve; one without any is left out, and there is no source for none.
func sources(directive string, narrow bool, declared ...*declaration) []byte {
	imports := map[string]string{}
	var decls strings.Builder
	for _, d := range declared {
		body := d.body
		if narrow {
			if body = d.poolable(imports); body == "" {
				continue
			}
		} else {
			maps.Copy(imports, d.imports)
		}
		more := directive
		if name, _, _ := strings.Cut(directive, " "); name != "" && strings.Contains(d.directives, name) {
			more = ""
		}
		fmt.Fprintf(&decls, "\n%s%stype %s%s%s\n", d.directives, more, d.name, d.parameters, body)
	}
	if decls.Len() == 0 {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("package p\n\n")
	for _, path := range slices.Sorted(maps.Keys(imports)) {
		fmt.Fprintf(&b, "import %s %s\n", imports[path], strconv.Quote(path))
	}
	b.WriteString(decls.String())
	return b.Bytes()
}

// poolable returns an interface with the methods that a pool can serve, and
// adds what it needs to the imports.
func (d *declaration) poolable(imports map[string]string) string {
	var b strings.Builder
	for m := range d.iface.Methods() {
		if signature, used := declarable(m, imports); signature != "" {
			maps.Copy(imports, used)
			fmt.Fprintf(&b, "\t%s%s\n", m.Name(), strings.TrimPrefix(signature, "func"))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "interface {\n" + b.String() + "}"
}

// fails reports whether a method's last result is an error.
func fails(m *types.Func) bool {
	results := m.Signature().Results()
	n := results.Len()
	return n > 0 && types.Identical(results.At(n-1).Type(), types.Universe.Lookup("error").Type())
}

var unexported = regexp.MustCompile(`\bp[0-9]+\.[a-z]`)

// declarable returns the signature of a method that fails with an error and
// can be declared by others, and what it needs besides the imports.
func declarable(m *types.Func, imports map[string]string) (signature string, used map[string]string) {
	if !m.Exported() || !fails(m) {
		return "", nil
	}
	used = map[string]string{}
	signature = types.TypeString(m.Signature(), func(p *types.Package) string {
		if p.Name() == projects {
			return ""
		}
		name, ok := imports[p.Path()]
		if !ok {
			name, ok = used[p.Path()]
		}
		if !ok {
			name = fmt.Sprintf("p%d", len(imports)+len(used))
			used[p.Path()] = name
		}
		return name
	})
	for p := range used {
		if slices.Contains(strings.Split(p, "/"), "internal") {
			return "", nil
		}
	}
	if unexported.MatchString(signature) {
		return "", nil
	}
	return signature, used
}
