package generator

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
)

// Inspect returns what Run would say about the directives of a package that
// somebody else loaded, with comments, for tools that look at one package at
// a time. Files that protectgen wrote may be among the files.
func Inspect(fset *token.FileSet, files []*ast.File, pkg *types.Package, info *types.Info) []Diagnostic {
	s := &source{path: pkg.Path(), fset: fset, types: pkg, info: info}
	for _, file := range files {
		path := fset.PositionFor(file.FileStart, false).Filename
		s.files = append(s.files, &sourceFile{path: path, file: file, annotated: slices.ContainsFunc(file.Comments, mentionsDirective)})
	}
	r := newReporter()
	render(resolve([]*source{s}, r), r)
	result := Result{Diagnostics: r.diagnostics}
	result.sort()
	return result.Diagnostics
}

func mentionsDirective(group *ast.CommentGroup) bool {
	return slices.ContainsFunc(group.List, func(c *ast.Comment) bool { return mayHaveDirective([]byte(c.Text)) })
}
