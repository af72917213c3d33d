package templates

import (
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/dave/jennifer/jen"
)

// wrapper prints one wrapper: its type, constructor and methods.
type wrapper struct {
	*emitter
	Wrapper
	scope    *scope // of its declarations: the file's, and the type parameters
	fields   *scope // of its fields and methods, which share one name space
	list     *types.TypeParamList
	embedded string // name of the field that holds the next instance, empty with pools
	other    string // other name of the interface, to embed it under; empty when its own does
	chained  string // type of the fallback chain
	factory  string // type with the factories of several pools
	pools    []string
	guards   []string // field of each method's guard; empty for a method without
	rewrap   string   // method that wraps a result of the interface's own type; empty when there is none
	recv     string   // receiver of all methods
}

func newWrapper(e *emitter, m Wrapper) *wrapper {
	e.wrapper, e.method = m.Name, ""
	w := &wrapper{
		emitter: e, Wrapper: m,
		scope:  newScope(e.scope),
		fields: newScope(nil),
		list:   typeParamsOf(m.Interface),
		guards: make([]string, len(m.Methods)),
	}
	for _, method := range m.Methods {
		w.fields.reserve(method.Func.Name())
	}
	w.declareNames()
	e.typeParams = nameTypeParams(w.list, w.scope)
	if !w.pooled() {
		w.embedded = w.embed(w.fields)
	}
	for _, pool := range m.Pools {
		name := "pool"
		if pool.Field != "" {
			name = unexported(exported(pool.Field))
		}
		w.pools = append(w.pools, w.fields.allocate(name, name+"Pool"))
	}
	for i, method := range m.Methods {
		if w.guarded(method) {
			name := unexported(method.Func.Name())
			w.guards[i] = w.fields.allocate(name, name+"Guard")
		}
		if len(method.Rewrap) > 0 && !w.pooled() && w.rewrap == "" {
			w.rewrap = "wrap"
		}
	}
	if w.rewrap != "" {
		w.rewrap = w.fields.allocate(w.rewrap)
	}
	w.recv = w.receiver("p", "w", "g", "protected")
	return w
}

// receiver returns a name that no parameter or result of a method has, so that
// all methods of a type can have one.
func (w *wrapper) receiver(wanted ...string) string {
	s := w.scope.child()
	for _, m := range w.Methods {
		for _, tuple := range []*types.Tuple{m.Signature.Params(), m.Signature.Results()} {
			for v := range tuple.Variables() {
				s.reserve(v.Name())
			}
		}
	}
	return s.allocate(wanted...)
}

// embed returns the name of the field under which a struct embeds the
// interface. A method of that very name leaves no room for the field: then the
// interface is given another name.
func (w *wrapper) embed(fields *scope) string {
	field := w.Interface.Name()
	if w.other != "" {
		field = w.other
	}
	fields.reserve(field)
	return field
}

// declareNames chooses the names of declarations that are not in the model,
// before those of type parameters: one that had the same name would hide the
// declaration.
func (w *wrapper) declareNames() {
	if w.hasMethod(w.Interface.Name()) && w.embeds() {
		w.other = w.declare(w.beside("next"), w.fields)
	}
	if w.Fallback != "" {
		w.chained = w.declare(w.beside("fallback"), nil)
	}
	if len(w.Pools) > 1 {
		w.factory = w.declare(w.Name+"Factories", nil)
	}
}

// embeds reports whether the wrapper or its chain embeds the interface.
func (w *wrapper) embeds() bool {
	return !w.pooled() || w.Fallback != "" && slices.ContainsFunc(w.Methods, func(m Method) bool { return !w.declarable(m) })
}

// beside returns a name for something unexported that belongs to the
// interface: nextWeather for Weather and weatherNext for weather, so that the
// two can be in one package, in different files.
func (w *wrapper) beside(word string) string {
	name := w.Interface.Name()
	if token.IsExported(name) {
		return word + name
	}
	return name + exported(word)
}

func (w *wrapper) pooled() bool { return len(w.Pools) > 0 }

// guarded reports whether calls of the method go through a guard. On a pooled
// wrapper all do, for a place in the pool is taken there too; only closing is
// about the pools themselves.
func (w *wrapper) guarded(m Method) bool {
	if w.pooled() {
		return !closes(m)
	}
	return m.Protected
}

func (w *wrapper) declarations() []jen.Code {
	decls := []jen.Code{w.structure(), w.assertion()}
	decls = append(decls, w.constructors()...)
	for i, m := range w.Methods {
		w.method = m.Func.Name()
		switch {
		case w.pooled() && closes(m):
			decls = append(decls, w.closer())
		case w.guards[i] != "" || len(m.Rewrap) > 0:
			decls = append(decls, w.forward(m, w.guards[i]))
		}
	}
	w.method = ""
	if w.rewrap != "" {
		decls = append(decls, w.rewrapper())
	}
	if w.pooled() && !w.hasMethod("Close") {
		decls = append(decls, w.closer())
	}
	if w.Fallback != "" {
		decls = append(decls, w.chain()...)
	}
	if w.other != "" {
		decls = append(decls, w.otherName())
	}
	return decls
}

func (w *wrapper) hasMethod(name string) bool {
	for _, m := range w.Methods {
		if m.Func.Name() == name {
			return true
		}
	}
	return false
}

// iface mentions the annotated interface, wrapped the wrapper.
func (w *wrapper) iface() *jen.Statement   { return jen.Id(w.Interface.Name()).Add(w.used()) }
func (w *wrapper) wrapped() *jen.Statement { return jen.Id(w.Name).Add(w.used()) }

func (w *wrapper) structure() jen.Code {
	var fields []jen.Code
	if w.embedded != "" {
		fields = append(fields, jen.Id(w.embedded).Add(w.used()))
	}
	if len(w.pools) > 0 {
		fields = append(fields, jen.List(ids(w.pools)...).Op("*").Add(w.protect("Pool")).Types(w.iface()))
	}
	var guards []string
	for _, name := range w.guards {
		if name != "" {
			guards = append(guards, name)
		}
	}
	if len(fields) > 0 && len(guards) > 0 {
		fields = append(fields, jen.Line())
	}
	for _, name := range guards {
		fields = append(fields, jen.Id(name).Op("*").Add(w.protect("Guard")).Types(w.iface()))
	}
	return jen.Add(comment(w.doc()...)).Line().
		Type().Id(w.Name).Add(w.declared(w.list)).Struct(fields...)
}

func (w *wrapper) doc() []string {
	first := w.Name + " is " + article(w.Interface.Name()) + " that guards its calls."
	if w.pooled() {
		first = w.Name + " is " + article(w.Interface.Name()) + " that guards its calls and runs each on an instance borrowed from a pool."
	}
	paragraphs := []string{first + " Make one with " + w.Constructor + "."}
	var open []string
	for _, m := range w.Methods {
		if !m.Protected && !(w.pooled() && closes(m)) {
			open = append(open, m.Func.Name())
		}
	}
	if len(open) > 0 {
		paragraphs = append(paragraphs, "Unprotected: "+strings.Join(open, ", ")+".")
	}
	return paragraphs
}

// assertion makes the compiler check that the wrapper is one.
func (w *wrapper) assertion() jen.Code {
	if len(w.typeParams) == 0 {
		return jen.Var().Id("_").Add(w.iface()).Op("=").Parens(jen.Op("*").Add(w.wrapped())).Parens(w.builtin("nil"))
	}
	p := w.scope.child().allocate("p")
	return jen.Func().Id("_").Add(w.declared(w.list)).Params(jen.Id(p).Op("*").Add(w.wrapped())).Add(w.iface()).
		Block(jen.Return(jen.Id(p)))
}

func (w *wrapper) otherName() jen.Code {
	return jen.Add(comment(w.other + " is " + w.Interface.Name() + " under a name that none of its methods has.")).Line().
		Type().Id(w.other).Add(w.declared(w.list)).Op("=").Add(w.iface())
}

// rewrapper is the method that wraps results of the interface's own type.
func (w *wrapper) rewrapper() jen.Code {
	s := w.scope.child()
	p, next := w.recv, s.allocate("next")
	values := []jen.Code{jen.Id(w.embedded).Op(":").Id(next)}
	for _, name := range w.guards {
		if name != "" {
			values = append(values, jen.Id(name).Op(":").Id(p).Dot(name).Dot("With").Call(jen.Id(next)))
		}
	}
	return jen.Add(comment(w.rewrap+" returns next behind the guards of "+p+". Nil stays nil.")).Line().
		Func().Params(jen.Id(p).Op("*").Add(w.wrapped())).Id(w.rewrap).Params(jen.Id(next).Add(w.iface())).Add(w.iface()).Block(
		jen.If(jen.Id(next).Op("==").Add(w.builtin("nil"))).Block(jen.Return(w.builtin("nil"))),
		jen.Return(jen.Op("&").Add(w.wrapped()).Add(lines(values...))),
	)
}

func ids(names []string) []jen.Code {
	var list []jen.Code
	for _, name := range names {
		list = append(list, jen.Id(name))
	}
	return list
}

// lines is a composite literal's value with a line for each element.
func lines(elements ...jen.Code) jen.Code {
	return jen.Custom(jen.Options{Open: "{", Close: "}", Separator: ",", Multi: true}, elements...)
}
