// Package analyzer reports mistakes in //protect: directives as go vet and
// editors do: it is the generator's checks in the form of a go/analysis
// analyzer. It does not say whether generated files are up to date; protectgen
// -check does.
package analyzer

import (
	"go/ast"
	"go/token"

	"golang.org/x/tools/go/analysis"

	"github.com/protectgen/protectgen/generator"
)

// Analyzer reports the directives that protectgen refuses. What it only warns
// of is left to protectgen, for vet has no warnings.
var Analyzer = &analysis.Analyzer{
	Name: "protectgen",
	Doc: "report mistakes in //protect: directives\n\n" +
		"A directive that is unknown, stands where it means nothing or does not fit the types is reported where it stands.",
	Run: run,
}

func run(pass *analysis.Pass) (any, error) {
	for _, d := range generator.Inspect(pass.Fset, pass.Files, pass.Pkg, pass.TypesInfo) {
		if d.Severity != generator.Error {
			continue
		}
		message := d.Message
		if d.Hint != "" {
			message += "; " + d.Hint
		}
		pass.Report(analysis.Diagnostic{Pos: find(pass, d.Position), Message: message})
	}
	return nil, nil
}

// find returns the place in the package's files that a position describes, or
// their beginning when they have no such line.
func find(pass *analysis.Pass, at token.Position) token.Pos {
	for _, file := range pass.Files {
		f := pass.Fset.File(file.FileStart)
		if f.Name() == at.Filename && at.Line >= 1 && at.Line <= f.LineCount() {
			return f.LineStart(at.Line) + token.Pos(max(at.Column, 1)-1)
		}
	}
	return start(pass.Files)
}

func start(files []*ast.File) token.Pos {
	if len(files) == 0 {
		return token.NoPos
	}
	return files[0].Package
}
