package generator

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	protect "github.com/protectgen/protectgen/runtime"

	"github.com/protectgen/protectgen/generator/directive"
	"github.com/protectgen/protectgen/templates"
)

// model is one file to be written, and where its source says so.
type model struct {
	templates.File
	path         string // of the file to be written
	source       *source
	file         *sourceFile
	positions    []positions // of each wrapper
	explanations []Explanation
}

// positions are where a wrapper's interface and methods stand.
type positions struct {
	wrapper token.Pos
	methods map[string]token.Pos
}

// build makes the models of declarations whose names are taken, one for each
// annotated file.
func (r *resolver) build(declarations []*declaration) []model {
	r.asked = map[*source]*asked{}
	for _, d := range declarations {
		if r.asked[d.source] == nil {
			r.asked[d.source] = d.source.asked(declarations)
		}
	}
	var models []model
	for _, d := range declarations {
		last := len(models) - 1
		if last < 0 || models[last].file != d.file {
			dir, name := filepath.Split(d.file.path)
			models = append(models, model{
				File: templates.File{
					Package:    d.source.types.Name(),
					Path:       d.source.types.Path(),
					Types:      d.source.types,
					Constraint: constraintOf(d.file.file),
					OtherNames: d.source.otherNames,
					Declared:   slices.Sorted(maps.Keys(r.names.declared)),
				},
				path:   filepath.Join(dir, outputName(name)),
				source: d.source,
				file:   d.file,
			})
			last++
		}
		r.wrapper(&models[last], d)
	}
	for i := range models {
		slices.Sort(models[i].Used)
		models[i].Used = slices.Compact(models[i].Used)
	}
	return models
}

// wrapper adds a declaration's wrapper to a model.
func (r *resolver) wrapper(m *model, d *declaration) {
	b := &builder{resolver: r, model: m, declaration: d}
	names := d.wrapperNames()
	w := templates.Wrapper{
		Interface:   d.object,
		Name:        names.wrapper,
		Constructor: names.constructor,
		Fallback:    names.fallback,
		Pools:       b.pools(),
	}
	b.keys()
	b.fallbacks()
	at := positions{d.spec.Name.Pos(), map[string]token.Pos{}}
	for _, method := range d.methods {
		at.methods[method.fn.Name()] = method.pos
		built := b.method(method)
		w.Methods = append(w.Methods, built)
		m.explanations = append(m.explanations, b.explain(method, built))
		b.warn(method, built)
	}
	b.warnOfUnused()
	b.warnOfHidden()
	b.warnOfOptional()
	m.Wrappers = append(m.Wrappers, w)
	m.positions = append(m.positions, at)
}

// builder makes the wrapper of one declaration.
type builder struct {
	*resolver
	*model
	*declaration
	poolNames []string
	entities  map[*method]*templates.Entity
	called    map[*method]*templates.Func // fallbacks
	hidden    []hidden
}

// pools returns the pools of the wrapper, the interface's first.
func (b *builder) pools() []templates.Pool {
	if !b.pooled() {
		return nil
	}
	var pools []templates.Pool
	add := func(name string, on *directive.Directive) {
		if slices.Contains(b.poolNames, name) {
			return
		}
		b.poolNames = append(b.poolNames, name)
		p := b.names.settings("pool", name)
		if p == nil {
			return
		}
		pools = append(pools, templates.Pool{
			Name: name, Field: explicitName(on, ""), Policy: b.section(p), Broken: b.function(p, "broken", isFuncErrorBool),
		})
	}
	for _, on := range b.given("pool") {
		add(explicitName(on, b.key), on)
	}
	for _, m := range b.declaration.methods {
		if l := m.layers["pool"]; l != nil {
			add(l.part, l.Directive)
		}
	}
	if len(pools) == 1 {
		pools[0].Field = ""
		return pools
	}
	for _, name := range b.poolNames {
		p := b.names.settings("pool", name)
		if explicitName(p.directive, "") == "" && !p.directive.Bad {
			b.errorf(b.at(p.directive.Pos), "write //protect:pool NAME", "pool: %s has several pools, so each needs a name", b.object.Name())
		}
	}
	return pools
}

// method makes the model of a method.
func (b *builder) method(m *method) templates.Method {
	out := templates.Method{
		Func: m.fn, Signature: m.sig, Error: m.err, Context: m.ctx, Key: m.key,
		Protected: b.protected(m), Rewrap: b.rewrapped(m),
	}
	var summary []string
	say := func(format string, args ...any) { summary = append(summary, fmt.Sprintf(format, args...)) }
	if l := m.layers["limit"]; l != nil {
		p := b.names.settings("limit", l.part)
		out.Limiter = b.shared(m, l)
		out.Entity = b.entities[m]
		text := settingsText(l.Directive)
		if rate, ok := l.Arg("rate"); ok {
			text = rate.Text
		}
		if key, ok := l.Arg("key"); ok {
			text += " by " + key.Text
		}
		say("limit %s", text)
		out.Policy = append(out.Policy, b.section(p))
	}
	if l := m.layers["breaker"]; l != nil {
		out.Breaker = b.shared(m, l)
		say("breaker %s", l.part)
		out.Policy = append(out.Policy, b.section(b.names.settings("breaker", l.part)))
	}
	if l := m.layers["bulkhead"]; l != nil {
		out.Bulkhead = b.shared(m, l)
		say("bulkhead %s", settingsText(l.Directive))
		out.Policy = append(out.Policy, b.section(b.names.settings("bulkhead", l.part)))
	}
	if l := m.layers["pool"]; l != nil {
		say("pool %s", l.part)
		out.Pool = max(0, slices.Index(b.poolNames, l.part))
	}
	if l := m.layers["timeout"]; l != nil {
		arg, _ := l.Arg("timeout")
		out.Timeout, _ = arg.Value.(time.Duration)
		say("timeout %s", arg.Text)
	}
	if l := m.layers["retry"]; l != nil {
		say("retry %s", settingsText(l.Directive))
		// Its place among the fields of a Policy is before the others.
		out.Policy = slices.Insert(out.Policy, 0, b.section(&part{directive: l.Directive, owner: b.declaration}))
	}
	if l := m.layers["fallback"]; l != nil {
		arg, _ := l.Arg("func")
		out.Fallback = b.called[m]
		say("fallback %s", arg.Text)
	}
	out.Summary = strings.Join(summary, ", ")
	if out.Summary == "" && out.Protected {
		out.Summary = "as configured under " + m.key
	}
	return out
}

// protected reports whether calls of the method are guarded. Without a layer
// they are when the interface asks for a wrapper, for policies that are
// configured at run time.
func (b *builder) protected(m *method) bool {
	switch {
	case m.cannot("") != "" || b.pooled() && m.closes():
		return false
	case len(m.layers) > 0:
		return true
	}
	return b.wrap != nil && !m.removed
}

// rewrapped returns the results that are the annotated interface itself.
func (b *builder) rewrapped(m *method) []int {
	var out []int
	if b.pooled() {
		return nil
	}
	for i := range m.sig.Results().Len() {
		if types.Identical(m.sig.Results().At(i).Type(), b.self()) {
			out = append(out, i)
		}
	}
	if m.foreign != "" {
		return nil
	}
	return out
}

// typeParams returns the type parameters of a declaration, nil for none.
func typeParams(name *types.TypeName) *types.TypeParamList {
	switch t := name.Type().(type) {
	case *types.Named:
		return t.TypeParams()
	case *types.Alias:
		return t.TypeParams()
	}
	return nil
}

// self is the annotated interface as its own methods mention it: with its type
// parameters as arguments.
func (b *builder) self() types.Type {
	params := typeParams(b.object)
	if params.Len() == 0 {
		return b.object.Type()
	}
	var args []types.Type
	for p := range params.TypeParams() {
		args = append(args, p)
	}
	t, err := types.Instantiate(nil, b.object.Type(), args, false)
	if err != nil {
		return b.object.Type()
	}
	return t
}

// shared returns the name of a part that is not the method's own.
func (b *builder) shared(m *method, l *layer) string {
	if l.part == m.key {
		return ""
	}
	return l.part
}

// section makes the section of a policy that a directive describes.
func (b *builder) section(p *part) templates.Section {
	on := p.directive
	s := templates.Section{Field: on.Spec.Section, Type: on.Spec.Section + "Policy"}
	for _, setting := range on.Settings() {
		switch v := setting.Value.(type) {
		case directive.Item: // functions are last in every section, below
		case string:
			if v != protect.Deny.String() {
				s.Fields = append(s.Fields, templates.Field{Name: setting.Field, Value: templates.Const(strings.ToUpper(v[:1]) + v[1:])})
			}
		case int:
			if v != 0 {
				s.Fields = append(s.Fields, templates.Field{Name: setting.Field, Value: v})
			}
		case time.Duration:
			if v == protect.Forever {
				s.Fields = append(s.Fields, templates.Field{Name: setting.Field, Value: templates.Const("Forever")})
			} else if v != 0 {
				s.Fields = append(s.Fields, templates.Field{Name: setting.Field, Value: v})
			}
		default:
			s.Fields = append(s.Fields, templates.Field{Name: setting.Field, Value: v})
		}
	}
	name := func(field string, f *templates.Func) {
		if f != nil {
			s.Fields = append(s.Fields, templates.Field{Name: field, Value: f})
		}
	}
	switch on.Spec.Name {
	case "limit":
		name("Scale", b.function(p, "scale", isFuncFloat))
	case "retry":
		name("When", b.function(p, "when", isFuncErrorBool))
	case "breaker":
		judge := templates.Judge{Ignore: b.ignored(p), Failure: b.function(p, "failure", isFuncErrorOutcome)}
		if len(judge.Ignore) > 0 || judge.Failure != nil {
			s.Fields = append(s.Fields, templates.Field{Name: "Failure", Value: judge})
		}
	}
	return s
}

// keys resolves the key= of each method's limit. What goes wrong in several
// methods because of one directive is said once.
func (b *builder) keys() {
	b.entities = map[*method]*templates.Entity{}
	lacking := map[*directive.Directive][]string{}
	var order []*directive.Directive
	for _, m := range b.declaration.methods {
		l := m.layers["limit"]
		if l == nil {
			continue
		}
		arg, _ := l.Arg("key")
		item, ok := arg.Value.(directive.Item)
		if !ok {
			continue
		}
		entity, err := b.entity(m, item)
		switch {
		case err == nil:
			b.entities[m] = entity
		case l.inherited && err.undefined != "":
			if lacking[l.Directive] == nil {
				order = append(order, l.Directive)
			}
			lacking[l.Directive] = append(lacking[l.Directive], m.fn.Name())
		default:
			hint := ""
			if err.undefined != "" {
				hint = parameterHint(m, item, err.undefined)
			}
			b.errorf(b.at(err.pos), hint, "limit: key in %s: %s", m.fn.Name(), err.message)
		}
	}
	for _, on := range order {
		arg, _ := on.Arg("key")
		have, them, their := "have", "them", "their"
		if len(lacking[on]) == 1 {
			have, them, their = "has", "it", "its"
		}
		b.errorf(b.at(arg.Pos), fmt.Sprintf("name the parameter, give %s a limit of %s own, put //protect:off limit on %s, or select others with methods=", them, their, them),
			"limit: %s %s no parameter for key=%s", listOf(lacking[on]), have, arg.Text)
	}
}

// parameterHint says what key= could be in a method.
func parameterHint(m *method, item directive.Item, undefined string) string {
	var named []string
	unnamed := false
	for v := range m.sig.Params().Variables() {
		if v.Name() == "" || v.Name() == "_" {
			unnamed = true
		} else {
			named = append(named, v.Name())
		}
	}
	near, ok := directive.Nearest(undefined, named)
	switch {
	case ok:
		return "did you mean " + near + "?"
	case unnamed:
		return "name the parameter in the interface"
	}
	hint := m.fn.Name() + " has no parameters"
	if len(named) > 0 {
		hint = "its parameters are " + listOf(named)
	}
	if callsOf(item.Node, undefined) {
		hint += "; if " + undefined + " is a package, import it in this file, as _ where nothing else uses it"
	}
	return hint
}

// callsOf reports whether an expression calls name.F, as of a package.
func callsOf(node ast.Node, name string) bool {
	found := false
	ast.Inspect(node, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		found = found || ok && isQualified(call.Fun, name)
		return true
	})
	return found
}

// entity makes an entity of key=.
func (b *builder) entity(m *method, item directive.Item) (*templates.Entity, *exprError) {
	sc := &scope{b.declaration.source, b.declaration.file.file, slices.Collect(m.sig.Params().Variables())}
	c, err := sc.check(item)
	if err != nil {
		if err.undefined != "" && slices.ContainsFunc(slices.Collect(typeParams(b.object).TypeParams()), func(p *types.TypeParam) bool { return p.Obj().Name() == err.undefined }) {
			return nil, &exprError{pos: err.pos, message: err.undefined + " is a type parameter, which a directive cannot mention"}
		}
		return nil, err
	}
	text := b.declaration.source.text
	switch {
	case c.IsType() || c.IsVoid() || c.IsBuiltin():
		return nil, &exprError{pos: item.Pos, message: item.Text + " is no value"}
	case c.Value != nil || !c.param && isName(c):
		return nil, &exprError{pos: item.Pos, message: item.Text + " is the same for every call; leave key= out for one bucket"}
	}
	if _, ok := c.Type.(*types.Tuple); ok {
		return nil, &exprError{pos: item.Pos, message: item.Text + " has several values"}
	}
	if c.rune != nil {
		number := item.Text[offset(c.rune.Pos()):offset(c.rune.End())]
		return nil, &exprError{pos: item.At(c.rune.Pos()), message: fmt.Sprintf("%s is converted to the character of that number, not to its digits; leave the conversion out, or write a function that formats it", number)}
	}
	kind, ok := entityOf(c.TypeAndValue, b.declaration.source.types)
	if !ok {
		return nil, &exprError{pos: item.Pos, message: fmt.Sprintf("%s is of type %s, which is neither a string nor an integer nor a fmt.Stringer", item.Text, text(c.Type))}
	}
	b.Used = append(b.Used, c.used...)
	return &templates.Entity{Expr: c.terms, Kind: kind, Type: c.Type, MayPanic: c.risky || kind == templates.EntityStringer}, nil
}

// isName reports whether an expression is no more than a name.
func isName(c *checked) bool { return len(c.terms) == 1 && c.item != nil && !isFunc(c.item) }

func isFunc(obj types.Object) bool { _, ok := obj.(*types.Func); return ok }
