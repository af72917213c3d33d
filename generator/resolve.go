package generator

import (
	"fmt"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strings"

	"github.com/protectgen/protectgen/generator/directive"
)

// declaration is an annotated interface with what protects each of its
// methods.
//
// Invariants, once assign is through: the layer of a method is the directive
// on the method, or else the one directive of the interface whose methods=
// selects it, or else the interface's directive without methods=; unless off
// removed what the interface gave. A method that cannot carry a layer does not
// have it.
type declaration struct {
	*annotation
	source  *source
	object  *types.TypeName
	key     string // weather.Weather
	methods []*method
	wrap    *directive.Directive // nil without one
	chain   *directive.Directive // fallback next; nil without one
}

// method is a method of an annotated interface.
type method struct {
	fn       *types.Func
	sig      *types.Signature
	key      string    // weather.Weather.Forecast
	pos      token.Pos // of its name, or of the interface's name when it arrives by embedding
	on       []*directive.Directive
	err, ctx int    // index of the error result and of the context parameter; -1 without one
	almost   string // a result's type that is taken for error and is another; empty without one
	foreign  string // why this package cannot declare the method; empty when it can
	layers   map[string]*layer
	passed   []string // layers of the interface that it cannot carry
	removed  bool     // off took something away
}

// layer is a directive around a method.
type layer struct {
	*directive.Directive
	inherited bool
	part      string // name of the part; empty without parts
}

// resolver resolves the annotations of a unit. Names are shared by its
// packages.
type resolver struct {
	*reporter
	names *names
	asked map[*source]*asked // of the packages with declarations
}

// declare finds out what protects the methods of an annotated declaration, and
// takes the names that it needs. It returns nil when there is no interface.
func (r *resolver) declare(s *source, a *annotation) *declaration {
	name := a.spec.Name
	at := s.position(name.Pos())
	if here := a.file.file.Name; here.Name != s.types.Name() {
		r.errorf(s.position(here.Pos()), "a folder has one package, and its tests", "this is package %s, and other files of the folder are package %s", here.Name, s.types.Name())
		return nil
	}
	object, ok := s.info.Defs[name].(*types.TypeName)
	if !ok || name.Name == "_" {
		r.errorf(at, "give it a name", "an interface without a name can have no wrapper")
		return nil
	}
	if r.broken(s, a, object) {
		return nil
	}
	iface, ok := object.Type().Underlying().(*types.Interface)
	switch {
	case !ok || isTypeParam(object.Type()):
		r.errorf(at, "a wrapper implements an interface; directives stand on interfaces and their methods", "%s is not an interface", name.Name)
		return nil
	case !iface.IsMethodSet():
		r.errorf(at, "only an interface whose values can be called can have a wrapper", "%s is a constraint: no variable can have its type", name.Name)
		return nil
	case iface.NumMethods() == 0:
		r.errorf(at, "", "%s has no methods that a wrapper could protect", name.Name)
		return nil
	}
	d := &declaration{annotation: a, source: s, object: object, key: s.types.Name() + "." + name.Name}
	for _, fn := range methodsInOrder(iface, s, a) {
		d.methods = append(d.methods, d.method(fn))
	}
	for _, on := range a.own {
		switch {
		case on.Spec.Name == "wrap":
			d.wrap = on
		case isChain(on):
			d.chain = on
			if selective(on) {
				r.errorf(d.at(argPos(on, "methods")), "leave methods= out, or name a function", "fallback next makes a chain of whole implementations, not of some methods")
			}
		}
	}
	if !r.complete(d) {
		return nil
	}
	r.assign(d)
	r.checkPools(d)
	r.takeNames(d)
	return d
}

func isTypeParam(t types.Type) bool {
	_, ok := types.Unalias(t).(*types.TypeParam)
	return ok
}

// methodsInOrder returns the method set: the interface's own methods as they
// are written, then the others by name.
func methodsInOrder(iface *types.Interface, s *source, a *annotation) []*types.Func {
	declared := func(fn *types.Func) bool {
		return a.spec.Pos() <= fn.Pos() && fn.Pos() < a.spec.End() && fn.Pkg() == s.types
	}
	var own, others []*types.Func
	for fn := range iface.Methods() {
		if declared(fn) {
			own = append(own, fn)
		} else {
			others = append(others, fn)
		}
	}
	slices.SortFunc(own, func(a, b *types.Func) int { return int(a.Pos() - b.Pos()) })
	slices.SortFunc(others, func(a, b *types.Func) int { return strings.Compare(a.Id(), b.Id()) })
	return append(own, others...)
}

func (d *declaration) method(fn *types.Func) *method {
	m := &method{
		fn: fn, sig: fn.Signature(), key: d.key + "." + fn.Name(), pos: d.spec.Name.Pos(),
		err: -1, ctx: -1, layers: map[string]*layer{},
	}
	for ident, on := range d.annotation.methods {
		if d.source.info.Defs[ident] == fn || ident.Pos() == fn.Pos() {
			m.on = on
		}
	}
	if d.spec.Pos() <= fn.Pos() && fn.Pos() < d.spec.End() {
		m.pos = fn.Pos()
	}
	for i := range m.sig.Results().Len() {
		if t := m.sig.Results().At(i).Type(); isError(t) {
			m.err = i
		} else if what := d.source.almostError(t); what != "" {
			m.almost = what
		}
	}
	for i := m.sig.Params().Len() - 1; i >= 0; i-- {
		if isContext(m.sig.Params().At(i).Type()) {
			m.ctx = i
		}
	}
	m.foreign = d.source.foreign(fn)
	return m
}

// almostError names a type that is not the predeclared error and that readers
// may take for it: it implements it, or is called so. Empty for others.
func (s *source) almostError(t types.Type) string {
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		if t.Obj().Name() == "error" {
			return "the package's own error"
		}
	case *types.TypeParam:
		if t.Obj().Name() == "error" {
			return "a type parameter called error"
		}
	}
	if implementsError(t) {
		return s.text(t)
	}
	return ""
}

// isContext reports whether a type is context.Context, under whatever name.
func isContext(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Name() == "Context" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "context"
}

// cannot says why a method cannot carry a layer; empty when it can.
func (m *method) cannot(layer string) string {
	switch {
	case m.foreign != "":
		return m.foreign
	case m.err < 0 && m.almost != "":
		return "returns " + m.almost + " in place of the predeclared error, so that a refusal could not be reported"
	case m.err < 0:
		return "has no error result, so that a refusal could not be reported"
	case layer == "timeout" && m.ctx < 0:
		return "has no context.Context parameter, so that nothing would end the call"
	}
	return ""
}

// assign gives each method its layers.
func (r *resolver) assign(d *declaration) {
	for _, name := range directive.Layers() {
		given := d.given(name)
		for _, on := range given {
			r.checkSelection(d, on)
		}
		for _, m := range d.methods {
			r.layer(d, m, name, given)
		}
		for _, on := range given {
			r.checkUse(d, on)
		}
	}
	for _, m := range d.methods {
		for _, on := range m.on {
			if on.Spec.Name == "off" {
				r.off(d, m, on)
			}
		}
	}
	for _, on := range d.given("off") {
		r.offSelected(d, on)
	}
}

// given returns the interface's directives of a name.
func (d *declaration) given(name string) []*directive.Directive {
	var out []*directive.Directive
	for _, on := range d.own {
		if on.Spec.Name == name && !isChain(on) {
			out = append(out, on)
		}
	}
	return out
}

// layer decides which directive of a name a method has.
func (r *resolver) layer(d *declaration, m *method, name string, given []*directive.Directive) {
	if i := slices.IndexFunc(m.on, func(on *directive.Directive) bool { return on.Spec.Name == name }); i >= 0 {
		on := m.on[i]
		switch why := m.cannot(name); {
		case isChain(on):
			r.errorf(d.at(on.Pos), "put it on the interface, or name a function", "fallback next makes a chain of whole implementations: it stands on an interface, not on a method")
		case why != "":
			r.errorf(d.at(on.Pos), "", "%s: %s %s", name, m.fn.Name(), why)
		default:
			m.layers[name] = &layer{Directive: on}
		}
		return
	}
	var chosen *directive.Directive
	for _, on := range given {
		switch selected := selects(on, m.fn.Name()); {
		case !selected:
		case chosen == nil || !selective(chosen):
			chosen = on
		case selective(on):
			r.errorf(d.at(argPos(on, "methods")), "let no method be selected by two of them", "%s: this selects %s, and so does line %d", name, m.fn.Name(), d.at(chosen.Pos).Line)
		}
	}
	if chosen == nil {
		return
	}
	if why := m.cannot(name); why != "" {
		if m.removes(name) {
			return // needless, but not wrong: it says what is so
		}
		m.passed = append(m.passed, name)
		if item, ok := namesExactly(chosen, m.fn.Name()); ok {
			r.errorf(d.at(item.Pos), "", "%s: %s %s", name, m.fn.Name(), why)
		}
		return
	}
	m.layers[name] = &layer{Directive: chosen, inherited: true}
}

// removes reports whether an off on the method is about a layer.
func (m *method) removes(name string) bool {
	return slices.ContainsFunc(m.on, func(on *directive.Directive) bool {
		return on.Spec.Name == "off" && slices.ContainsFunc(on.Args, func(a directive.Arg) bool { return a.Value == name })
	})
}

// selective reports whether a directive on an interface is for some methods.
func selective(on *directive.Directive) bool {
	_, ok := on.Arg("methods")
	return ok
}

// patterns returns the patterns of methods=.
func patterns(on *directive.Directive) []directive.Item {
	arg, _ := on.Arg("methods")
	items, _ := arg.Value.([]directive.Item)
	return items
}

// selects reports whether a directive on an interface is for a method.
func selects(on *directive.Directive, name string) bool {
	return !selective(on) || slices.ContainsFunc(patterns(on), func(p directive.Item) bool {
		ok, _ := path.Match(p.Text, name)
		return ok
	})
}

// namesExactly returns the pattern that is a method's very name.
func namesExactly(on *directive.Directive, name string) (directive.Item, bool) {
	i := slices.IndexFunc(patterns(on), func(p directive.Item) bool { return p.Text == name })
	if i < 0 {
		return directive.Item{}, false
	}
	return patterns(on)[i], true
}

// argPos is where an argument of a directive stands, or else the directive.
func argPos(on *directive.Directive, name string) token.Pos {
	if arg, ok := on.Arg(name); ok {
		return arg.Pos
	}
	return on.Pos
}

func (d *declaration) at(pos token.Pos) token.Position { return d.source.position(pos) }

// checkSelection reports patterns that select nothing.
func (r *resolver) checkSelection(d *declaration, on *directive.Directive) {
	var all []string
	for _, m := range d.methods {
		all = append(all, m.fn.Name())
	}
	for _, p := range patterns(on) {
		if !slices.ContainsFunc(all, func(name string) bool { ok, _ := path.Match(p.Text, name); return ok }) {
			hint := "it has " + strings.Join(all, ", ")
			if near, ok := directive.Nearest(p.Text, all); ok {
				hint = "did you mean " + near + "?"
			}
			r.errorf(d.at(p.Pos), hint, "%s: %s has no method %s", on.Spec.Name, d.object.Name(), p.Text)
		}
	}
}

// checkUse reports a directive of the interface that protects no method,
// because none that it is for can carry it.
func (r *resolver) checkUse(d *declaration, on *directive.Directive) {
	name := on.Spec.Name
	if d.bad || name == "pool" { // of pools each method is told
		return
	}
	why, same := "", true
	for _, m := range d.methods {
		if m.layers[name] != nil {
			return // in use, or replaced by the method's own
		}
		if _, said := namesExactly(on, m.fn.Name()); said {
			return
		}
		if reason := m.cannot(name); selects(on, m.fn.Name()) && reason != "" {
			same = same && (why == "" || why == reason)
			why = reason
		}
	}
	switch {
	case why == "":
	case same:
		r.errorf(d.at(on.Pos), "", "%s: every method that it is for %s", name, why)
	default:
		r.errorf(d.at(on.Pos), "protectgen explain tells why of each", "%s: no method that it is for can carry it", name)
	}
}

// off removes from a method what the interface gave.
func (r *resolver) off(d *declaration, m *method, on *directive.Directive) {
	pooled := d.pooled()
	if len(on.Args) == 0 {
		found := d.wrap != nil || pooled && m.closes()
		for name, l := range m.layers {
			if l.inherited && name != "pool" {
				delete(m.layers, name)
				m.removed, found = true, true
			}
		}
		if len(m.passed) > 0 {
			found = true
		}
		if !found && !d.bad {
			r.errorf(d.at(on.Pos), "", "off: %s has nothing from %s that could be removed", m.fn.Name(), d.object.Name())
		}
		m.removed = true
		return
	}
	for _, arg := range on.Args {
		name, _ := arg.Value.(string)
		if name == "" {
			continue
		}
		l := m.layers[name]
		switch {
		case name == "pool" && pooled:
			r.errorf(d.at(arg.Pos), "", "off: with a pool every method runs on a borrowed instance, %s too", m.fn.Name())
		case l != nil && !l.inherited:
			r.errorf(d.at(arg.Pos), "a directive on a method replaces the interface's, so leave off out", "off: %s has a %s of its own", m.fn.Name(), name)
		case l != nil:
			delete(m.layers, name)
			m.removed = true
		case !d.bad && len(d.given(name)) == 0:
			r.errorf(d.at(arg.Pos), "", "off: %s has no %s from %s that could be removed", m.fn.Name(), name, d.object.Name())
		}
	}
}

// offSelected removes what the interface gave from the methods that methods=
// selects.
func (r *resolver) offSelected(d *declaration, on *directive.Directive) {
	if !selective(on) {
		r.errorf(d.at(on.Pos), "put it on a method, or select methods with methods=", "off: on an interface it would remove what the interface gives")
		return
	}
	r.checkSelection(d, on)
	var names []string
	for _, arg := range on.Args {
		if name, ok := arg.Value.(string); ok {
			names = append(names, name)
			if name == "pool" && d.pooled() {
				r.errorf(d.at(arg.Pos), "", "off: with a pool every method runs on a borrowed instance")
			}
		}
	}
	if len(names) == 0 {
		names = directive.Layers()
	}
	found := d.wrap != nil || d.bad
	for _, m := range d.methods {
		if !selects(on, m.fn.Name()) {
			continue
		}
		m.removed = true
		for _, name := range names {
			if l := m.layers[name]; l != nil && l.inherited && name != "pool" {
				delete(m.layers, name)
				found = true
			}
		}
	}
	if !found {
		r.errorf(d.at(on.Pos), "", "off: %s gives the methods that it selects nothing that could be removed", d.object.Name())
	}
}

// pooled reports whether the wrapper has pools.
func (d *declaration) pooled() bool {
	return len(d.given("pool")) > 0 || slices.ContainsFunc(d.methods, func(m *method) bool {
		return slices.ContainsFunc(m.on, func(on *directive.Directive) bool { return on.Spec.Name == "pool" })
	})
}

// closes reports whether a method of a pooled wrapper closes its pools.
func (m *method) closes() bool {
	return m.fn.Name() == "Close" && m.sig.Params().Len() == 0 && m.sig.Results().Len() == 1 && m.err == 0
}

// checkPools makes sure of what pools need: each method has one and can report
// that none of its instances is free.
func (r *resolver) checkPools(d *declaration) {
	if !d.pooled() {
		return
	}
	refused := map[string][]*method{}
	var uncovered []string
	for _, m := range d.methods {
		if m.closes() {
			for _, on := range m.on {
				if on.Spec.Name != "off" {
					r.errorf(d.at(on.Pos), "", "%s: Close closes the pools of the wrapper, and calls nothing that could be protected", on.Spec.Name)
				}
			}
			clear(m.layers)
			m.passed = nil
			continue
		}
		has := m.layers["pool"] != nil || slices.ContainsFunc(d.given("pool"), func(on *directive.Directive) bool { return selects(on, m.fn.Name()) })
		switch why := m.cannot("pool"); {
		case why != "":
			refused[why] = append(refused[why], m)
		case !has:
			uncovered = append(uncovered, m.fn.Name())
		}
	}
	for why, methods := range refused {
		r.refusePool(d, why, methods)
	}
	if len(uncovered) > 0 && !d.bad {
		r.errorf(d.at(d.spec.Name.Pos()), "with a pool every method runs on a borrowed instance: put a pool on the interface, or on them too", "%s: no pool is said for %s", d.object.Name(), strings.Join(uncovered, ", "))
	}
}

// refusePool reports the methods that cannot run on borrowed instances: those
// of the interface where they stand, those that arrive by embedding together.
func (r *resolver) refusePool(d *declaration, why string, methods []*method) {
	const hint = "with a pool every method runs on a borrowed instance; leave the pool out, or use a bulkhead"
	var embedded []string
	for _, m := range methods {
		if m.pos == d.spec.Name.Pos() {
			embedded = append(embedded, m.fn.Name())
		} else {
			r.errorf(d.at(m.pos), hint, "pool: %s %s", m.fn.Name(), why)
		}
	}
	if len(embedded) == 0 {
		return
	}
	who := embedded[0]
	if others := len(embedded) - 1; others > 0 {
		noun := "methods that arrive"
		if others == 1 {
			noun = "method that arrives"
		}
		who = fmt.Sprintf("%s, as %d other %s by embedding,", who, others, noun)
	}
	at := d.spec.Name.Pos()
	if given := d.given("pool"); len(given) > 0 {
		at = given[0].Pos
	}
	r.errorf(d.at(at), hint, "pool: %s %s", who, why)
}
