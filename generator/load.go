package generator

import (
	"cmp"
	"context"
	"go/ast"
	"go/build/constraint"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/protectgen/protectgen/templates"
)

// source is a package with types, as far as annotations are concerned: what
// parse and resolve work on, wherever it was loaded.
type source struct {
	path   string // import path
	system system // whose files are seen
	test   bool   // the variant that the package's own tests are part of, or external tests
	dir    string
	fset   *token.FileSet
	files  []*sourceFile // all of the package
	types  *types.Package
	info   *types.Info
	errors []packages.Error // of syntax and types
	cgo    bool             // some positions are those of cgo's output, and say where they come from

	otherNames map[string]*types.TypeName // see otherName; nil before it was asked
}

// sourceFile is a file of a package.
type sourceFile struct {
	path      string // absolute, of what the user wrote
	file      *ast.File
	annotated bool // its directives count: it is not ours, and not read as part of another variant of the package
	wanted    bool // its wrappers are to be written, and not those that another view of the package writes
}

// load reads the packages with annotated files, in every view of them.
// Mistakes in the code are left for the signatures that they touch.
func load(ctx context.Context, cfg Config, f *found) ([]*source, error) {
	var sources []*source
	for _, v := range f.views() {
		loaded := f.loaded
		if v.system != (system{}) || loaded == nil {
			var err error
			if loaded, err = f.load(ctx, cfg, v.system, withTypes, v.patterns); err != nil {
				return nil, err
			}
		}
		sources = append(sources, f.seen(loaded, v)...)
	}
	return sources, nil
}

// seen returns what a view shows.
func (f *found) seen(loaded []*packages.Package, v view) []*source {
	var sources []*source
	for _, p := range loaded {
		s := &source{path: p.PkgPath, system: v.system, test: p.ForTest != "", fset: p.Fset, types: p.Types, info: p.TypesInfo, errors: p.Errors}
		for i, file := range p.Syntax {
			// The loader leaves a file that it could not read out of both.
			path := p.CompiledGoFiles[min(i, len(p.CompiledGoFiles)-1)]
			if at := p.Fset.PositionFor(file.FileStart, false).Filename; at != "" {
				path = at
			}
			if !slices.Contains(p.GoFiles, path) {
				// cgo's output says where each line comes from.
				path = p.Fset.Position(file.Package).Filename
				s.cgo = true
			}
			mine := p.ForTest == "" || strings.HasSuffix(path, "_test.go")
			s.files = append(s.files, &sourceFile{
				path: path, file: file,
				annotated: mine && (f.annotated[path] || v.files[path]),
				wanted:    mine && v.files[path],
			})
		}
		if len(s.errors) > 0 && !s.cgo {
			s.followLines()
		}
		if i := slices.IndexFunc(s.files, func(f *sourceFile) bool { return f.annotated }); i >= 0 {
			s.dir = filepath.Dir(s.files[i].path)
			sources = append(sources, s)
		}
	}
	return sources
}

// followLines gives errors in files with //line directives the lines on which
// they stand, which is what positions are compared with and what is reported.
func (s *source) followLines() {
	type line struct {
		file string
		line int
	}
	stands := map[line]token.Position{} // by what the directives say
	for _, f := range s.files {
		file := s.fset.File(f.file.FileStart)
		if file == nil {
			continue
		}
		for n := range file.LineCount() {
			at := file.LineStart(n + 1)
			if said := s.fset.Position(at); said != s.fset.PositionFor(at, false) {
				stands[line{said.Filename, said.Line}] = s.fset.PositionFor(at, false)
			}
		}
	}
	if len(stands) == 0 {
		return
	}
	s.errors = slices.Clone(s.errors)
	for i, e := range s.errors {
		said := errorPosition(e)
		if at, ok := stands[line{said.Filename, said.Line}]; ok {
			at.Column = said.Column
			s.errors[i].Pos = at.String()
		}
	}
}

// units groups the packages that are generated together or not at all: a
// package, its variant with the tests that are part of it, and what other
// systems see of them. Of each system the package itself comes first.
func units(sources []*source) [][]*source {
	slices.SortStableFunc(sources, func(a, b *source) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.system.String(), b.system.String()), cmp.Compare(rank(a), rank(b)))
	})
	var out [][]*source
	for _, s := range sources {
		if last := len(out) - 1; last >= 0 && out[last][0].path == s.path && out[last][0].dir == s.dir {
			out[last] = append(out[last], s)
		} else {
			out = append(out, []*source{s})
		}
	}
	return out
}

func rank(s *source) int {
	if s.test {
		return 1
	}
	return 0
}

// constraintOf returns the build constraint that a file states, without what
// keeps our own output out; empty for none.
func constraintOf(file *ast.File) string {
	var old constraint.Expr
	for _, group := range file.Comments {
		if group.Pos() >= file.Package {
			break
		}
		for _, c := range group.List {
			switch {
			case constraint.IsGoBuild(c.Text):
				if x, err := constraint.Parse(c.Text); err == nil {
					return x.String()
				}
			case constraint.IsPlusBuild(c.Text):
				if x, err := constraint.Parse(c.Text); err == nil {
					old = and(old, x)
				}
			}
		}
	}
	if old == nil {
		return ""
	}
	return old.String()
}

func and(x, y constraint.Expr) constraint.Expr {
	if x == nil {
		return y
	}
	return &constraint.AndExpr{X: x, Y: y}
}

// isOurs reports whether a declaration stands in a file that was emitted
// here: in a build that sees such files, their names are free.
func (s *source) isOurs(obj types.Object) bool {
	for _, f := range s.files {
		if f.file.FileStart <= obj.Pos() && obj.Pos() < f.file.FileEnd {
			return isEmitted(f.file)
		}
	}
	return false
}

// importing returns a file of the package that gives a name to an import, or
// imports it with a dot: nothing in the package can be declared under it.
func (s *source) importing(name string) *sourceFile {
	for _, f := range s.files {
		if scope := s.info.Scopes[f.file]; scope != nil && scope.Lookup(name) != nil && !isEmitted(f.file) {
			return f
		}
	}
	return nil
}

func isEmitted(file *ast.File) bool {
	return len(file.Comments) > 0 && file.Comments[0].List[0].Text == templates.Header
}
