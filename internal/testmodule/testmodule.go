// Package testmodule writes go.mod files for modules that tests make up and
// that use this one.
package testmodule

import (
	"os"
	"path/filepath"

	"golang.org/x/mod/modfile"
)

const self = "github.com/protectgen/protectgen"

// Using returns the go.mod and go.sum of a module called name that requires
// the module in root, a folder.
//
// It lists each requirement of root as its own, with the version that it has
// there. So the go command needs nothing that building root does not need
// either, and no network: a go.mod that named root alone would make it read
// the go.mod files of all that root's requirements ever required.
func Using(root, name string) (mod, sum []byte, err error) {
	path := filepath.Join(root, "go.mod")
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	sum, err = os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		return nil, nil, err
	}
	f, err := modfile.Parse(path, content, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, tool := range f.Tool {
		if err := f.DropTool(tool.Path); err != nil {
			return nil, nil, err
		}
	}
	if err := f.AddModuleStmt(name); err != nil {
		return nil, nil, err
	}
	if err := f.AddRequire(self, "v0.0.0"); err != nil {
		return nil, nil, err
	}
	if err := f.AddReplace(self, "", root, ""); err != nil {
		return nil, nil, err
	}
	f.Cleanup()
	mod, err = f.Format()
	return mod, sum, err
}
