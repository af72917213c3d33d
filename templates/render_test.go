package templates_test

import (
	"bytes"
	"errors"
	"go/format"
	"go/types"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/protectgen/protectgen/templates"
)

// shapes are interfaces that are hard to print. Each is wrapped, pooled and
// chained, and all of that must compile with the source.
var shapes = map[string]string{
	"plain": `
		import "context"
		type Report struct{}
		type W interface {
			Forecast(ctx context.Context, userID, city string) (*Report, error)
			Ping() error
		}`,
	"results in odd places": `
		import "context"
		type W interface {
			First(context.Context) (error, int)
			Two(context.Context) (a error, b error)
			Middle(int, context.Context) (int, error, string)
			Blank(_ context.Context, _, _ int) (_ int, _ error)
		}`,
	"variadic": `
		import "context"
		type W interface {
			Log(ctx context.Context, format string, args ...any) error
			All(...func(...int)) (n int, err error)
		}`,
	"names that emitted code would choose": `
		import "context"
		type W interface {
			A(p, ctx, next, err int, r0, guards string) (r1 int, _ error)
			B(protect context.Context, context, time string, W int) error
			C(nil, string, error1 int) (error, int)
		}`,
	"names of the package that emitted code would choose": `
		import "context"
		var p, ctx, next, err, rt, guards, pool, factory, impls, f int
		func protect() {}
		type W interface { A(context.Context) (int, error); Close() error }`,
	"methods with names of fields": `
		import "context"
		type W interface {
			W(context.Context) (int, error)
			Type() error
			Pool() error
			Guards() error
			pool() error
			forecast() error
			Forecast() error
			ID() error
			URLFor() error
			wrap() error
			impls() error
			empty() error
		}`,
	"unexported interface with a method of its name": `
		type w interface { W() error; w() error }`,
	"unexported interface with a method that is its name in capitals": `
		type w interface { W() error }`,
	"type literals": `
		import "unsafe"
		type W interface {
			A(func(a int, b ...string) (x, y int), func(), func() error) error
			B(chan int, <-chan int, chan<- int, chan (<-chan int), chan<- (<-chan int), <-chan (chan<- int)) error
			C(struct{ A, b int; X struct{} "json:\"a\" back:\"` + "`" + `\""}, struct{}, [3]*[]map[string][2]int) error
			D(interface{ A() int; B(x int) }, interface{}, any, unsafe.Pointer, byte, rune, uintptr, complex128) error
			E() (func() (int, error), error)
		}`,
	"packages of one name": `
		import (
			"net/url"
			html "html/template"
			"text/template"
			"time"
		)
		type W interface {
			A(*html.Template, *template.Template, time.Duration) (*url.URL, error)
			B(url *url.URL, time time.Time) error
		}`,
	"a package called like a type": `
		import x "example.com/any"
		type W interface {
			A(x.T, any) (y x.T, _ error)
			B(any x.T) error
		}`,
	"generic": `
		import "context"
		type Number interface { ~int | ~float64 }
		type W[K comparable, V any, N Number, L interface{ ~[]V }] interface {
			Get(ctx context.Context, k K) (V, error)
			Put(ctx context.Context, k K, v V, n N, l L) (W[K, V, N, L], error)
			Len() int
			Close() error
		}`,
	"generic with literal constraints": `
		type W[P *int, Q interface{ *int | *string }, R ~int | ~string, S interface{ Less(S) bool }] interface {
			Get(P, Q, R, S) (int, error)
			W(P) (string, error)
		}`,
	"a constraint that looks like the length of an array": `
		type W[P *int,] interface { Get(P) error }`,
	"a type parameter with the name of the wrapper": `
		type W[ProtectedW, NewProtectedW, NewFallbackW any] interface { Get(ProtectedW, NewProtectedW, NewFallbackW) error }`,
	"all names for a receiver": `
		var p, w, g, protected int
		type W interface { Get(protected int) (int, error) }`,
	"type parameters with names of other things": `
		import "context"
		type T struct{}
		type W[_ any, context_ any, protect any, p any, T any, error1 any] interface {
			Get(context.Context, protect, T) (p, error)
		}`,
	"aliases": `
		import "context"
		type Ctx = context.Context
		type Err = error
		type Map[K comparable] = map[K]int
		type W = interface {
			Get(ctx Ctx, m Map[string], a any) (int, Err)
		}`,
	"alias of another package's interface": `
		import "io"
		type W = io.ReadCloser`,
	"defined from another package's interface": `
		import "io"
		type W io.ReadCloser`,
	"generic alias": `
		type Store[K comparable, V any] interface { Get(K) (V, error) }
		type W[V any] = Store[string, V]`,
	"unexported methods of another package": `
		import "testing"
		type W interface {
			testing.TB
			Do() error
		}`,
	"embedded": `
		import ("context"; "io"; "fmt")
		type E interface { error; fmt.Stringer; Close() error }
		type W interface { E; io.Closer; context.Context; Reset() error }`,
	"redeclared": `
		type byte struct{}
		type rune struct{}
		type any struct{}
		func min() {}
		const iota = 1
		type W interface { A([]uint8, int32, any, byte, interface{}) (rune, error) }`,
	"rewrapped": `
		import "context"
		type W interface {
			With(name string) W
			Next(ctx context.Context) (W, error)
			Both() (W, bool)
			wrap() W
		}`,
	"parameters with names of receivers": `
		type W interface {
			A(f, p int) error
			B(chain, protected string) (c, w, g error)
			C() error
		}`,
	"no methods": `type W interface{}`,
}

// variants of a wrapper. A shape that cannot have one says so by its methods.
var variants = map[string]func(*templates.Wrapper) bool{
	"plain": func(*templates.Wrapper) bool { return true },
	"fallback": func(w *templates.Wrapper) bool {
		w.Fallback = "NewFallback" + w.Interface.Name()
		return true
	},
	"pool": func(w *templates.Wrapper) bool {
		w.Pools = []templates.Pool{{Name: "w.w", Policy: pool}}
		return poolable(w)
	},
	"pools": func(w *templates.Wrapper) bool {
		w.Pools = []templates.Pool{{Name: "read-only", Field: "read-only", Policy: pool}, {Name: "read.only", Field: "read.only", Policy: pool}}
		for i := range w.Methods {
			w.Methods[i].Pool = i % 2
		}
		return poolable(w)
	},
}

func poolable(w *templates.Wrapper) bool {
	return !slices.ContainsFunc(w.Methods, func(m templates.Method) bool { return m.Error < 0 })
}

var receiver = regexp.MustCompile(`(?m)^func \((\w+) \*(\w+)`)

func TestEmittedCodeCompiles(t *testing.T) {
	for name, src := range shapes {
		for variant, change := range variants {
			t.Run(name+"/"+variant, func(t *testing.T) {
				src := "package shape\n" + src
				pkg := check(t, "example.com/shape", src)
				w := wrapperOf(pkg)
				if !change(&w) {
					return
				}
				out := render(t, pkg, w)
				check(t, "example.com/shape", src, string(out))
				if formatted, err := format.Source(out); err != nil || !bytes.Equal(formatted, out) {
					t.Errorf("gofmt changes the file (%v):\n%s", err, out)
				}
				receivers := map[string]string{}
				for _, m := range receiver.FindAllStringSubmatch(string(out), -1) {
					if other := receivers[m[2]]; other != "" && other != m[1] {
						t.Errorf("methods of %s have receivers %s and %s", m[2], other, m[1])
					}
					receivers[m[2]] = m[1]
				}
			})
		}
	}
}

func render(t *testing.T, pkg *types.Package, wrappers ...templates.Wrapper) []byte {
	t.Helper()
	out, err := templates.Render(templates.File{
		Package: pkg.Name(), Path: pkg.Path(), Types: pkg, Wrappers: wrappers,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheSameModelGivesTheSameBytes(t *testing.T) {
	src := "package shape\n" + shapes["packages of one name"]
	pkg := check(t, "example.com/shape", src)
	first := render(t, pkg, wrapperOf(pkg))
	for range 5 {
		pkg := check(t, "example.com/shape", src)
		if again := render(t, pkg, wrapperOf(pkg)); !bytes.Equal(first, again) {
			t.Fatalf("first\n%s\nthen\n%s", first, again)
		}
	}
}

func TestNothingHidesWhatAnExpressionMentions(t *testing.T) {
	src := `package shape
		func next(string) string { return "" }
		type W interface {
			Do(len, p string) error
		}`
	pkg := check(t, "example.com/shape", src)
	w := wrapperOf(pkg)
	// key=next(p)[:len(p)]: the parameter len would hide the function.
	w.Methods[0].Entity = &templates.Entity{Expr: []templates.Term{
		{Text: "next"}, {Text: "("}, {Param: 2}, {Text: ")[:len("}, {Param: 2}, {Text: ")]"},
	}}
	out, err := templates.Render(templates.File{
		Package: "shape", Path: pkg.Path(), Types: pkg, Used: []string{"len"}, Wrappers: []templates.Wrapper{w},
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "example.com/shape", src, string(out))
}

func TestCommentsNameTheRuntimeAsTheFileDoes(t *testing.T) {
	pkg := check(t, "example.com/shape", "package shape\ntype W interface { Do() error }; func protect() {}")
	for _, pools := range [][]templates.Pool{nil, {{Name: "w", Policy: pool}}} {
		w := wrapperOf(pkg)
		w.Pools, w.Fallback = pools, "NewFallbackW"
		out, err := templates.Render(templates.File{Package: "shape", Path: pkg.Path(), Types: pkg, Wrappers: []templates.Wrapper{w}})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{" protectgen.Default()", " protectgen.ErrAllFailed"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("no%s in\n%s", want, out)
			}
		}
	}
}

func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	for _, c := range []struct {
		name, src string
		change    func(*templates.File)
		want      templates.Error
		because   string
	}{
		{
			"a pooled method without an error result", `type W interface { Name() string }`,
			func(f *templates.File) { f.Wrappers[0].Pools = []templates.Pool{{Name: "w", Policy: pool}} },
			templates.Error{Wrapper: "ProtectedW", Method: "Name"}, "it has no error result",
		},
		{
			"a package that takes nil", `type W interface { Do() error }; const nil = 0`,
			func(*templates.File) {},
			templates.Error{Wrapper: "ProtectedW"}, "declares nil itself",
		},
		{
			"half a constraint", `type W interface { Do() error }`,
			func(f *templates.File) { f.Constraint = "linux ||" },
			templates.Error{}, "build constraint",
		},
		{
			"a setting of an unknown type", `type W interface { Do() error }`,
			func(f *templates.File) {
				f.Wrappers[0].Methods[0].Policy = []templates.Section{{Field: "Limit", Type: "LimitPolicy", Fields: []templates.Field{{Name: "Tokens", Value: 'x'}}}}
			},
			templates.Error{Wrapper: "ProtectedW", Method: "Do"}, "int32",
		},
		{
			"half an expression", `type W interface { Do() error }`,
			func(f *templates.File) {
				f.Wrappers[0].Methods[0].Entity = &templates.Entity{Expr: []templates.Term{{Text: "("}}}
			},
			templates.Error{}, "while formatting source",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			pkg := check(t, "example.com/shape", "package shape\n"+c.src)
			f := templates.File{Package: "shape", Path: pkg.Path(), Types: pkg, Wrappers: []templates.Wrapper{wrapperOf(pkg)}}
			c.change(&f)
			out, err := templates.Render(f)
			e, ok := errors.AsType[*templates.Error](err)
			if !ok || e.Wrapper != c.want.Wrapper || e.Method != c.want.Method || !strings.Contains(e.Error(), c.because) || strings.Contains(e.Error(), "\n") {
				t.Errorf("error %#v", err)
			}
			if out != nil {
				t.Errorf("written all the same:\n%s", out)
			}
		})
	}
}
