package generator

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/protectgen/protectgen/internal/testmodule"
)

var update = flag.Bool("update", false, "rewrite what the cases of testdata expect")

// module writes files into a temporary module, example.com/m, and returns its
// folder. The module requires this one unless there is a go.mod among the
// files.
func module(t *testing.T, files []txtar.File) string {
	t.Helper()
	return moduleNamed(t, "example.com/m", files)
}

// usingModule does the same for a module that is called example.com.
func usingModule(t *testing.T, files []txtar.File) string {
	t.Helper()
	return moduleNamed(t, "example.com", files)
}

func moduleNamed(t *testing.T, name string, files []txtar.File) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, sum, err := testmodule.Using(root, name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "go.mod", mod)
	write(t, dir, "go.sum", sum)
	for _, f := range files {
		write(t, dir, f.Name, f.Data)
	}
	return dir
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// environment is that of the go command in a case: of nothing but the case.
func environment(more ...string) []string {
	return append(os.Environ(), append([]string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off"}, more...)...)
}
