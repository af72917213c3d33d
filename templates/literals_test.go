package templates

import (
	"fmt"
	"go/token"
	"go/types"
	"math"
	"testing"
	"time"

	"github.com/dave/jennifer/jen"
)

func emitterOf(src ...types.Object) *emitter {
	pkg := types.NewPackage("example.com/p", "p")
	for _, obj := range src {
		pkg.Scope().Insert(obj)
	}
	return newEmitter(File{Package: "p", Path: "example.com/p", Types: pkg}, &imports{}, nil)
}

func TestDurationsAreWrittenInTheLargestUnit(t *testing.T) {
	e := emitterOf()
	for d, want := range map[time.Duration]string{
		0:                       "0",
		1:                       "time.Nanosecond",
		time.Hour:               "time.Hour",
		36 * time.Hour:          "36 * time.Hour",
		90 * time.Second:        "90 * time.Second",
		1500 * time.Millisecond: "1500 * time.Millisecond",
		time.Second + 1:         "1000000001 * time.Nanosecond",
		math.MaxInt64:           "runtime.Forever",
	} {
		if got := fmt.Sprintf("%#v", jen.Add(e.duration(d))); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestTheHeaderCombinesConstraints(t *testing.T) {
	for source, want := range map[string]string{
		"":                     "!protectgen",
		"linux":                "linux && !protectgen",
		"linux || darwin":      "(linux || darwin) && !protectgen",
		"!cgo && (a || b)":     "!cgo && (a || b) && !protectgen",
		"linux && !protectgen": "linux && !protectgen && !protectgen",
	} {
		got, err := header(source)
		if err != nil || got != Header+"\n\n//go:build "+want {
			t.Errorf("header(%q) = %q, %v", source, got, err)
		}
	}
	if _, err := header("linux ||"); err == nil {
		t.Error("half a constraint is accepted")
	}
}

func TestWhatAFileDeclaresIsTaken(t *testing.T) {
	s := packageScope(File{
		Types:    types.NewPackage("example.com/p", "p"),
		Wrappers: []Wrapper{{Name: "protectedW", Constructor: "newProtectedW", Fallback: "newFallbackW"}},
	}, nil)
	for _, name := range []string{"protectedW", "newProtectedW", "newFallbackW"} {
		if got := s.allocate(name); got == name {
			t.Errorf("%s is handed out", name)
		}
	}
}

func TestASelectorFollowsAPrimaryExpression(t *testing.T) {
	for text, want := range map[string]bool{
		"a": true, "a.b": true, "f(a)": true, "a[0]": true, "(a + b)": true, "T{}": true,
		"a + b": false, "-a": false, "*a": false, "&T{}": false, "a +": false,
	} {
		if got := primary(text); got != want {
			t.Errorf("primary(%s) = %v", text, got)
		}
	}
}

func TestInternalPackagesAreImportableFromTheirParentOnly(t *testing.T) {
	for _, c := range []struct {
		path, from string
		want       bool
	}{
		{"io", "example.com/a", true},
		{"example.com/a/internal", "example.com/a", true},
		{"example.com/a/internal/b", "example.com/a/c/d", true},
		{"example.com/a/internal/b", "example.com/ab", false},
		{"example.com/a/internal/b", "example.com/b", false},
		{"example.com/a/internals", "example.com/b", true},
		{"internal/abi", "example.com/b", false},
		{"vendor/golang.org/x/net", "example.com/b", false},
		{"example.com/a/vendor/b", "example.com/a", false},
	} {
		if got := importable(c.path, c.from); got != c.want {
			t.Errorf("importable(%s, %s) = %v", c.path, c.from, got)
		}
	}
}

func TestImportsAreNamedWithoutRegardToTheOrderOfUse(t *testing.T) {
	paths := []string{"text/template", "html/template", "time", runtimePath, "example.com/go-strange", "gopkg.in/yaml.v3", "example.com/x/v2"}
	names := []string{"template", "template", "time", "runtime", "strange", "yaml", "x"}
	var blocks []string
	for _, backwards := range []bool{false, true} {
		im := &imports{}
		for i := range paths {
			if backwards {
				i = len(paths) - 1 - i
			}
			im.use(paths[i], names[i])
		}
		s := newScope(nil)
		s.reserve("time")
		blocks = append(blocks, fmt.Sprintf("%#v", im.named(s).block()))
	}
	const want = `import (
	"html/template"
	texttemplate "text/template"
	stdtime "time"

	strange "example.com/go-strange"
	"example.com/x/v2"
	protect "github.com/protectgen/protectgen/runtime"
	yaml "gopkg.in/yaml.v3"
)`
	if blocks[0] != want || blocks[1] != want {
		t.Errorf("imports:\n%s\n%s\nwant\n%s", blocks[0], blocks[1], want)
	}
}

func TestTypesThatCannotBeWritten(t *testing.T) {
	other := types.NewPackage("example.com/other", "other")
	declare := func(name string) types.Type {
		return types.NewNamed(types.NewTypeName(token.NoPos, other, name, nil), types.NewStruct(nil, nil), nil)
	}
	field := types.NewField(token.NoPos, other, "hidden", types.Typ[types.Int], false)
	method := types.NewFunc(token.NoPos, other, "hidden", types.NewSignatureType(nil, nil, nil, nil, nil, false))
	for name, typ := range map[string]types.Type{
		"unexported":                     declare("hidden"),
		"inside another":                 types.NewMap(types.Typ[types.String], types.NewPointer(declare("hidden"))),
		"struct with a hidden field":     types.NewStruct([]*types.Var{field}, nil),
		"interface with a hidden method": types.NewInterfaceType([]*types.Func{method}, nil).Complete(),
		"untyped":                        types.Typ[types.UntypedNil],
		"invalid":                        types.Typ[types.Invalid],
	} {
		e := emitterOf()
		e.typ(typ)
		if e.err == nil {
			t.Errorf("%s: %v is written", name, typ)
		}
	}
	e := emitterOf()
	if e.typ(declare("Shown")); e.err != nil {
		t.Errorf("an exported type: %v", e.err)
	}
}

func TestAnAliasThatCannotBeNamedIsWrittenOut(t *testing.T) {
	other := types.NewPackage("example.com/other", "other")
	alias := types.NewAlias(types.NewTypeName(token.NoPos, other, "hidden", nil), types.NewSlice(types.Typ[types.Byte]))
	e := emitterOf()
	if got := fmt.Sprintf("%#v", e.typ(alias)); got != "[]uint8" || e.err != nil {
		t.Errorf("written %s, %v", got, e.err)
	}
}

func TestRedeclaredNamesAreWrittenOtherwiseOrRefused(t *testing.T) {
	var redeclared []types.Object
	for _, name := range []string{"byte", "rune", "any", "string"} {
		redeclared = append(redeclared, types.NewTypeName(token.NoPos, nil, name, types.Typ[types.Int]))
	}
	for want, typ := range map[string]types.Type{
		"uint8":       types.Universe.Lookup("byte").Type(),
		"int32":       types.Universe.Lookup("rune").Type(),
		"interface{}": types.Universe.Lookup("any").Type(),
	} {
		e := emitterOf(redeclared...)
		if got := fmt.Sprintf("%#v", e.typ(typ)); got != want || e.err != nil {
			t.Errorf("%v is written %s, %v", typ, got, e.err)
		}
	}
	e := emitterOf(redeclared...)
	if e.typ(types.Typ[types.String]); e.err == nil {
		t.Error("string is written in a package that declares it itself")
	}
}
