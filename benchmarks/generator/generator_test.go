// Package generator compares how long it takes to generate code for the same
// interfaces: with protectgen, and with the generators that Go programs use
// today. Each tool is built once and runs as a process of its own, as under go
// generate; the floor is what the go command needs to list the packages:
//
//	cd benchmarks && go test -bench . -benchtime 10x -count 5 ./generator
package generator

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tools are the commands, built from the versions that go.mod pins.
var tools = map[string]string{
	"protectgen": "github.com/protectgen/protectgen/cmd/protectgen",
	"moq":        "github.com/matryer/moq",
	"mockery":    "github.com/vektra/mockery/v3",
	"mockgen":    "go.uber.org/mock/mockgen",
	"gowrap":     "github.com/hexdigest/gowrap/cmd/gowrap",
}

var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "protectgen-bench-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(bin) }()
		for name, path := range tools {
			if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), path).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// module is a folder with a Go module to generate for.
type module struct {
	dir string
	b   *testing.B
}

func newModule(b *testing.B) *module {
	b.Helper()
	m := &module{b.TempDir(), b}
	m.write("go.mod", "module bench\n\ngo 1.26.0\n")
	return m
}

func (m *module) write(path, text string) {
	m.b.Helper()
	path = filepath.Join(m.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.b.Fatal(err)
	}
}

// pkg writes a package with interfaces Service0, Service1 and so on.
func (m *module) pkg(name string, interfaces int, annotated bool) {
	var src strings.Builder
	fmt.Fprintf(&src, "package %s\n\nimport (\n\t\"context\"\n\t\"io\"\n\t\"time\"\n)\n\ntype Item struct {\n\tName string\n\tAt   time.Time\n}\n", name)
	for i := range interfaces {
		directive := ""
		if annotated {
			directive = "//\n//protect:limit 100/1m\n//protect:breaker failures=5\n"
		}
		fmt.Fprintf(&src, `
// Service%[1]d is a client.
%[2]stype Service%[1]d interface {
	Get(ctx context.Context, id string) (*Item, error)
	List(ctx context.Context, after time.Time, limit int) ([]Item, error)
	Put(ctx context.Context, item Item) error
	Upload(ctx context.Context, r io.Reader) (int64, error)
	Watch(ctx context.Context, f func(Item) error) error
}
`, i, directive)
	}
	m.write(filepath.Join(name, name+".go"), src.String())
}

func (m *module) run(tool string, args ...string) {
	m.b.Helper()
	path := tool
	if _, ok := tools[tool]; ok {
		path = filepath.Join(bin, tool)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = m.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		m.b.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out.String())
	}
}

// bench runs a command again and again in a module that fill makes, once before
// the clock starts. What it wrote the first time stays: every tool then
// generates the same again, and none meets what another one wrote.
func bench(b *testing.B, name string, fill func(m *module), run func(m *module)) {
	b.Run(name, func(b *testing.B) {
		m := newModule(b)
		fill(m)
		run(m)
		for b.Loop() {
			run(m)
		}
	})
}

func BenchmarkOneInterface(b *testing.B) {
	one := func(m *module) { m.pkg("service", 1, true) }
	bench(b, "floor-go-list", one, func(m *module) { m.run("go", "list", "./service") })
	bench(b, "protectgen", one, func(m *module) { m.run("protectgen", "./service") })
	bench(b, "moq", one, func(m *module) { m.run("moq", "-out", "service/moq_gen.go", "service", "Service0") })
	bench(b, "mockgen", one, func(m *module) {
		m.run("mockgen", "-source=service/service.go", "-destination=mocks/mockgen.go", "-package=mocks")
	})
	bench(b, "gowrap", func(m *module) {
		one(m)
		m.write("template", gowrapTemplate)
	}, func(m *module) {
		m.run("gowrap", "gen", "-g", "-p", "./service", "-i", "Service0", "-t", "template", "-o", "wrapped/gowrap.go")
	})
	bench(b, "mockery", one, func(m *module) { m.mockery([]string{"service"}) })
}

// gowrapTemplate is the least that a decorator needs. Templates that gowrap
// brings itself are fetched over the network.
const gowrapTemplate = `
import "context"

type {{$.Interface.Name}}Wrapper struct { next {{.Interface.Type}} }
{{range $method := .Interface.Methods}}
func (w {{$.Interface.Name}}Wrapper) {{$method.Declaration}} {
	{{$method.Pass "w.next."}}
}
{{end}}
`

func BenchmarkFiftyInterfaces(b *testing.B) {
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("service%d", i))
	}
	fifty := func(m *module) {
		for _, name := range names {
			m.pkg(name, 5, true)
		}
	}
	bench(b, "floor-go-list", fifty, func(m *module) { m.run("go", "list", "./...") })
	bench(b, "protectgen", fifty, func(m *module) { m.run("protectgen", "./...") })
	bench(b, "mockery", fifty, func(m *module) { m.mockery(names) })
}

// The same three packages, alone and among a thousand.
func BenchmarkThreeOfAThousand(b *testing.B) {
	for _, others := range []int{0, 997} {
		fill := func(m *module) {
			for i := range 3 {
				m.pkg(fmt.Sprintf("service%d", i), 1, true)
			}
			for i := range others {
				m.pkg(fmt.Sprintf("other%d", i), 1, false)
			}
		}
		name := fmt.Sprintf("packages=%d/", others+3)
		bench(b, name+"floor-go-list", fill, func(m *module) { m.run("go", "list", "./...") })
		bench(b, name+"protectgen", fill, func(m *module) { m.run("protectgen", "./...") })
	}
}

// mockery generates for all interfaces of the packages, as its configuration
// asks for it.
func (m *module) mockery(packages []string) {
	var config strings.Builder
	config.WriteString("all: true\nlog-level: error\nforce-file-write: true\ndir: mocks/{{.SrcPackageName}}\nfilename: mocks.go\npkgname: mocks\npackages:\n")
	for _, p := range packages {
		fmt.Fprintf(&config, "  bench/%s: {}\n", p)
	}
	m.write(".mockery.yml", config.String())
	m.run("mockery")
}
