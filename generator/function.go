package generator

import (
	"cmp"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"

	"github.com/protectgen/protectgen/generator/directive"
	"github.com/protectgen/protectgen/templates"
)

// runtimePath is the package that has Outcome.
const runtimePath = "github.com/protectgen/protectgen/runtime"

// wanted is the signature of a function that a key names.
type wanted struct {
	text   string
	params []func(types.Type) bool
	result func(types.Type) bool
}

var (
	isFuncErrorBool    = wanted{"func(error) bool", []func(types.Type) bool{isError}, isBasic(types.Bool)}
	isFuncErrorOutcome = wanted{"func(error) protect.Outcome", []func(types.Type) bool{isError}, isOutcome}
	isFuncFloat        = wanted{"func() float64", nil, isBasic(types.Float64)}
)

func isError(t types.Type) bool {
	return types.Identical(t, types.Universe.Lookup("error").Type())
}

func isBasic(kind types.BasicKind) func(types.Type) bool {
	return func(t types.Type) bool { return types.Identical(t, types.Typ[kind]) }
}

func isOutcome(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Name() == "Outcome" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == runtimePath
}

func (w wanted) fits(t types.Type) bool {
	sig, ok := t.Underlying().(*types.Signature)
	if !ok || sig.TypeParams().Len() > 0 || sig.Variadic() || sig.Params().Len() != len(w.params) || sig.Results().Len() != 1 {
		return false
	}
	for i, is := range w.params {
		if !is(sig.Params().At(i).Type()) {
			return false
		}
	}
	return w.result(sig.Results().At(0).Type())
}

// function resolves the function that a key of a part's directive names; nil
// when there is none.
func (b *builder) function(p *part, key string, want wanted) *templates.Func {
	arg, owner := p.names(key, b.declaration.source)
	item, ok := arg.Value.(directive.Item)
	if !ok {
		return nil
	}
	f, c := b.named(owner, p.directive.Spec.Name+": "+key, item, want.text)
	if f == nil {
		return nil
	}
	if walk(c.Type, isInvalid) {
		b.errorf(owner.at(item.Pos), owner.source.importError(owner.annotation), "%s: %s: a type in the signature of %s could not be found out", p.directive.Spec.Name, key, item.Text)
		return nil
	}
	if !want.fits(c.Type) {
		b.errorf(owner.at(item.Pos), "", "%s: %s: %s is %s, not %s", p.directive.Spec.Name, key, item.Text, owner.source.text(c.Type), want.text)
		return nil
	}
	return f
}

// named resolves the name of a function or of a variable that holds one.
func (b *builder) named(d *declaration, what string, item directive.Item, want string) (*templates.Func, *checked) {
	sc := &scope{source: d.source, file: d.file.file}
	c, err := sc.check(item)
	if err != nil {
		hint := ""
		if err.undefined != "" {
			hint = cmp.Or(importHint(item, err.undefined), sc.functionHint(err.undefined, want))
		}
		b.errorf(d.at(err.pos), hint, "%s: %s", what, err.message)
		return nil, nil
	}
	if len(c.terms) != 1 || !c.IsValue() {
		b.errorf(d.at(item.Pos), "", "%s: %s is not a function of a package", what, item.Text)
		return nil, nil
	}
	b.Used = append(b.Used, c.used...)
	return &templates.Func{Name: c.terms[0].Text, Path: c.terms[0].Path}, c
}

// importHint says how a package that an expression mentions can be made known.
func importHint(item directive.Item, undefined string) string {
	if isQualified(item.Node, undefined) {
		return "import the package in this file, as _ where nothing else uses it"
	}
	return ""
}

// isQualified reports whether an expression is name.X, as of a package, or a
// pointer to that.
func isQualified(node ast.Node, name string) bool {
	if star, ok := node.(*ast.StarExpr); ok {
		node = star.X
	}
	s, ok := node.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == name
}

// functionHint names the function that is most like one that there is not, or
// else what to write.
func (sc *scope) functionHint(undefined, want string) string {
	var funcs []string
	for _, name := range sc.source.types.Scope().Names() {
		if isFunc(sc.source.types.Scope().Lookup(name)) {
			funcs = append(funcs, name)
		}
	}
	if near, ok := directive.Nearest(undefined, funcs); ok {
		return "did you mean " + near + "?"
	}
	return "write " + strings.Replace(want, "func", "func "+undefined, 1)
}

// ignored resolves ignore=: values by which errors.Is knows errors, and types
// by which errors.As does.
func (b *builder) ignored(p *part) []templates.Matcher {
	arg, owner := p.names("ignore", b.declaration.source)
	items, _ := arg.Value.([]directive.Item)
	sc := &scope{source: owner.source, file: owner.file.file}
	var out []templates.Matcher
	refuse := func(pos token.Pos, hint, message string) {
		b.errorf(owner.at(pos), hint, "breaker: ignore: %s", message)
	}
	for _, item := range items {
		c, err := sc.check(item)
		switch {
		case err != nil:
			refuse(err.pos, importHint(item, err.undefined), err.message)
		case c.IsType() && isGeneric(c.Type):
			refuse(item.Pos, "write its type arguments: "+item.Text+"[…]", item.Text+" is generic")
		case c.IsType() && implementsError(c.Type):
			if types.IsInterface(c.Type) && isError(c.Type) {
				refuse(item.Pos, "", "error is every error, and a breaker that ignores every failure never opens")
				continue
			}
			b.Used = append(b.Used, c.used...)
			out = append(out, templates.Matcher{Type: c.Type})
		case c.IsType() && implementsError(types.NewPointer(c.Type)):
			refuse(item.Pos, "write *"+item.Text, item.Text+" is not an error, *"+item.Text+" is")
		case c.IsType():
			refuse(item.Pos, "it has no method Error() string", item.Text+" is not an error type")
		case len(c.terms) != 1 || c.item == nil || isFunc(c.item):
			refuse(item.Pos, "", item.Text+" is neither a variable nor a type")
		case !c.IsValue() || !implementsError(c.Type):
			refuse(item.Pos, "", item.Text+" is of type "+owner.source.text(c.Type)+", which is not an error")
		default:
			b.Used = append(b.Used, c.used...)
			out = append(out, templates.Matcher{Value: &templates.Func{Name: c.terms[0].Text, Path: c.terms[0].Path}})
		}
	}
	return out
}

// isGeneric reports whether a type lacks its type arguments.
func isGeneric(t types.Type) bool {
	switch t := t.(type) {
	case *types.Alias:
		return t.TypeParams().Len() > t.TypeArgs().Len()
	case *types.Named:
		return t.TypeParams().Len() > t.TypeArgs().Len()
	}
	return false
}

func implementsError(t types.Type) bool {
	iface := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	return types.Implements(t, iface)
}

// fallbacks resolves the function that each method's fallback names, by
// checking the call that will be written: arguments may be assignable rather
// than of the same type, and the type arguments of a generic function are
// inferred or else those of the interface.
func (b *builder) fallbacks() {
	b.called = map[*method]*templates.Func{}
	for _, m := range b.declaration.methods {
		l := m.layers["fallback"]
		if l == nil {
			continue
		}
		arg, _ := l.Arg("func")
		item, ok := arg.Value.(directive.Item)
		if !ok {
			continue
		}
		want := b.wantedFallback(m)
		f, c := b.named(b.declaration, "fallback", item, want)
		switch {
		case f == nil:
		case b.callable(m, c.Type):
			b.called[m] = f
		case b.callable(m, b.instance(c.Type)):
			f.Instance = true
			b.called[m] = f
		default:
			b.errorf(b.at(item.Pos), "write "+strings.Replace(want, "func", "func "+f.Name, 1), "fallback: %s is %s, and for %s it would have to be %s",
				item.Text, b.declaration.source.text(c.Type), m.fn.Name(), want)
		}
	}
}

// instance returns a generic function's type with the type parameters of the
// interface as its arguments; nil when they do not fit.
func (b *builder) instance(t types.Type) types.Type {
	sig, ok := t.(*types.Signature)
	if !ok || sig.TypeParams().Len() == 0 {
		return nil
	}
	var args []types.Type
	for p := range typeParams(b.object).TypeParams() {
		args = append(args, p)
	}
	if len(args) != sig.TypeParams().Len() {
		return nil
	}
	instance, err := types.Instantiate(nil, sig, args, true)
	if err != nil {
		return nil
	}
	return instance
}

// wantedFallback is the signature of a method's fallback: the method's, with
// an error after the parameters, and with the type parameters of the interface
// where it mentions one.
func (b *builder) wantedFallback(m *method) string {
	var params []*types.Var
	for i, v := range slices.Collect(m.sig.Params().Variables()) {
		name := v.Name()
		if name == "" || name == "_" {
			name = "p" + strconv.Itoa(i)
		}
		params = append(params, types.NewParam(token.NoPos, nil, name, v.Type()))
	}
	params = append(params, types.NewParam(token.NoPos, nil, "err", types.Universe.Lookup("error").Type()))
	var results []*types.Var
	for v := range m.sig.Results().Variables() {
		results = append(results, types.NewParam(token.NoPos, nil, "", v.Type()))
	}
	text := b.declaration.source.text(types.NewSignatureType(nil, nil, nil, types.NewTuple(params...), types.NewTuple(results...), false))
	if !walk(m.sig, isTypeParam) {
		return text
	}
	var list []string
	for p := range typeParams(b.object).TypeParams() {
		list = append(list, p.Obj().Name()+" "+b.declaration.source.text(p.Constraint()))
	}
	return strings.Replace(text, "func", "func["+strings.Join(list, ", ")+"]", 1)
}

// callable reports whether a method can return what a function of a type
// returns for its arguments and an error.
func (b *builder) callable(m *method, function types.Type) bool {
	if function == nil {
		return false
	}
	pkg := types.NewPackage(b.declaration.source.types.Path(), b.declaration.source.types.Name())
	insert := func(name string, t types.Type) ast.Expr {
		pkg.Scope().Insert(types.NewVar(token.NoPos, pkg, name, t))
		return &ast.Ident{NamePos: 1, Name: name}
	}
	call := &ast.CallExpr{Fun: insert("f", function), Lparen: 1, Rparen: 1}
	for i := range m.sig.Params().Len() {
		call.Args = append(call.Args, insert("p"+strconv.Itoa(i), m.sig.Params().At(i).Type()))
	}
	call.Args = append(call.Args, insert("err", types.Universe.Lookup("error").Type()))
	info, err := evaluate(pkg, call)
	if err != nil {
		return false
	}
	var results []types.Type
	switch t := info.Types[call].Type.(type) {
	case *types.Tuple:
		for v := range t.Variables() {
			results = append(results, v.Type())
		}
	default:
		results = append(results, t)
	}
	if len(results) != m.sig.Results().Len() {
		return false
	}
	for i, t := range results {
		if !types.AssignableTo(t, m.sig.Results().At(i).Type()) {
			return false
		}
	}
	return true
}
