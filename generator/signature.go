package generator

import (
	"cmp"
	"fmt"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/tools/go/packages"

	"github.com/protectgen/protectgen/templates"
)

// broken reports the errors of the type checker inside a declaration, and a
// declaration whose type is not known. Errors elsewhere are nobody's business
// here: code may call a wrapper that does not exist yet.
func (r *resolver) broken(s *source, a *annotation, object *types.TypeName) bool {
	from, to := s.position(a.spec.Pos()), s.position(a.spec.End())
	found := false
	for i, e := range s.errors {
		at := errorPosition(e)
		if strings.HasPrefix(e.Msg, "\t") {
			continue // belongs to the one before it
		}
		inside := at.Filename == from.Filename && at.Filename == a.file.path &&
			!before(at, from) && before(at, to)
		if e.Kind == packages.TypeError && inside {
			r.errorf(at, cmp.Or(s.undefinedHint(e.Msg), continued(at, s.errors[i+1:])), "%s", e.Msg)
			found = true
		}
	}
	if found {
		return true
	}
	if isInvalid(object.Type().Underlying()) {
		r.errorf(s.position(a.spec.Name.Pos()), s.importError(a), "the type of %s could not be found out", object.Name())
		return true
	}
	return false
}

// continued returns the lines that the type checker adds to an error, as errors
// of their own that begin with a tab.
func continued(at token.Position, rest []packages.Error) string {
	var lines []string
	for _, e := range rest {
		line, ok := strings.CutPrefix(e.Msg, "\t")
		if !ok {
			break
		}
		lines = append(lines, short(at, errorPosition(e))+": "+line)
	}
	return strings.Join(lines, "\n\t")
}

// undefinedHint says why a name may be undefined that readers find defined: it
// is that of a wrapper, or they look at another system's files.
func (s *source) undefinedHint(message string) string {
	name, ok := strings.CutPrefix(message, "undefined: ")
	if !ok {
		return ""
	}
	for _, prefix := range []string{"Protected", "protected"} {
		of, ok := strings.CutPrefix(name, prefix)
		if !ok || of == "" {
			continue
		}
		first, size := utf8.DecodeRuneInString(of)
		for _, of := range []string{of, string(unicode.ToLower(first)) + of[size:]} {
			if obj, ok := s.types.Scope().Lookup(of).(*types.TypeName); ok && types.IsInterface(obj.Type()) {
				return "what protectgen writes is not there while it reads: write " + of
			}
		}
	}
	if s.system != (system{}) {
		return "as built for " + s.system.String()
	}
	return ""
}

func before(a, b token.Position) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
}

// importError is a hint: the first import of the annotated file that failed.
func (s *source) importError(a *annotation) string {
	for _, e := range s.errors {
		at := errorPosition(e)
		if at.Filename == a.file.path && (strings.Contains(e.Msg, "could not import") || strings.Contains(e.Msg, "no required module") || strings.Contains(e.Msg, "is not in std")) {
			return fmt.Sprintf("line %d: %s", at.Line, e.Msg)
		}
	}
	return ""
}

// complete reports the methods whose signatures have a type that is not known.
func (r *resolver) complete(d *declaration) bool {
	ok := true
	for _, m := range d.methods {
		if mentions := walk(m.sig, isInvalid); mentions {
			r.errorf(d.at(m.pos), d.source.importError(d.annotation), "a type in the signature of %s could not be found out", m.fn.Name())
			ok = false
		}
	}
	return ok
}

func isInvalid(t types.Type) bool {
	basic, ok := types.Unalias(t).(*types.Basic)
	return ok && basic.Kind() == types.Invalid
}

// foreign says why a package cannot declare a method of an interface that it
// embeds; empty when it can.
func (s *source) foreign(fn *types.Func) string {
	if !fn.Exported() && fn.Pkg().Path() != s.types.Path() {
		return "is an unexported method of package " + fn.Pkg().Path() + ", which only that package can declare"
	}
	return s.unwritable(fn.Signature())
}

// unwritable says why a package cannot write a type; empty when it can.
func (s *source) unwritable(t types.Type) (why string) {
	walk(t, func(t types.Type) bool {
		why = s.unmentionable(t)
		return why != ""
	})
	return why
}

// unmentionable says why a package cannot write a type, whatever it is written
// with.
func (s *source) unmentionable(t types.Type) string {
	switch t := t.(type) {
	case *types.Named:
		if why := s.unnameable(t.Obj()); why != "" && s.otherName(t.Obj()) == nil {
			return why
		}
	case *types.Alias:
		if s.unnameable(t.Obj()) != "" {
			return s.unwritable(t.Rhs())
		}
	case *types.Struct:
		for f := range t.Fields() {
			if !f.Exported() && f.Pkg().Path() != s.types.Path() {
				return "mentions a struct with unexported fields of package " + f.Pkg().Path()
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			if !m.Exported() && m.Pkg().Path() != s.types.Path() {
				return "mentions an interface with unexported methods of package " + m.Pkg().Path()
			}
		}
	}
	return ""
}

// unnameable says why a package cannot use the name of a declared type.
func (s *source) unnameable(obj *types.TypeName) string {
	switch from := obj.Pkg(); {
	case from == nil: // predeclared
	case from.Path() == s.types.Path():
		if strings.HasPrefix(obj.Name(), "_Ctype_") {
			return "mentions a type of C, which only a file that imports C can do"
		}
		if obj.Parent() != nil && obj.Parent() != from.Scope() {
			return "mentions a type that is declared inside a function"
		}
	case !obj.Exported():
		return "mentions the unexported type " + from.Path() + "." + obj.Name()
	case !mayImport(s.types.Path(), from.Path()):
		return "mentions a type of " + from.Path() + ", which is internal to another tree"
	}
	return ""
}

// otherName returns the alias under which the package can write a type whose
// own name it cannot use, nil without one. It is one that a package declares
// which this one imports; of several, the first by path and name.
func (s *source) otherName(obj *types.TypeName) *types.TypeName {
	if s.otherNames == nil {
		s.otherNames = map[string]*types.TypeName{}
		for _, imported := range slices.SortedFunc(slices.Values(s.types.Imports()), byPath) {
			if mayImport(s.types.Path(), imported.Path()) {
				s.readAliases(imported)
			}
		}
	}
	return s.otherNames[templates.NameOf(obj)]
}

func byPath(a, b *types.Package) int { return strings.Compare(a.Path(), b.Path()) }

// readAliases notes the exported aliases of a package that stand for a declared
// type, whole: with the alias's type parameters, if any, for its own.
func (s *source) readAliases(pkg *types.Package) {
	for _, name := range pkg.Scope().Names() {
		obj, ok := pkg.Scope().Lookup(name).(*types.TypeName)
		if !ok || !obj.IsAlias() || !obj.Exported() {
			continue
		}
		named, ok := types.Unalias(obj.Type()).(*types.Named)
		if !ok || s.unnameable(named.Obj()) == "" {
			continue
		}
		var params *types.TypeParamList
		if alias, ok := obj.Type().(*types.Alias); ok {
			params = alias.TypeParams()
		}
		whole := named.TypeArgs().Len() == params.Len()
		for i := range params.Len() {
			whole = whole && named.TypeArgs().At(i) == params.At(i)
		}
		if key := templates.NameOf(named.Obj()); whole && s.otherNames[key] == nil {
			s.otherNames[key] = obj
		}
	}
}

// mayImport applies the rule of internal packages.
func mayImport(importer, imported string) bool {
	importer = strings.TrimSuffix(importer, "_test")
	parts := strings.Split(imported, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] == "internal" {
			parent := strings.Join(parts[:i], "/")
			// Without a parent it is internal to the standard library.
			return parent != "" && (importer == parent || strings.HasPrefix(importer, parent+"/"))
		}
	}
	return true
}

// walk reports whether a type, or one that it is written with, is what is
// looked for. A declared type is not opened, but its type arguments are.
func walk(t types.Type, is func(types.Type) bool) bool {
	if is(t) {
		return true
	}
	tuple := func(list *types.Tuple) bool {
		for v := range list.Variables() {
			if walk(v.Type(), is) {
				return true
			}
		}
		return false
	}
	arguments := func(list *types.TypeList) bool {
		for arg := range list.Types() {
			if walk(arg, is) {
				return true
			}
		}
		return false
	}
	switch t := t.(type) {
	case *types.Alias:
		return arguments(t.TypeArgs())
	case *types.Named:
		return arguments(t.TypeArgs())
	case *types.Pointer:
		return walk(t.Elem(), is)
	case *types.Slice:
		return walk(t.Elem(), is)
	case *types.Array:
		return walk(t.Elem(), is)
	case *types.Chan:
		return walk(t.Elem(), is)
	case *types.Map:
		return walk(t.Key(), is) || walk(t.Elem(), is)
	case *types.Signature:
		return tuple(t.Params()) || tuple(t.Results())
	case *types.Struct:
		for f := range t.Fields() {
			if walk(f.Type(), is) {
				return true
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			if walk(m.Signature(), is) {
				return true
			}
		}
		for e := range t.EmbeddedTypes() {
			if walk(e, is) {
				return true
			}
		}
	case *types.Union:
		for term := range t.Terms() {
			if walk(term.Type(), is) {
				return true
			}
		}
	}
	return false
}
