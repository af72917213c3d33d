package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/gotooltest"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/tools/go/packages"

	"github.com/protectgen/protectgen/internal/testmodule"
)

var update = flag.Bool("update", false, "rewrite what the cases of testdata expect")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"protectgen": main, "newergo": newerGo, "endinggo": endingGo})
}

// newerGo stands for the go command of a Go that this program is too old for,
// as a driver of go/packages: Go 1.99, which sees one package, in the folder p.
func newerGo() {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	files := []string{filepath.Join(dir, "p", "p.go")}
	err = json.NewEncoder(os.Stdout).Encode(packages.DriverResponse{
		Compiler:  "gc",
		Arch:      runtime.GOARCH,
		GoVersion: 99,
		Roots:     []string{"example.com/m/p"},
		Packages:  []*packages.Package{{ID: "example.com/m/p", Name: "p", PkgPath: "example.com/m/p", GoFiles: files, CompiledGoFiles: files}},
	})
	if err != nil {
		panic(err)
	}
}

// endingGo stands for a go command during which the system shuts down, as a
// driver of go/packages.
func endingGo() {
	tool, err := os.FindProcess(os.Getppid())
	if err != nil {
		panic(err)
	}
	if err := tool.Signal(syscall.SIGTERM); err != nil {
		panic(err)
	}
	time.Sleep(time.Minute) // until the one who was told to end ends this, too
}

// TestScripts runs the cases of testdata/cli. Each is a module that uses this
// one, unless it brings its own go.mod. $PROTECTGEN is the tool's path,
// $NEWERGO and $ENDINGGO the drivers that newerGo and endingGo are, and "exits
// CODE COMMAND…" runs a command that must exit with that code.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath("protectgen")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := exec.LookPath("newergo")
	if err != nil {
		t.Fatal(err)
	}
	ending, err := exec.LookPath("endinggo")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	params := testscript.Params{
		Dir:                 "../../testdata/cli",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PROTECTGEN", tool)
			env.Setenv("NEWERGO", newer)
			env.Setenv("ENDINGGO", ending)
			env.Setenv("GOMODCACHE", strings.TrimSpace(string(cache)))
			env.Setenv("GOPROXY", "off")
			env.Setenv("GOFLAGS", "-mod=mod")
			return module(env.WorkDir, root)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
	}
	if err := gotooltest.Setup(&params); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, params)
}

// module makes a case a module that uses the one in root.
func module(dir, root string) error {
	mod, sum, err := testmodule.Using(root, "example.com/m")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"go.mod": mod, "go.sum": sum} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code, err = e.ExitCode(), nil
	}
	ts.Check(err)
	if code != want {
		ts.Fatalf("%s exits with %d, want %d", args[1], code, want)
	}
}
