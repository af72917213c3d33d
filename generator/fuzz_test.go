package generator

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/protectgen/protectgen/templates"
)

// inProcess generates for a package of one file without the go command, so
// that a fuzzer can do it a thousand times a second. It is not safe for
// concurrent use: importing is not.
type inProcess struct{ importer types.Importer }

var newInProcess = sync.OnceValues(func() (*inProcess, error) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}",
		"context", "errors", "fmt", "io", "iter", "strconv", "strings", "time", runtimePath).Output()
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[path] = file
	}
	return &inProcess{importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}, nil
})

// check parses and type-checks files of package p.
func (in *inProcess) check(files map[string][]byte) (*source, error) {
	s := &source{path: "example.com/p", fset: token.NewFileSet(), info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{}, Scopes: map[ast.Node]*types.Scope{},
	}}
	var syntax []*ast.File
	for name, content := range files {
		file, err := parser.ParseFile(s.fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		syntax = append(syntax, file)
		s.files = append(s.files, &sourceFile{path: name, file: file, annotated: true, wanted: true})
	}
	var err error
	s.types, err = (&types.Config{Importer: in.importer, GoVersion: "go1.26"}).Check(s.path, s.fset, syntax, s.info)
	return s, err
}

// generate returns what comes of a source, which has to be one that compiles.
// Whatever is emitted is formatted, is the same each time, and compiles beside
// the source.
func (in *inProcess) generate(t *testing.T, content []byte) ([]File, []Diagnostic) {
	t.Helper()
	var files []File
	var said []Diagnostic
	for again := range 2 {
		s, err := in.check(map[string][]byte{"p.go": content})
		if err != nil {
			t.Fatalf("%v\n%s", err, content)
		}
		r := newReporter()
		models := resolve([]*source{s}, across{}, r)
		emitted := render(models, r)
		if r.failed() {
			emitted = nil
		}
		switch {
		case again == 0:
			files, said = emitted, r.diagnostics
		case fmt.Sprint(said) != fmt.Sprint(r.diagnostics):
			t.Fatalf("it says\n%v\nand then\n%v\n%s", said, r.diagnostics, content)
		case fmt.Sprint(files) != fmt.Sprint(emitted):
			t.Fatalf("it emits\n%s\nand then\n%s\n%s", files, emitted, content)
		}
	}
	lines := bytes.Count(content, []byte("\n")) + 1
	for _, d := range said {
		if d.Message == "" || strings.ContainsAny(d.Message+d.Hint, "\n\r") {
			t.Fatalf("%q %q is no line of text\n%s", d.Message, d.Hint, content)
		}
		if d.Position.Filename != "p.go" || d.Position.Line < 1 || d.Position.Line > lines || d.Position.Column < 1 {
			t.Fatalf("%v stands nowhere\n%s", d, content)
		}
	}
	all := map[string][]byte{"p.go": content}
	for _, f := range files {
		all[f.Path] = f.Content
		if formatted, err := format.Source(f.Content); err != nil || !bytes.Equal(formatted, f.Content) {
			t.Fatalf("not formatted (%v)\n%s\n%s", err, f.Content, content)
		}
	}
	if len(files) == 0 {
		return files, said
	}
	if _, err := in.check(all); err != nil {
		t.Fatalf("%v\n%s\n%s", err, files[0].Content, content)
	}
	return files, said
}

// entropy is a source of numbers that a fuzzer steers: each takes a byte.
type entropy struct {
	bytes []byte
	rest  rand.Source
}

func (e *entropy) Uint64() uint64 {
	if len(e.bytes) == 0 {
		return e.rest.Uint64()
	}
	b := e.bytes[0]
	e.bytes = e.bytes[1:]
	return uint64(b) << 56
}

// FuzzInterfaces makes random interfaces of random types, as
// TestRandomInterfacesCanBeWrapped does, out of the fuzzer's bytes.
func FuzzInterfaces(f *testing.F) {
	for seed := range uint64(20) {
		data := make([]byte, 400)
		r := rand.New(rand.NewPCG(seed, seed))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := newInProcess()
		if err != nil {
			t.Fatal(err)
		}
		r := &randomSource{Rand: rand.New(&entropy{data, rand.NewPCG(1, 2)})}
		content := []byte(strings.Replace(r.file(), "package a", "package p", 1))
		files, said := in.generate(t, content)
		for _, d := range said {
			if d.Severity == Error {
				t.Fatalf("%v\n%s", d, content)
			}
		}
		if len(files) != 1 {
			t.Fatalf("%d files\n%s", len(files), content)
		}
		for _, name := range regexp.MustCompile(`(?m)^type (Iface\d)`).FindAllSubmatch(content, -1) {
			if !bytes.Contains(files[0].Content, append([]byte("\ntype Protected"), name[1]...)) {
				t.Fatalf("%s has no wrapper\n%s", name[1], content)
			}
		}
	})
}

// fuzzedSource is what FuzzDirectives puts directives into: functions of every
// signature that a key may want, and errors and parameters of several kinds.
const fuzzedSource = `package p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

var ErrNotFound = errors.New("not found")

type Problem struct{ Code int }

func (*Problem) Error() string { return "" }

type Tenant struct{ ID, name string }

func (t Tenant) String() string { return t.ID }

type Request struct {
	Tenant *Tenant
	N      uint16
	Tags   map[string][]string
	io.Reader
}

type Reply struct{}

func load() float64 { return 1 }

func judge(error) protect.Outcome { return protect.OutcomeFailure }

func broken(error) bool { return true }

func tenant(ctx context.Context) string { return "" }

func generic[T any](t T) string { return fmt.Sprint(t) }

func fallback(ctx context.Context, req *Request, names []string, err error) (*Reply, error) { return nil, err }

func Fallback[A, B, C any](a A, b B, c C, err error) (*Reply, error) { return nil, err }

var _ = strings.ToLower

const constant = "c"

%s
type API interface {
	%s
	Get(ctx context.Context, req *Request, names ...string) (*Reply, error)
	Put(ctx context.Context, userID string, n int, tenant Tenant) error
	Wait(d time.Duration) (reply Reply, err error)
	Len() int
	Close() error
}

%s
type Other[K comparable, V fmt.Stringer] interface {
	%s
	Of(ctx context.Context, k K, v V) (V, error)
}
`

// FuzzDirectives puts what the fuzzer makes up in the place of directives. A
// mistake is reported where it stands; what is accepted is generated.
func FuzzDirectives(f *testing.F) {
	var lines []string
	for _, pattern := range []string{"../testdata/*/*.txtar", "directive/schema.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatal("no cases", err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`//protect:([^"\r\n]*)`).FindAllSubmatch(content, -1) {
				lines = append(lines, string(m[1]))
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, line := range lines {
		other := lines[r.IntN(len(lines))]
		f.Add(line, other, line, other)
		f.Add(other+"\n"+lines[r.IntN(len(lines))], line, "", line)
	}
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		in, err := newInProcess()
		if err != nil {
			t.Fatal(err)
		}
		place := func(text string) string {
			if text == "" {
				return ""
			}
			return "//protect:" + strings.ReplaceAll(text, "\n", "\n//protect:")
		}
		content := fmt.Appendf(nil, fuzzedSource, place(a), place(b), place(c), place(d))
		if _, err := parser.ParseFile(token.NewFileSet(), "p.go", content, parser.ParseComments); err != nil {
			return // no Go file can hold that
		}
		files, said := in.generate(t, content)
		failed := false
		for _, d := range said {
			failed = failed || d.Severity == Error
		}
		// What is no directive at all may be prose.
		if wanted := !failed && hasDirective("p.go", content); wanted != (len(files) > 0) {
			t.Fatalf("%d files, and it says %v\n%s", len(files), said, content)
		}
		if len(files) > 0 && !bytes.HasPrefix(files[0].Content, []byte(templates.Header)) {
			t.Fatalf("no header\n%s", files[0].Content)
		}
	})
}
