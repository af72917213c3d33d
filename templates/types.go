package templates

import (
	"fmt"
	"go/token"
	"go/types"

	"github.com/dave/jennifer/jen"
)

// typ prints t as the file spells it. Aliases keep their names, except those
// that the file cannot name.
func (e *emitter) typ(t types.Type) *jen.Statement {
	switch t := t.(type) {
	case *types.Alias:
		return e.alias(t)
	case *types.Basic:
		return e.basic(t)
	case *types.Named:
		return e.object(t.Obj(), t.TypeArgs())
	case *types.TypeParam:
		return jen.Id(e.typeParams[t.Index()])
	case *types.Pointer:
		return jen.Op("*").Add(e.typ(t.Elem()))
	case *types.Slice:
		return jen.Index().Add(e.typ(t.Elem()))
	case *types.Array:
		return jen.Index(jen.Lit(int(t.Len()))).Add(e.typ(t.Elem()))
	case *types.Map:
		return jen.Map(e.typ(t.Key())).Add(e.typ(t.Elem()))
	case *types.Chan:
		return e.channel(t)
	case *types.Signature:
		return jen.Func().Add(e.signature(t))
	case *types.Struct:
		return e.structure(t)
	case *types.Interface:
		return e.iface(t)
	case *types.Union:
		return e.union(t)
	}
	e.fail("%v cannot be written in Go", t)
	return jen.Null()
}

func (e *emitter) alias(t *types.Alias) *jen.Statement {
	obj := t.Obj()
	switch {
	case obj.Pkg() == nil && e.redeclared(obj.Name()), // any
		obj.Pkg() != nil && !e.nameable(obj):
		return e.typ(t.Rhs())
	}
	return e.object(obj, t.TypeArgs())
}

// basic prints a predeclared type. byte and rune have a second name for a
// package that took the first.
func (e *emitter) basic(t *types.Basic) *jen.Statement {
	name := t.Name()
	switch {
	case t.Kind() == types.UnsafePointer:
		return jen.Id(e.imports.use("unsafe", "unsafe")).Dot("Pointer")
	case t.Info()&types.IsUntyped != 0 || t.Kind() == types.Invalid:
		e.fail("%v is no type that can be written", t)
		return jen.Null()
	case name == "byte" && e.redeclared(name):
		name = "uint8"
	case name == "rune" && e.redeclared(name):
		name = "int32"
	}
	return e.builtin(name)
}

// object prints a declared type and its type arguments.
func (e *emitter) object(obj *types.TypeName, args *types.TypeList) *jen.Statement {
	var s *jen.Statement
	switch {
	case obj.Pkg() == nil: // error, comparable, any
		s = e.builtin(obj.Name())
	case !e.nameable(obj) && e.file.OtherNames[NameOf(obj)] != nil:
		other := e.file.OtherNames[NameOf(obj)]
		s = e.qualified(other.Pkg().Path(), other.Pkg().Name(), other.Name())
	case !e.nameable(obj):
		e.fail("the type %s.%s cannot be named in package %s", obj.Pkg().Path(), obj.Name(), e.file.Package)
		return jen.Null()
	default:
		s = e.qualified(obj.Pkg().Path(), obj.Pkg().Name(), obj.Name())
	}
	if args.Len() == 0 {
		return s
	}
	return s.TypesFunc(func(g *jen.Group) {
		for arg := range args.Types() {
			g.Add(e.typ(arg))
		}
	})
}

// nameable reports whether the file can mention a package-level declaration.
func (e *emitter) nameable(obj types.Object) bool {
	if obj.Pkg().Path() == e.file.Path {
		return obj.Parent() == nil || obj.Parent() == obj.Pkg().Scope()
	}
	return obj.Exported() && importable(obj.Pkg().Path(), e.file.Path)
}

func (e *emitter) channel(t *types.Chan) *jen.Statement {
	elem := e.typ(t.Elem())
	switch t.Dir() {
	case types.SendOnly:
		return jen.Chan().Op("<-").Add(elem)
	case types.RecvOnly:
		return jen.Op("<-").Chan().Add(elem)
	}
	if inner, ok := t.Elem().(*types.Chan); ok && inner.Dir() == types.RecvOnly {
		elem = jen.Parens(elem) // chan <-chan T would be a chan<- chan T
	}
	return jen.Chan().Add(elem)
}

// signature prints the parameters and results of a function type, without the
// word func.
func (e *emitter) signature(t *types.Signature) *jen.Statement {
	s := jen.Params(e.tuple(t.Params(), t.Variadic())...)
	switch results := e.tuple(t.Results(), false); {
	case len(results) == 1 && t.Results().At(0).Name() == "":
		s.Add(results[0])
	case len(results) > 0:
		s.Params(results...)
	}
	return s
}

func (e *emitter) tuple(t *types.Tuple, variadic bool) []jen.Code {
	var list []jen.Code
	for i := range t.Len() {
		v, s := t.At(i), jen.Null()
		if v.Name() != "" {
			s = jen.Id(v.Name())
		}
		list = append(list, s.Add(e.parameterType(v.Type(), variadic && i == t.Len()-1)))
	}
	return list
}

func (e *emitter) parameterType(t types.Type, variadic bool) *jen.Statement {
	if slice, ok := t.(*types.Slice); ok && variadic {
		return jen.Op("...").Add(e.typ(slice.Elem()))
	}
	return e.typ(t)
}

func (e *emitter) structure(t *types.Struct) *jen.Statement {
	var fields []jen.Code
	for i := range t.NumFields() {
		f, s := t.Field(i), jen.Null()
		if !f.Exported() && f.Pkg().Path() != e.file.Path {
			e.fail("the struct type with field %s of package %s cannot be written in another package", f.Name(), f.Pkg().Path())
		}
		if !f.Embedded() {
			s = jen.Id(f.Name())
		}
		s.Add(e.typ(f.Type()))
		if tag := t.Tag(i); tag != "" {
			s.Lit(tag)
		}
		fields = append(fields, s)
	}
	return jen.Struct(fields...)
}

func (e *emitter) iface(t *types.Interface) *jen.Statement {
	var members []jen.Code
	for m := range t.ExplicitMethods() {
		if !m.Exported() && m.Pkg().Path() != e.file.Path {
			e.fail("the interface type with method %s of package %s cannot be written in another package", m.Name(), m.Pkg().Path())
		}
		members = append(members, jen.Id(m.Name()).Add(e.signature(m.Signature())))
	}
	for embedded := range t.EmbeddedTypes() {
		members = append(members, e.typ(embedded))
	}
	if t.IsImplicit() && len(members) == 1 && !startsWithPointer(t.EmbeddedType(0)) {
		return members[0].(*jen.Statement)
	}
	return jen.Interface(members...)
}

// startsWithPointer reports whether a constraint begins with *: in the
// declaration of a type, [P *T] would be the length of an array.
func startsWithPointer(t types.Type) bool {
	if u, ok := t.(*types.Union); ok {
		if u.Term(0).Tilde() {
			return false
		}
		t = u.Term(0).Type()
	}
	_, pointer := t.(*types.Pointer)
	return pointer
}

func (e *emitter) union(t *types.Union) *jen.Statement {
	s := jen.Null()
	for i := range t.Len() {
		if i > 0 {
			s.Op("|")
		}
		if t.Term(i).Tilde() {
			s.Op("~")
		}
		s.Add(e.typ(t.Term(i).Type()))
	}
	return s
}

// typeParamsOf returns the type parameters of the annotated declaration.
func typeParamsOf(name *types.TypeName) *types.TypeParamList {
	switch t := name.Type().(type) {
	case *types.Named:
		return t.TypeParams()
	case *types.Alias:
		return t.TypeParams()
	}
	return nil
}

// nameTypeParams chooses the names of a wrapper's type parameters, its own
// where nothing is in the way.
func nameTypeParams(list *types.TypeParamList, s *scope) []string {
	var names []string
	for p := range list.TypeParams() {
		name := p.Obj().Name()
		if !token.IsIdentifier(name) || name == "_" {
			name = "T"
		}
		names = append(names, s.allocate(name))
	}
	return names
}

// declared prints type parameters with their constraints: [K comparable, V any].
func (e *emitter) declared(list *types.TypeParamList) *jen.Statement {
	if list.Len() == 0 {
		return jen.Null()
	}
	return jen.TypesFunc(func(g *jen.Group) {
		for p := range list.TypeParams() {
			g.Id(e.typeParams[p.Index()]).Add(e.typ(p.Constraint()))
		}
	})
}

// used prints type parameters as arguments: [K, V].
func (e *emitter) used() *jen.Statement {
	if len(e.typeParams) == 0 {
		return jen.Null()
	}
	return jen.TypesFunc(func(g *jen.Group) {
		for _, name := range e.typeParams {
			g.Id(name)
		}
	})
}

func (e *emitter) fail(format string, args ...any) { e.refuse("", format, args...) }

// refuse notes the first thing that cannot be written.
func (e *emitter) refuse(hint, format string, args ...any) {
	if e.err == nil {
		e.err = &Error{Wrapper: e.wrapper, Method: e.method, Err: fmt.Errorf(format, args...), Hint: hint}
	}
}
