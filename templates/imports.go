package templates

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dave/jennifer/jen"
)

// runtimePath is the package that emitted code calls, under the name protect.
const (
	runtimePath = "github.com/protectgen/protectgen/runtime"
	runtimeName = "protect"
)

// imports is the import block of a file: paths, and the name of each. The
// zero value collects; named gives the names out.
type imports struct {
	packages map[string]string // path → the package's own name, empty when that is not known
	names    map[string]string // path → the name in this file, nil while collecting
}

// use records that the file needs a package and returns its name in the file.
func (im *imports) use(path, name string) string {
	if im.packages == nil {
		im.packages = map[string]string{}
	}
	if im.packages[path] == "" {
		im.packages[path] = name
	}
	if im.names != nil {
		return im.names[path]
	}
	return name
}

// named returns the same imports with a name for each from s, in the order of
// their paths: the names do not depend on the order of use.
func (im *imports) named(s *scope) *imports {
	names := map[string]string{}
	for _, p := range slices.Sorted(maps.Keys(im.packages)) {
		names[p] = s.allocate(im.wanted(p)...)
	}
	return &imports{packages: im.packages, names: names}
}

// wanted returns names for a package, the best first: its own, and one with
// the folder around it.
func (im *imports) wanted(p string) []string {
	name := im.packages[p]
	if name == "" {
		name = identifier(path.Base(p))
	}
	switch parent := path.Dir(p); {
	case p == runtimePath:
		return []string{runtimeName, "protectgen"}
	case name == "init": // which no import can be called
		return []string{identifier(path.Base(parent)) + name}
	case parent == ".":
		return []string{name, "std" + name}
	default:
		return []string{name, identifier(path.Base(parent)) + name}
	}
}

// block is the import declaration, the standard library first. Jennifer's own
// is not used: it renames packages on its own, against fewer names than ours
// must avoid, and does not group.
func (im *imports) block() jen.Code {
	var std, others []jen.Code
	for _, p := range slices.Sorted(maps.Keys(im.packages)) {
		line := jen.Lit(p)
		if name := im.names[p]; name != im.packages[p] || name != impliedName(p) {
			line = jen.Id(name).Lit(p)
		}
		if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
			others = append(others, line)
		} else {
			std = append(std, line)
		}
	}
	lines := std
	if len(std) > 0 && len(others) > 0 {
		lines = append(lines, jen.Line())
	}
	lines = append(lines, others...)
	if len(lines) == 1 {
		return jen.Id("import").Add(lines[0])
	}
	return jen.Id("import").Custom(jen.Options{Open: "(", Close: ")", Multi: true}, lines...)
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// impliedName is the name that a reader takes a package for by its path.
func impliedName(p string) string {
	base := path.Base(p)
	if majorVersion.MatchString(base) {
		base = path.Base(path.Dir(p))
	}
	return base
}

// identifier makes a lower case identifier of an element of a path.
func identifier(element string) string {
	name := strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, element))
	if name = strings.TrimLeft(name, "0123456789"); name == "" {
		return "pkg"
	}
	return name
}

// packageName finds the name of a package that the package's files import;
// empty when they do not.
func (e *emitter) packageName(path string) string {
	for _, p := range e.file.Types.Imports() {
		if p.Path() == path {
			return p.Name()
		}
	}
	return ""
}

// importable reports whether a file of the package from can import path.
func importable(path, from string) bool {
	if strings.HasPrefix(path, "vendor/") || strings.Contains(path, "/vendor/") {
		return false
	}
	parent, internal := cutInternal(path)
	return !internal || from == parent || strings.HasPrefix(from, parent+"/")
}

// cutInternal returns what is before the last element internal of a path.
func cutInternal(path string) (parent string, found bool) {
	switch i := strings.LastIndex("/"+path+"/", "/internal/"); {
	case i < 0:
		return "", false
	case i == 0:
		return "", true
	default:
		return path[:i-1], true
	}
}
