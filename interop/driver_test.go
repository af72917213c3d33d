package interop

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/tools/go/packages"
)

// asDriver in the environment makes the test binary a driver of go/packages.
const asDriver = "INTEROP_DRIVER"

func TestMain(m *testing.M) {
	if os.Getenv(asDriver) != "" {
		if err := drive(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// environment is that of a loader, or of a go command. Without export data of
// the dependencies, which would have to be compiled for it, a loader checks the
// types of their sources, and not what is in their functions: seconds instead
// of minutes. Without cgo nothing has to run before sources can be read.
func environment(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "GOPACKAGESDRIVER="+self, asDriver+"=1", "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
}

// drive answers a request of go/packages as the go command would, but for
// export data.
func drive() error {
	var request packages.DriverRequest
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return err
	}
	roots, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedDeps,
		Env:  append(os.Environ(), "GOPACKAGESDRIVER=off"), BuildFlags: request.BuildFlags, Tests: request.Tests, Overlay: request.Overlay,
	}, os.Args[1:]...)
	if err != nil {
		return err
	}
	response := packages.DriverResponse{Compiler: runtime.Compiler, Arch: runtime.GOARCH}
	for _, p := range roots {
		response.Roots = append(response.Roots, p.ID)
	}
	packages.Visit(roots, nil, func(p *packages.Package) { response.Packages = append(response.Packages, p) })
	return json.NewEncoder(os.Stdout).Encode(response)
}
