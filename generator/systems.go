package generator

import (
	"go/build"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/protectgen/protectgen/templates"
)

// view is one way to build the packages: for the system of the go command, or
// for another one, whose files the first does not see.
type view struct {
	system   system
	patterns []string        // of packages with files to generate for
	files    map[string]bool // those files
}

// system is an operating system and an architecture; the zero system is that
// of the go command.
type system struct{ os, arch string }

// systems are those that Go can build for, the common ones first: a file is
// looked at on the first that it is built for. See go tool dist list.
var systems = []system{
	{"linux", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"windows", "arm64"},
	{"freebsd", "amd64"}, {"openbsd", "amd64"}, {"netbsd", "amd64"}, {"dragonfly", "amd64"}, {"solaris", "amd64"}, {"illumos", "amd64"},
	{"aix", "ppc64"}, {"android", "arm64"}, {"ios", "arm64"}, {"js", "wasm"}, {"wasip1", "wasm"}, {"plan9", "amd64"},
	{"linux", "386"}, {"linux", "arm"}, {"linux", "loong64"}, {"linux", "mips"}, {"linux", "mips64"}, {"linux", "mips64le"},
	{"linux", "mipsle"}, {"linux", "ppc64"}, {"linux", "ppc64le"}, {"linux", "riscv64"}, {"linux", "s390x"}, {"windows", "386"},
}

// String returns os/arch, and nothing for the zero system.
func (s system) String() string {
	if s == (system{}) {
		return ""
	}
	return s.os + "/" + s.arch
}

// environment returns the environment in which the go command builds for the
// system.
func (s system) environment(env []string) []string {
	if s == (system{}) {
		return env
	}
	if env == nil {
		env = os.Environ()
	}
	return append(slices.Clone(env), "GOOS="+s.os, "GOARCH="+s.arch, "CGO_ENABLED=0")
}

// views returns the ways to build in which all annotated files are seen, but
// for those behind a tag that is not set: whoever wrote such a tag says with
// it when the file counts.
func (f *found) views() []view {
	all := []view{{patterns: f.patterns, files: f.annotated}}
	var others []string
	for path := range f.elsewhere {
		others = append(others, path)
	}
	slices.Sort(others)
	for _, path := range others {
		i := slices.IndexFunc(systems, func(s system) bool { return s.builds(path, f.tags) })
		if i < 0 || f.elsewhere[path] == argumentsPath {
			continue
		}
		at := slices.IndexFunc(all, func(v view) bool { return v.system == systems[i] })
		if at < 0 {
			at = len(all)
			all = append(all, view{system: systems[i], files: map[string]bool{}})
		}
		all[at].files[path] = true
		if pattern := f.elsewhere[path]; !slices.Contains(all[at].patterns, pattern) {
			all[at].patterns = append(all[at].patterns, pattern)
		}
	}
	return slices.DeleteFunc(all, func(v view) bool { return len(v.patterns) == 0 })
}

// methodSet is the text of an interface's methods, the same for all systems on
// which one wrapper fits: names of parameters are left out.
func methodSet(w templates.Wrapper) string {
	unnamed := func(list *types.Tuple) *types.Tuple {
		var vars []*types.Var
		for v := range list.Variables() {
			vars = append(vars, types.NewParam(token.NoPos, nil, "", v.Type()))
		}
		return types.NewTuple(vars...)
	}
	var lines []string
	for _, m := range w.Methods {
		sig := types.NewSignatureType(nil, nil, nil, unnamed(m.Signature.Params()), unnamed(m.Signature.Results()), m.Signature.Variadic())
		lines = append(lines, m.Func.Id()+types.TypeString(sig, nil))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// refuseHidden reports the annotated files that are not seen because they are
// not built with our own tag.
func (f *found) refuseHidden() {
	without := slices.DeleteFunc(slices.Clone(f.tags), func(tag string) bool { return tag == templates.Tag })
	seen := func(path string, tags []string) bool {
		return slices.ContainsFunc(systems, func(s system) bool { return s.builds(path, tags) })
	}
	for path := range f.elsewhere {
		if seen(path, f.tags) || !seen(path, without) {
			continue
		}
		f.diagnostics = append(f.diagnostics, Diagnostic{
			Position: constraintPosition(path),
			Message:  "this file has directives and is not looked at: its build constraint leaves it out where the tag " + templates.Tag + " is set",
			Hint:     "under that tag emitted files do not exist, and no others should be missing; leave it out of the constraint",
		})
		f.keep(filepath.Dir(path))
	}
}

// constraintPosition returns where the build constraint of a file stands.
func constraintPosition(path string) token.Position {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.PackageClauseOnly)
	if err == nil {
		for _, group := range file.Comments {
			for _, c := range group.List {
				if constraint.IsGoBuild(c.Text) || constraint.IsPlusBuild(c.Text) {
					return fset.PositionFor(c.Slash, false)
				}
			}
		}
	}
	return token.Position{Filename: path, Line: 1, Column: 1}
}

// builds reports whether a file is built for the system.
func (s system) builds(path string, tags []string) bool {
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled, ctx.BuildTags = s.os, s.arch, false, tags
	dir, name := filepath.Split(path)
	ok, err := ctx.MatchFile(strings.TrimSuffix(dir, string(filepath.Separator)), name)
	return err == nil && ok
}
