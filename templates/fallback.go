package templates

import (
	"strings"

	"github.com/dave/jennifer/jen"
)

// chain prints the fallback chain of an interface: an implementation that
// tries others, in order.
type chain struct {
	*wrapper
	fields   *scope
	recv     string   // receiver of all methods
	embedded string   // field that carries the methods which this package cannot declare; empty without such
	carried  []string // names of those methods
	impls    string   // field of the implementations
	empty    string   // field of the error of a chain without any
}

// chain prints the fallback chain and its constructor.
func (w *wrapper) chain() []jen.Code {
	c := &chain{wrapper: w, fields: newScope(nil), recv: w.receiver("f", "c", "chain")}
	for _, m := range w.Methods {
		c.fields.reserve(m.Func.Name())
	}
	for _, m := range w.Methods {
		if !w.declarable(m) {
			c.carried = append(c.carried, m.Func.Name())
		}
	}
	if len(c.carried) > 0 {
		c.embedded = w.embed(c.fields)
	}
	c.impls, c.empty = c.fields.allocate("impls"), c.fields.allocate("empty")
	decls := []jen.Code{c.constructor(), c.structure()}
	for _, m := range w.Methods {
		w.method = m.Func.Name()
		if w.declarable(m) { // its name may be that of one which is not
			decls = append(decls, c.forward(m))
		}
	}
	w.method = ""
	return decls
}

// declarable reports whether this package can declare the method: its name is
// not one that belongs to another package, and its types can be written here.
func (w *wrapper) declarable(m Method) bool {
	if !m.Func.Exported() && m.Func.Pkg().Path() != w.file.Path {
		return false
	}
	attempt := newEmitter(w.file, &imports{}, nil)
	attempt.typeParams = nameTypeParams(w.list, attempt.scope)
	attempt.signature(m.Signature)
	return attempt.err == nil
}

// constructor prints the function that makes a chain. A chain of none is one
// too: each of its calls fails, without a special case in each method.
func (c *chain) constructor() jen.Code {
	s := c.scope.child()
	impls, impl, f := s.allocate("impls"), s.allocate("impl"), s.allocate("f")
	body := []jen.Code{
		jen.Id(f).Op(":=").Op("&").Add(c.typ()).Values(),
		jen.For(jen.List(jen.Id("_"), jen.Id(impl)).Op(":=").Range().Id(impls)).Block(
			jen.If(jen.Id(impl).Op("!=").Add(c.builtin("nil"))).Block(
				c.field(f, c.impls).Op("=").Add(c.builtin("append")).Call(c.field(f, c.impls), jen.Id(impl)),
			),
		),
		jen.If(c.builtin("len").Call(c.field(f, c.impls)).Op("==").Lit(0)).Block(
			c.field(f, c.empty).Op("=").Add(c.std("errors", "New")).Call(jen.Lit("there is no " + c.Interface.Name() + " to try")),
		),
	}
	if c.embedded != "" {
		body[2].(*jen.Statement).Else().Block(c.field(f, c.embedded).Op("=").Add(c.field(f, c.impls)).Index(jen.Lit(0)))
	}
	doc := c.Wrapper.Fallback + " returns " + article(c.Interface.Name()) + " that tries impls in order until one returns no error. " +
		"When none does, the error is a " + c.runtime() + ".ErrAllFailed that joins theirs. Nil ones are left out."
	var carried []string
	if len(c.carried) > 0 {
		carried = append(carried, strings.Join(c.carried, ", ")+": always the first, for this package cannot declare them.")
	}
	return jen.Add(comment(append([]string{doc}, carried...)...)).Line().
		Func().Id(c.Wrapper.Fallback).Add(c.declared(c.list)).
		Params(jen.Id(impls).Op("...").Add(c.iface())).Add(c.iface()).
		Block(append(body, jen.Return(jen.Id(f)))...)
}

func (c *chain) structure() jen.Code {
	var fields []jen.Code
	if c.embedded != "" {
		fields = append(fields, jen.Id(c.embedded).Add(c.used()).Comment("the first"), jen.Line())
	}
	fields = append(fields,
		jen.Id(c.impls).Index().Add(c.iface()),
		jen.Id(c.empty).Add(c.builtin("error")).Comment("why no call can succeed; nil with something to try"),
	)
	return jen.Add(comment(c.chained + " is what " + c.Wrapper.Fallback + " returns.")).Line().
		Type().Id(c.chained).Add(c.declared(c.list)).Struct(fields...)
}

func (c *chain) typ() *jen.Statement { return jen.Id(c.chained).Add(c.used()) }

func (c *chain) field(recv, name string) *jen.Statement { return jen.Id(recv).Dot(name) }

// forward prints a method of the chain.
func (c *chain) forward(m Method) jen.Code {
	sig, f := c.sign(m, c.recv), c.recv
	impl := sig.scope.allocate("impl")
	head := jen.Func().Params(jen.Id(f).Op("*").Add(c.typ())).Id(m.Func.Name()).Add(sig.declared(len(sig.results) > 0))
	name := m.Func.Name()
	call := func(on jen.Code) *jen.Statement { return jen.Add(on).Dot(name).Call(sig.args()...) }
	switch {
	case m.Error < 0:
		return jen.Add(comment(name + " asks the first: it has no error that would say to try another.")).Line().Add(head).Block(
			c.first(f, sig, call),
		)
	case closes(m):
		return jen.Add(comment(name+" closes all of them.")).Line().Add(head).Block(
			jen.For(jen.List(jen.Id("_"), jen.Id(impl)).Op(":=").Range().Add(c.field(f, c.impls))).Block(
				jen.Id(sig.results[0].name).Op("=").Add(c.std("errors", "Join")).Call(jen.Id(sig.results[0].name), call(jen.Id(impl))),
			),
			jen.Return(jen.Id(sig.results[0].name)),
		)
	}
	causes := sig.scope.allocate("causes")
	err := sig.results[m.Error].name
	failed := sig.assigned()
	failed[m.Error] = c.protect("AllFailed").Call(
		c.builtin("append").Call(jen.Id(causes), c.field(f, c.empty)).Op("..."))
	return jen.Add(comment(name+" tries them in order.")).Line().Add(head).Block(
		jen.Var().Id(causes).Index().Add(c.builtin("error")),
		jen.For(jen.List(jen.Id("_"), jen.Id(impl)).Op(":=").Range().Add(c.field(f, c.impls))).Block(
			jen.List(sig.assigned()...).Op("=").Add(call(jen.Id(impl))),
			jen.If(jen.Id(err).Op("==").Add(c.builtin("nil"))).Block(jen.Return(sig.assigned()...)),
			jen.Id(causes).Op("=").Add(c.builtin("append")).Call(jen.Id(causes), jen.Id(err)),
		),
		jen.Return(failed...),
	)
}

// first prints the call of the first implementation, if there is one.
func (c *chain) first(f string, sig *signature, call func(jen.Code) *jen.Statement) jen.Code {
	x := call(c.field(f, c.impls).Index(jen.Lit(0)))
	some := jen.If(c.builtin("len").Call(c.field(f, c.impls)).Op(">").Lit(0))
	if len(sig.results) == 0 {
		return some.Block(x)
	}
	return some.Block(jen.List(sig.assigned()...).Op("=").Add(x)).Line().Return(sig.assigned()...)
}
