package generator

import (
	"go/ast"
	"go/token"
	"go/types"
)

// Inspect judges the directives of a package that somebody else loaded, as
// [Run] does, and returns what it has to say in the order of the source. Files
// need their comments, info needs Defs and Scopes, and Types and Uses for what
// the package's code asks wrapped values for. Nothing is changed, so that others
// may read the package at the same time.
func Inspect(fset *token.FileSet, files []*ast.File, pkg *types.Package, info *types.Info) []Diagnostic {
	s := &source{path: pkg.Path(), fset: fset, types: pkg, info: info}
	for _, file := range files {
		s.files = append(s.files, &sourceFile{path: fset.File(file.FileStart).Name(), file: file, annotated: true, wanted: true})
	}
	r := newReporter()
	render(resolve([]*source{s}, across{}, r), r)
	result := Result{Diagnostics: r.diagnostics}
	result.sort()
	return result.Diagnostics
}
