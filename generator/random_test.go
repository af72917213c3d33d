package generator

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var randomSeed = flag.Uint64("random.seed", 0, "first seed of the random interfaces, instead of the ones that are kept")
var randomSeeds = flag.Int("random.n", 1, "with -random.seed: how many seeds to try")

// Seeds that are tried each time.
var keptSeeds = []uint64{1, 2, 3}

// TestRandomInterfacesCanBeWrapped makes packages of random interfaces, built
// from random types, with random directives. Whatever they are, the wrappers
// compile, vet and implement them. For more than the seeds that are kept:
//
//	go test ./generator -run RandomInterfaces -random.seed 100 -random.n 50
func TestRandomInterfacesCanBeWrapped(t *testing.T) {
	seeds := keptSeeds
	if *randomSeed != 0 {
		seeds = nil
		for i := range *randomSeeds {
			seeds = append(seeds, *randomSeed+uint64(i))
		}
	}
	// One module for all seeds of a batch: the go command's start costs more
	// than what it compiles.
	for batch := range slices.Chunk(seeds, 5) {
		var cases []*golden
		for _, seed := range batch {
			for i := range 12 {
				r := &randomSource{Rand: rand.New(rand.NewPCG(seed, uint64(i)))}
				cases = append(cases, &golden{
					name:    fmt.Sprintf("seed%dn%d", seed, i),
					archive: &txtar.Archive{Files: []txtar.File{{Name: "a.go", Data: []byte(r.file())}}},
				})
			}
		}
		dir := goldenModule(t, cases)
		result, err := Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"./..."}})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range result.Diagnostics {
			if d.Severity == Error {
				t.Errorf("%v", d)
			}
		}
		if len(result.Files) != len(cases) {
			t.Errorf("%d files for %d packages", len(result.Files), len(cases))
		}
		apply(t, result)
		goCommand(t, dir, "vet", "./...")
	}
}

// randomSource writes a source file at random.
type randomSource struct {
	*rand.Rand
	params []string // type parameters of the interface that is being written
}

func (r *randomSource) pick(of ...string) string { return of[r.IntN(len(of))] }

// names that a parameter may have: plain, ours, imported, predeclared, types.
var randomNames = []string{
	"a", "b", "x", "p", "r0", "err", "ctx", "next", "rt", "context", "protect", "time", "io", "errors", "guards", "pool",
	"string", "error", "nil", "len", "any", "T", "Item", "Weird", "w", "f", "_",
}

func (r *randomSource) file() string {
	var b strings.Builder
	b.WriteString("package a\n\nimport (\n\t\"context\"\n\t\"io\"\n\t\"iter\"\n\t\"time\"\n\t\"unsafe\"\n)\n\n" +
		"type Item struct{ N int }\n\ntype Weird[K comparable, V any] struct {\n\tk K\n\tv V\n}\n\ntype Alias = map[string]*Item\n\n" +
		"type Func func(context.Context, ...Item) error\n\n" +
		"var (\n\t_ context.Context\n\t_ io.Reader\n\t_ iter.Seq[int]\n\t_ time.Duration\n\t_ unsafe.Pointer\n)\n")
	for i := range 1 + r.IntN(3) {
		r.iface(&b, fmt.Sprintf("Iface%d", i))
	}
	return b.String()
}

func (r *randomSource) iface(b *strings.Builder, name string) {
	pooled := r.IntN(4) == 0
	list := ""
	r.params = nil
	if r.IntN(3) == 0 {
		r.params = []string{"T", "U"}
		list = r.pick("[T any, U comparable]", "[T ~int | ~string, U fmtLike[T]]", "[T interface{ *U }, U any]")
		if strings.Contains(list, "fmtLike") {
			list = "[T ~int | ~string, U interface{ ~[]T }]"
		}
	}
	b.WriteString("\n//protect:" + r.pick("breaker", "breaker failures=2 recovery=1s", "limit 5/s", "bulkhead 3 wait=1s", "retry 2", "wrap") + "\n")
	if pooled {
		b.WriteString("//protect:pool size=2 overflow=1\n")
	}
	if list == "" && !pooled && r.IntN(4) == 0 {
		b.WriteString("//protect:fallback next\n")
	}
	fmt.Fprintf(b, "type %s%s interface {\n", name, list)
	if r.IntN(4) == 0 {
		b.WriteString("\tio.Closer\n")
	}
	for i := range 1 + r.IntN(5) {
		r.method(b, fmt.Sprintf("%s%d", r.pick("Do", "Get", "Type", "Wrap", "Pool", "Next", "String", name), i), pooled)
	}
	// One that every directive can stand on.
	b.WriteString("\tAlways(ctx context.Context) error\n}\n")
}

func (r *randomSource) method(b *strings.Builder, name string, pooled bool) {
	names := slices.Clone(randomNames)
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	fmt.Fprintf(b, "\t%s(%s) ", name, r.list(names[:10], r.IntN(4), true, ""))
	failing := "error"
	if !pooled && r.IntN(4) == 0 {
		failing = ""
	}
	fmt.Fprintf(b, "(%s)\n", r.list(names[10:], r.IntN(3), false, failing))
}

// list writes parameters or results: all named, or none.
func (r *randomSource) list(names []string, n int, variadic bool, last string) string {
	named := r.IntN(2) == 0
	var parts []string
	add := func(typ string) {
		if named {
			// A name hides what it names from the types of the same signature's
			// body only, so any of them is fine here.
			typ = names[len(parts)] + " " + typ
		}
		parts = append(parts, typ)
	}
	if variadic && r.IntN(2) == 0 {
		add("context.Context")
	}
	for i := range n {
		typ := r.typ(3)
		if variadic && i == n-1 && r.IntN(3) == 0 {
			typ = "..." + typ
		}
		add(typ)
	}
	if last != "" {
		add(last)
	}
	return strings.Join(parts, ", ")
}

func (r *randomSource) typ(depth int) string {
	if depth == 0 || r.IntN(3) == 0 {
		basic := []string{
			"int", "string", "byte", "float64", "bool", "any", "error", "uintptr", "Item", "*Item", "Alias", "Func",
			"context.Context", "io.Reader", "time.Time", "time.Duration", "unsafe.Pointer", "[2]complex128", "struct{}",
		}
		return r.pick(append(basic, r.params...)...)
	}
	inner := func() string { return r.typ(depth - 1) }
	switch r.IntN(11) {
	case 0:
		return "[]" + inner()
	case 1:
		return "*" + inner()
	case 2:
		return fmt.Sprintf("map[%s]%s", r.pick("string", "int", "[2]int", "Item", "any"), inner())
	case 3:
		return r.pick("chan ", "<-chan ") + "[]" + inner()
	case 4:
		return fmt.Sprintf("func(%s, ...%s) (%s, error)", inner(), inner(), inner())
	case 5:
		return fmt.Sprintf("struct { A %s `json:\"a,omitempty\"`; b %s }", inner(), inner())
	case 6:
		return fmt.Sprintf("interface { M(%s) %s }", inner(), inner())
	case 7:
		return fmt.Sprintf("[%d]%s", 1+r.IntN(3), inner())
	case 8:
		return fmt.Sprintf("iter.Seq2[%s, %s]", inner(), inner())
	case 9:
		return fmt.Sprintf("Weird[%s, %s]", r.pick("string", "int"), inner())
	default:
		return fmt.Sprintf("chan<- func() %s", inner())
	}
}
