package generator

import (
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/protectgen/protectgen/generator/directive"
	"github.com/protectgen/protectgen/templates"
)

// warn tells of what will compile and may still not do what was meant.
func (b *builder) warn(m *method, built templates.Method) {
	at := b.at(m.pos)
	text := b.declaration.source.text
	for v := range m.sig.Results().Variables() {
		t := v.Type()
		switch {
		case b.pooled() && !m.closes() && b.outlives(t):
			b.warnf(at, "read it inside the method, or leave the pool out", "%s: the %s that it returns may still use the instance when that is lent to somebody else", m.fn.Name(), text(t))
		case built.Timeout > 0 && b.outlives(t):
			b.warnf(at, "read it inside the method, or leave the timeout out", "%s: the context of the timeout ends with the call, and so may the %s that it returns", m.fn.Name(), text(t))
		}
		if m.err < 0 && m.foreign == "" && len(m.passed) > 0 && !isContext(t) && hasMethod(t, b.declaration.source.types, "Err", isError) {
			b.hidden = append(b.hidden, hidden{at, m.fn.Name(), text(t)})
		}
	}
}

// warnOfUnused tells of a wrapper that can never do anything, and of the
// interface's directives that no method is left for,
// here or, as those of a part that others join, elsewhere. Where something is
// wrong, that may be why.
func (b *builder) warnOfUnused() {
	if b.failed() {
		return
	}
	if b.wrap != nil && !slices.ContainsFunc(b.declaration.methods, func(m *method) bool { return m.cannot("") == "" }) {
		b.warnf(b.at(b.wrap.Pos), "protectgen explain tells why of each", "wrap: no method of %s can be protected", b.object.Name())
	}
	for _, name := range directive.Layers() {
		given := b.given(name)
		for _, on := range given {
			left := b.names.used[partName{name, partOf(b.declaration, given, on)}]
			could := false
			for _, m := range b.declaration.methods {
				l := m.layers[name]
				left = left || l != nil && l.Directive == on
				could = could || selects(on, m.fn.Name()) && m.cannot(name) == "" && !(b.pooled() && m.closes())
			}
			if could && !left {
				b.warnf(b.at(on.Pos), "leave it out", "%s protects nothing: each method that it is for has another, or off", name)
			}
		}
	}
}

// hidden is a method whose failures are inside its result.
type hidden struct {
	at             token.Position
	method, result string
}

// warnOfHidden tells of the methods whose failures are not seen, in one
// sentence for all that stand in one place: some interfaces that are embedded
// have hundreds.
func (b *builder) warnOfHidden() {
	for len(b.hidden) > 0 {
		first := b.hidden[0]
		var names []string
		b.hidden = slices.DeleteFunc(b.hidden, func(h hidden) bool {
			if h.at != first.at {
				return false
			}
			names = append(names, h.method)
			return true
		})
		if len(names) == 1 {
			b.warnf(first.at, "", "%s: failures inside its %s are not seen, so the method is unprotected", first.method, first.result)
			continue
		}
		some := strings.Join(names[:min(3, len(names))], ", ")
		if len(names) > 3 {
			some += ", …"
		}
		b.warnf(first.at, "", "%d methods (%s): failures inside their results, such as %s, are not seen, so the methods are unprotected", len(names), some, first.result)
	}
}

// outlives reports whether a result is of use only as long as what made it: a
// channel, an iterator, the interface itself, or what is read bit by bit and
// closed.
func (b *builder) outlives(t types.Type) bool {
	if types.Identical(t, b.self()) {
		return true
	}
	switch u := t.Underlying().(type) {
	case *types.Chan:
		return true
	case *types.Signature: // iter.Seq, iter.Seq2: func(yield func(…) bool)
		if u.Params().Len() == 1 && u.Results().Len() == 0 {
			yield, ok := u.Params().At(0).Type().Underlying().(*types.Signature)
			return ok && yield.Results().Len() == 1 && isBasic(types.Bool)(yield.Results().At(0).Type())
		}
		return false
	}
	pkg := b.declaration.source.types
	if !has(t, pkg, "Close") {
		return has(t, pkg, "Recv") || has(t, pkg, "RecvMsg")
	}
	return has(t, pkg, "Read") || has(t, pkg, "Next") || has(t, pkg, "Recv")
}

func has(t types.Type, pkg *types.Package, name string) bool {
	obj, _, _ := types.LookupFieldOrMethod(t, true, pkg, name)
	return obj != nil && isFunc(obj)
}

// hasMethod reports whether a type has a method without parameters and with
// one result of a kind.
func hasMethod(t types.Type, pkg *types.Package, name string, is func(types.Type) bool) bool {
	obj, _, _ := types.LookupFieldOrMethod(t, true, pkg, name)
	fn, ok := obj.(*types.Func)
	return ok && fn.Signature().Params().Len() == 0 && fn.Signature().Results().Len() == 1 && is(fn.Signature().Results().At(0).Type())
}
