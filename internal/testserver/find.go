// Package testserver starts real servers for tests and examples: each on a
// free loopback port, in a temporary folder of its own, gone when it is
// stopped.
//
// It is not for servers that outlive the process, and starts none that is not
// installed: a test begins with [Require].
package testserver

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// ErrNotInstalled says that a server's program is not on this machine.
var ErrNotInstalled = errors.New("not installed")

// T is what [Require] needs of a *testing.T.
type T interface {
	Helper()
	Skip(args ...any)
	Fatal(args ...any)
}

// Require returns the path of a program that a test needs. Without it the test
// is skipped, and says which Debian package has it; it fails instead where the
// environment variable PROTECTGEN_REQUIRE is "all".
func Require(t T, program, debianPackage string) string {
	t.Helper()
	path, err := Find(program, debianPackage)
	switch {
	case err == nil:
	case os.Getenv("PROTECTGEN_REQUIRE") == "all":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return path
}

// Find returns the path of a program: on PATH, or where Debian keeps
// PostgreSQL's, the newest version first. Otherwise the error is
// [ErrNotInstalled] and names the package that has it.
func Find(program, debianPackage string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return filepath.Abs(path)
	}
	found, err := filepath.Glob(filepath.Join(versions, "*", "bin", program))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%s is %w; on Debian: apt-get install %s", program, ErrNotInstalled, debianPackage)
	}
	return slices.MaxFunc(found, func(a, b string) int {
		return cmp.Compare(versionOf(a), versionOf(b)) // as numbers: 9.6 is older than 15
	}), nil
}

// versions has a folder for each version of PostgreSQL. Tests have their own.
var versions = "/usr/lib/postgresql"

// versionOf reads the version out of …/15/bin/postgres; 0 is none.
func versionOf(path string) float64 {
	version, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(path))), 64)
	return version
}
