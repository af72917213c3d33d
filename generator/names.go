package generator

import (
	"cmp"
	"fmt"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/protectgen/protectgen/generator/directive"
)

// names are what the interfaces of a unit must not take twice: the parts of
// the Runtime and the declarations of the package.
//
// Invariants: a name of a kind of part has one setting; a pool has one
// interface; a declaration has one meaning.
type names struct {
	parts    map[partName]*part
	used     map[partName]bool // by a method: a part that none uses is never made
	declared map[string]token.Position
}

type partName struct{ kind, name string }

// part is a limiter, breaker, bulkhead or pool of the Runtime.
type part struct {
	directive *directive.Directive // that has its settings
	owner     *declaration         // in whose file the directive stands
	joins     bool                 // the directive has no settings and leaves them to another of the same name
	same      []*part              // other directives with these settings, which may name functions that this one does not
}

// names returns the argument of a key that names functions or errors, and the
// declaration in whose file they are known. A wrapper that is not a test's sees
// nothing of tests.
func (p *part) names(key string, in *source) (directive.Arg, *declaration) {
	for _, other := range append([]*part{p}, p.same...) {
		if other != p && other.owner.source.test && !in.test {
			continue
		}
		if arg, ok := other.directive.Arg(key); ok && arg.Value != nil {
			return arg, other.owner
		}
	}
	return directive.Arg{}, p.owner
}

func newNames() *names {
	return &names{parts: map[partName]*part{}, used: map[partName]bool{}, declared: map[string]token.Position{}}
}

// takeNames takes the names of a declaration's wrapper and parts.
func (r *resolver) takeNames(d *declaration) {
	names := d.wrapperNames()
	for _, name := range []string{names.wrapper, names.constructor, names.fallback} {
		r.takeDeclaration(d, name)
	}
	for _, kind := range []string{"limit", "breaker", "bulkhead", "pool"} {
		given := d.given(kind)
		for _, on := range given {
			r.takePart(d, kind, partOf(d, given, on), on)
		}
		for _, m := range d.methods {
			l := m.layers[kind]
			if l == nil {
				continue
			}
			switch {
			case l.inherited:
				l.part = partOf(d, given, l.Directive)
			case kind == "pool":
				l.part = explicitName(l.Directive, d.key)
				r.takePart(d, kind, l.part, l.Directive)
			default:
				l.part = explicitName(l.Directive, m.key)
				r.takePart(d, kind, l.part, l.Directive)
			}
			r.names.used[partName{kind, l.part}] = true
		}
	}
}

// partOf names the part of a directive on an interface: as it says, or as the
// interface. Where several without a name would have one name, those for some
// methods have these in theirs.
func partOf(d *declaration, given []*directive.Directive, on *directive.Directive) string {
	unnamed := 0
	for _, other := range given {
		if explicitName(other, "") == "" {
			unnamed++
		}
	}
	if unnamed > 1 && selective(on) && on.Spec.Name != "pool" {
		return explicitName(on, d.key+"["+methodsText(on)+"]")
	}
	return explicitName(on, d.key)
}

func explicitName(on *directive.Directive, otherwise string) string {
	if arg, ok := on.Arg("name"); ok {
		if name, ok := arg.Value.(string); ok {
			return name
		}
	}
	return otherwise
}

// takePart takes the name of a part, or reports what keeps it from doing so.
func (r *resolver) takePart(d *declaration, kind, name string, on *directive.Directive) {
	key := partName{kind, name}
	mine := &part{directive: on, owner: d, joins: on.Bare() && explicitName(on, "") != ""}
	at := d.at(argPos(on, "name"))
	switch taken := r.names.parts[key]; {
	case taken == nil:
		r.names.parts[key] = mine
	case kind == "pool" && taken.owner != d:
		r.errorf(at, "give one of them another name", "pool: %s is a pool of %s already (%s)", name, taken.owner.object.Name(), short(at, taken.owner.at(taken.directive.Pos)))
	case mine.joins:
	case taken.joins:
		r.names.parts[key] = mine
	case taken.directive.Bad || on.Bad:
	case taken.directive.Same(on):
		for _, other := range append([]*part{taken}, taken.same...) {
			if key := other.directive.Unlike(on); key != "" {
				first, _ := other.directive.Arg(key)
				r.errorf(d.at(argPos(on, key)), "give one of them another name, or both the same settings", "%s: two settings under one name: %s has %s=%s at %s", kind, name, key, first.Text, short(at, other.owner.at(first.Pos)))
				return
			}
		}
		taken.same = append(taken.same, mine)
	default:
		r.errorf(at, "give one of them another name, or both the same settings", "%s: two settings under one name: %s is %s at %s", kind, name, settingsText(taken.directive), short(at, taken.owner.at(taken.directive.Pos)))
	}
}

// settings returns the part that has the settings of a name.
func (n *names) settings(kind, name string) *part { return n.parts[partName{kind, name}] }

// settingsText is what a directive says, in words where that is nothing.
func settingsText(on *directive.Directive) string { return cmp.Or(settingsOf(on), "the defaults") }

// settingsOf is what a directive says, without the name and the methods.
func settingsOf(on *directive.Directive) string {
	var words []string
	for _, a := range on.Args {
		switch {
		case a.Param.Name == "name" || a.Param.Name == "methods":
		case slices.ContainsFunc(on.Spec.Args, func(p directive.Param) bool { return p.Name == a.Param.Name }):
			words = append(words, a.Text)
		default:
			words = append(words, a.Param.Name+"="+a.Text)
		}
	}
	return strings.Join(words, " ")
}

// short is a position without the folder where that is the same.
func short(near, at token.Position) string {
	if near.Filename == at.Filename {
		return fmt.Sprintf("line %d", at.Line)
	}
	i := strings.LastIndexAny(at.Filename, `/\`)
	return fmt.Sprintf("%s:%d", at.Filename[i+1:], at.Line)
}

// wrapperNames are the declarations of a wrapper.
type wrapperNames struct{ wrapper, constructor, fallback string }

func (d *declaration) wrapperNames() wrapperNames {
	name := d.object.Name()
	n := wrapperNames{wrapper: prefixed("Protected", name)}
	if d.wrap != nil {
		n.wrapper = explicitName(d.wrap, n.wrapper)
	}
	n.constructor = prefixed("New", n.wrapper)
	if d.chain != nil {
		n.fallback = prefixed("NewFallback", name)
	}
	return n
}

// prefixed puts a prefix before a name and keeps whether it is exported.
func prefixed(prefix, name string) string {
	first, size := utf8.DecodeRuneInString(name)
	if token.IsExported(name) {
		return prefix + name
	}
	return strings.ToLower(prefix[:1]) + prefix[1:] + string(unicode.ToUpper(first)) + name[size:]
}

// takeDeclaration takes a name at package level.
func (r *resolver) takeDeclaration(d *declaration, name string) {
	if name == "" {
		return
	}
	at := d.at(d.spec.Name.Pos())
	if d.wrap != nil {
		at = d.at(argPos(d.wrap, "name"))
	}
	hint := "name the wrapper with //protect:wrap name="
	if name == d.wrapperNames().fallback {
		hint = "rename one of them: " + name + " is called after the interface"
	}
	switch {
	case name == "init", name == "main" && d.source.types.Name() == "main":
		r.errorf(at, hint, "no type of package %s can be called %s", d.source.types.Name(), name)
		return
	case types.Universe.Lookup(name) != nil:
		r.errorf(at, hint, "a wrapper called %s would hide the predeclared %s from the whole package", name, name)
		return
	}
	if obj := d.source.types.Scope().Lookup(name); obj != nil && !d.source.isOurs(obj) {
		r.errorf(at, hint, "the wrapper of %s needs the name %s, which the package declares at %s", d.object.Name(), name, short(at, d.at(obj.Pos())))
		return
	}
	if file := d.source.importing(name); file != nil {
		r.errorf(at, hint, "the wrapper of %s needs the name %s, which an import has in %s", d.object.Name(), name, filepath.Base(file.path))
		return
	}
	if other, ok := r.names.declared[name]; ok {
		r.errorf(at, hint, "the wrapper of %s needs the name %s, which that of the interface at %s has", d.object.Name(), name, short(at, other))
		return
	}
	r.names.declared[name] = d.at(d.spec.Name.Pos())
}

// checkNeeds reports breakers that are needed and not there. The names of
// other packages' breakers have a dot; they cannot be looked up here.
func (r *resolver) checkNeeds() {
	var all []string
	for key := range r.names.parts {
		if key.kind == "breaker" {
			all = append(all, key.name)
		}
	}
	slices.Sort(all)
	for _, p := range r.names.inOrder() {
		needs, _ := p.directive.Arg("needs")
		items, _ := needs.Value.([]directive.Item)
		for _, item := range items {
			here := strings.HasPrefix(item.Text, p.owner.source.types.Name()+".") || !strings.Contains(item.Text, ".")
			switch {
			case r.names.settings("breaker", item.Text) == p:
				r.errorf(p.owner.at(item.Pos), "", "breaker: %s needs itself", item.Text)
			case slices.Contains(all, item.Text):
				if !r.names.used[partName{"breaker", item.Text}] {
					r.errorf(p.owner.at(item.Pos), "what is never there counts as healthy; leave it out of needs=", "breaker: needs: %s protects no method, so it is never there", item.Text)
				}
			case here:
				r.errorf(p.owner.at(item.Pos), breakerHint(item.Text, p.owner.source.types.Name(), all), "breaker: needs: no breaker of this package is called %s", item.Text)
			}
		}
	}
}

// breakerHint says which breaker could be meant by a name that none has: one
// that is most like it, with or without the package's name before it.
func breakerHint(name, pkg string, all []string) string {
	if i := slices.IndexFunc(all, func(known string) bool { return strings.EqualFold(known, pkg+"."+name) }); i >= 0 {
		return "did you mean " + all[i] + "?"
	}
	if near, ok := directive.Nearest(name, all); ok {
		return "did you mean " + near + "?"
	}
	const enough = 8
	if others := len(all) - enough; others > 1 {
		all = append(slices.Clone(all[:enough]), fmt.Sprintf("%d others", others))
	}
	return "there are " + listOf(all) + "; another package's breaker has a name with a dot"
}

// inOrder returns the breakers in source order.
func (n *names) inOrder() []*part {
	var out []*part
	for key, p := range n.parts {
		if key.kind == "breaker" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *part) int {
		x, y := a.owner.at(a.directive.Pos), b.owner.at(b.directive.Pos)
		return cmp.Or(cmp.Compare(x.Filename, y.Filename), cmp.Compare(x.Offset, y.Offset))
	})
	return out
}
