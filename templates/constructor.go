package templates

import (
	"go/types"

	"github.com/dave/jennifer/jen"
)

// constructor prints the function that makes a wrapper.
//
// Invariant of what it prints: on every way out with an error, the pools that
// were started are closed again.
type constructor struct {
	*wrapper
	settings *settings
	scope    *scope
	rt, err  string
	body     []jen.Code
	started  []string      // pools that an error must close
	guards   map[int]guard // of the method with that index
}

// guard is where the constructor finds a guard: an element of a slice.
type guard struct {
	slice string
	index int
}

// constructors prints the constructor and the types that it needs.
func (w *wrapper) constructors() []jen.Code {
	c := &constructor{wrapper: w, scope: w.scope.child(), guards: map[int]guard{}}
	c.rt, c.err = c.scope.allocate("rt"), c.scope.allocate("err")
	switch len(w.Pools) {
	case 0:
		return []jen.Code{c.around()}
	case 1:
		factory := c.scope.allocate("factory")
		return []jen.Code{c.pooled(jen.Id(factory).Add(c.factoryType()), []*jen.Statement{jen.Id(factory)})}
	}
	factories := c.scope.allocate("factories")
	names := newScope(nil)
	var fields []jen.Code
	var each []*jen.Statement
	for _, pool := range w.Pools {
		field := names.allocate(exported(pool.Field))
		fields = append(fields, jen.Id(field).Add(c.factoryType()))
		each = append(each, jen.Id(factories).Dot(field))
	}
	return []jen.Code{
		jen.Add(comment(w.factory + " makes the instances of " + w.Name + "'s pools.")).Line().
			Type().Id(w.factory).Add(w.declared(w.list)).Struct(fields...),
		c.pooled(jen.Id(factories).Id(w.factory).Add(w.used()), each),
	}
}

// around prints the constructor of a wrapper around one instance.
func (c *constructor) around() jen.Code {
	next := c.scope.allocate("next")
	c.settings = newSettings(c.wrapper, c.scope)
	c.makeGuards("guards", "NewGuards", jen.Id(next), func(Method) bool { return true })
	doc := c.Constructor + " returns " + next + " behind its guards. Wrappers made with one " + c.rt +
		" share limiters, breakers and bulkheads; a nil " + c.rt + " is " + c.runtime() + ".Default()."
	return c.declaration(doc, jen.Id(next).Add(c.iface()), field(c.embedded, jen.Id(next)))
}

// pooled prints the constructor of a wrapper whose instances factories make,
// one for each pool.
func (c *constructor) pooled(param *jen.Statement, factories []*jen.Statement) jen.Code {
	var pools []string
	for _, name := range c.pools {
		pools = append(pools, c.scope.allocate(name))
	}
	c.settings = newSettings(c.wrapper, c.scope)
	var values []jen.Code
	for i, factory := range factories {
		c.factoryDefaults(factory, c.Pools[i])
		c.body = append(c.body,
			jen.List(jen.Id(pools[i]), jen.Id(c.err)).Op(":=").Add(c.protect("NewPool")).Call(
				jen.Id(c.rt), jen.Lit(c.Pools[i].Name), jen.Id(c.settings.shared[c.settings.poolPart(i)]), factory),
			c.giveUp(),
		)
		c.started = append(c.started, pools[i])
		values = append(values, field(c.wrapper.pools[i], jen.Id(pools[i])))
	}
	for i, pool := range pools {
		name := "guards"
		if len(pools) > 1 {
			name = pool + "Guards"
		}
		c.makeGuards(name, "NewPooledGuards", jen.Id(pool), func(m Method) bool { return m.Pool == i })
	}
	doc := c.Constructor + " returns " + article(c.Interface.Name()) + " whose calls run, behind their guards, on instances that "
	if len(pools) == 1 {
		doc += "the factory makes."
	} else {
		doc += "the factories make, one for each pool."
	}
	doc += " Wrappers made with one " + c.rt + " share limiters, breakers and bulkheads, but no pool; a nil " + c.rt + " is " +
		c.runtime() + ".Default()."
	return c.declaration(doc, param, values...)
}

// makeGuards prints the call that makes the guards of the methods that are
// chosen, around target.
func (c *constructor) makeGuards(name, function string, target jen.Code, chosen func(Method) bool) {
	var specs []jen.Code
	name = c.scope.allocate(name)
	for i, m := range c.Methods {
		if c.wrapper.guards[i] != "" && chosen(m) {
			c.guards[i] = guard{name, len(specs)}
			specs = append(specs, c.settings.spec(m))
		}
	}
	call := c.protect(function)
	if len(specs) == 0 {
		// Nothing to guard, but the arguments are still checked.
		c.body = append(c.body, jen.If(
			jen.List(jen.Id("_"), jen.Id(c.err)).Op(":=").Add(call).Call(jen.Id(c.rt), target),
			jen.Id(c.err).Op("!=").Add(c.builtin("nil")),
		).Block(c.failed()))
		return
	}
	args := []jen.Code{jen.Id(c.rt), target}
	for _, spec := range specs {
		args = append(args, jen.Line().Add(spec))
	}
	c.body = append(c.body,
		jen.List(jen.Id(name), jen.Id(c.err)).Op(":=").Add(call).Call(append(args, jen.Line())...),
		c.giveUp(),
	)
}

// giveUp prints the check of the error that was just assigned.
func (c *constructor) giveUp() jen.Code {
	return jen.If(jen.Id(c.err).Op("!=").Add(c.builtin("nil"))).Block(c.failed())
}

func (c *constructor) failed() jen.Code {
	if len(c.started) == 0 {
		return jen.Return(c.builtin("nil"), jen.Id(c.err))
	}
	errs := []jen.Code{jen.Id(c.err)}
	for _, pool := range c.started {
		errs = append(errs, c.closePool(jen.Id(pool)))
	}
	return jen.Return(c.builtin("nil"), c.std("errors", "Join").Call(errs...))
}

// declaration prints the function around the body; values are the fields of
// the wrapper besides its guards.
func (c *constructor) declaration(doc string, param jen.Code, values ...jen.Code) jen.Code {
	for i, name := range c.wrapper.guards {
		if name != "" {
			values = append(values, field(name, jen.Id(c.guards[i].slice).Index(jen.Lit(c.guards[i].index))))
		}
	}
	body := append(c.settings.vars, c.body...)
	body = append(body, jen.Return(jen.Op("&").Add(c.wrapped()).Add(lines(values...)), c.builtin("nil")))
	return jen.Add(comment(doc)).Line().
		Func().Id(c.Constructor).Add(c.declared(c.list)).
		Params(jen.Id(c.rt).Op("*").Add(c.protect("Runtime")), param).
		Params(jen.Op("*").Add(c.wrapped()), c.builtin("error")).
		Block(body...)
}

func (w *wrapper) factoryType() *jen.Statement { return w.protect("Factory").Types(w.iface()) }

// factoryDefaults prints what the interface and the directives give a factory
// that does not say so itself.
func (c *constructor) factoryDefaults(factory *jen.Statement, pool Pool) {
	if closing := c.closeInstance(); closing != nil {
		c.factoryDefault(factory, "Close", closing)
	}
	if pool.Broken != nil {
		c.factoryDefault(factory, "Broken", c.function(pool.Broken))
	}
}

func (c *constructor) factoryDefault(factory *jen.Statement, name string, value jen.Code) {
	at := factory.Clone().Dot(name)
	c.body = append(c.body, jen.If(at.Clone().Op("==").Add(c.builtin("nil"))).Block(at.Clone().Op("=").Add(value)))
}

// closeInstance prints the function that closes an instance by the
// interface's own Close; nil when it has none.
func (c *constructor) closeInstance() jen.Code {
	for _, m := range c.Methods {
		if closes(m) {
			return c.iface().Dot(m.Func.Name())
		}
	}
	return nil
}

// closePool prints the call that closes a pool once its borrowers are done.
func (w *wrapper) closePool(pool *jen.Statement) jen.Code {
	return pool.Dot("Close").Call(w.std("context", "Background").Call())
}

// closer prints the method that closes the pools.
func (w *wrapper) closer() jen.Code {
	var calls []jen.Code
	for _, pool := range w.pools {
		calls = append(calls, w.closePool(jen.Id(w.recv).Dot(pool)))
	}
	closed, doc := calls[0], "Close waits for the calls that run and closes the pool with its instances. Calls that come later are refused."
	if len(calls) > 1 {
		closed = w.std("errors", "Join").Call(calls...)
		doc = "Close waits for the calls that run and closes the pools with their instances. Calls that come later are refused."
	}
	return jen.Add(comment(doc)).Line().
		Func().Params(jen.Id(w.recv).Op("*").Add(w.wrapped())).Id("Close").Params().Add(w.builtin("error")).
		Block(jen.Return(closed))
}

// closes reports whether a method of a pooled wrapper is about its pools: it
// closes them, as Close() error.
func closes(m Method) bool {
	return m.Func.Name() == "Close" && types.Identical(m.Signature, closeSignature)
}

var closeSignature = types.NewSignatureType(nil, nil, nil, nil,
	types.NewTuple(types.NewParam(0, nil, "", types.Universe.Lookup("error").Type())), false)
