package generator

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/tools/txtar"
)

// layout is a module, or several, that a case of testdata/shapes cannot be:
// what the go command makes of it depends on more than the sources of one
// package.
type layout struct {
	archive string
	tags    []string
	env     []string                       // of the go command, besides that of all cases
	prepare func(t *testing.T, dir string) // before generating, may be nil
	vet     [][]string                     // arguments of the go command, each run once everything is generated
}

// check generates the layout, and has the go command check what is emitted.
func (l layout) check(t *testing.T, want ...string) {
	t.Helper()
	dir := usingModule(t, txtar.Parse([]byte(l.archive)).Files)
	if l.prepare != nil {
		l.prepare(t, dir)
	}
	cfg := Config{Dir: dir, Env: environment(l.env...), Tags: l.tags, Patterns: []string{"./..."}}
	if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
		cfg.Patterns = []string{"work"}
	}
	result, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range result.Diagnostics {
		t.Errorf("%v", d)
	}
	got := map[string]bool{}
	for _, f := range result.Files {
		rel, err := filepath.Rel(dir, f.Path)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.ToSlash(rel)] = true
	}
	if files := slices.Sorted(maps.Keys(got)); !slices.Equal(files, want) {
		t.Errorf("emitted %q, want %q", files, want)
	}
	checkImplements(t, result)
	apply(t, result)
	for _, args := range l.vet {
		goCommandWith(t, dir, l.env, args...)
	}
}

func TestInterfacesBesideC(t *testing.T) {
	layout{
		archive: `
-- a.go --
package a

// #include <stdint.h>
// static int twice(int n) { return 2 * n; }
import "C"

import "context"

type number = C.int

func twice(n int) int { return int(C.twice(number(n))) }

//protect:breaker
type Doer interface {
	Do(ctx context.Context, n int) (int, error)
	Alias(number) (C.int, error)
}

//protect:pool
type Pooled interface {
	Do(n int) (int, error)
}
-- b.go --
package a

//protect:breaker
type Plain interface {
	Doer
}
-- a_test.go --
package a

import (
	"context"
	"testing"
)

type doer struct{ Doer }

func (doer) Do(_ context.Context, n int) (int, error) { return twice(n), nil }

func TestTheWrapperCallsC(t *testing.T) {
	d, err := NewProtectedDoer(nil, doer{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := d.Do(t.Context(), 21); n != 42 || err != nil {
		t.Error(n, err)
	}
}
`,
		env: []string{"CGO_ENABLED=1"},
		vet: [][]string{{"test", "./..."}},
	}.check(t, "a_protect.go", "b_protect.go")
}

func TestInterfacesOfVendoredPackages(t *testing.T) {
	layout{
		archive: `
-- a.go --
package a

import "github.com/sethvargo/go-limiter"

//protect:breaker
//protect:fallback next
type Store interface {
	limiter.Store
	Own(limiter.Store) (limiter.Store, error)
}

//protect:pool
type Pooled interface {
	limiter.Store
}
`,
		env: []string{"GOFLAGS=-mod=vendor"},
		prepare: func(t *testing.T, dir string) {
			// Something must import the runtime for it to be vendored.
			first := filepath.Join(dir, "first.go")
			if err := os.WriteFile(first, []byte("package a\n\nimport _ \"github.com/protectgen/protectgen/runtime\"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			goCommand(t, dir, "list", "-deps", "./...")
			goCommand(t, dir, "mod", "vendor")
		},
		vet: [][]string{{"vet", "./..."}},
	}.check(t, "a_protect.go")
}

func TestInterfacesOfAWorkspace(t *testing.T) {
	layout{
		archive: `
-- go.work --
go 1.26.0

use (
	.
	./one
	./two
)
-- one/go.mod --
module one.example.com/sdk/v3

go 1.26.0
-- one/sdk.go --
package sdk

import "context"

type Item struct{}

type Client interface {
	Get(ctx context.Context, id string) (*Item, error)
}
-- two/go.mod --
module two.example.com

go 1.26.0
-- two/two.go --
package two

import "one.example.com/sdk/v3"

type Client = sdk.Client
-- a.go --
package a

import (
	"one.example.com/sdk/v3"
	"two.example.com"
)

//protect:breaker
//protect:fallback next
type Client interface {
	two.Client
	Put(*sdk.Item) error
}

//protect:pool
type Pooled sdk.Client
`,
		env: []string{"GOWORK=", "GOFLAGS="},
		prepare: func(t *testing.T, dir string) {
			// In a workspace the go command reads the go.mod files of all that
			// anything ever required. It may have to fetch them.
			cmd := exec.CommandContext(t.Context(), "go", "mod", "graph")
			cmd.Dir = ".."
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go mod graph: %v\n%s", err, out)
			}
		},
		vet: [][]string{{"vet", "./..."}},
	}.check(t, "a_protect.go")
}

func TestInterfacesUnderTags(t *testing.T) {
	layout{
		archive: `
-- a.go --
//go:build integration && !slow

package a

//protect:breaker
type Doer interface{ Do(hidden) error }
-- hidden.go --
//go:build integration

package a

type hidden struct{}
-- b.go --
//go:build !integration

package a

//protect:breaker
type Doer interface{ Do() error }
-- b_test.go --
//go:build integration

package a_test

import "example.com"

//protect:breaker
type outside interface{ Do(a.Doer) error }
`,
		tags: []string{"integration"},
		vet:  [][]string{{"vet", "-tags=integration", "./..."}},
	}.check(t, "a_protect.go", "b_protect_test.go") // b.go is another build's
}
