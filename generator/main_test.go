package generator

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite what the cases of testdata expect")

var moduleLine = regexp.MustCompile(`(?m)^(module|tool) .*$`)

// module writes files into a temporary module, example.com/m, and returns its
// folder. The module requires this one, with the versions that it has, unless
// there is a go.mod among the files.
func module(t *testing.T, files []txtar.File) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	const self = "github.com/protectgen/protectgen"
	head := "module example.com/m\n\nrequire " + self + " v0.0.0\n\nreplace " + self + " => " + root + "\n"
	write(t, dir, "go.mod", append([]byte(head), moduleLine.ReplaceAll(mod, nil)...))
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

// usingModule writes files into a module example.com that uses this one.
func usingModule(t *testing.T, files []txtar.File) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	mod := fmt.Sprintf("module example.com\n\ngo 1.26.0\n\nrequire github.com/protectgen/protectgen v0.0.0\n\nreplace github.com/protectgen/protectgen => %s\n", root)
	return module(t, append(files, txtar.File{Name: "go.mod", Data: []byte(mod)}, txtar.File{Name: "go.sum", Data: sum}))
}

// environment is that of the go command in a case: of nothing but the case.
func environment(more ...string) []string {
	return append(os.Environ(), append([]string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off"}, more...)...)
}
