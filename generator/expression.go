package generator

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/protectgen/protectgen/generator/directive"
	"github.com/protectgen/protectgen/templates"
)

// scope is what the expressions of a directive can mention: the parameters of
// a method, what the annotated file imports, and the package.
type scope struct {
	source *source
	file   *ast.File
	params []*types.Var
}

// checked is an expression with its type.
type checked struct {
	types.TypeAndValue
	terms []templates.Term
	used  []string     // identifiers that it mentions, but for parameters
	param bool         // it mentions a parameter
	risky bool         // evaluating it can panic, as far as can be told
	rune  ast.Expr     // a number in it that is converted to the one character of that number, nil without one
	item  types.Object // what it names, when it is a name or a qualified one
}

// exprError is what is wrong with an expression.
type exprError struct {
	pos       token.Pos
	message   string
	undefined string // the name that means nothing, empty when it is something else
}

func (e *exprError) Error() string { return e.message }

// check finds out the type of an item's expression.
//
// It is checked in a package made for it, with nothing in its scope but what
// the expression mentions: the package of the interface is not touched, which
// others may be reading.
func (sc *scope) check(item directive.Item) (*checked, *exprError) {
	c := &checked{}
	pkg := types.NewPackage(sc.source.types.Path(), sc.source.types.Name())
	p := &printer{scope: sc, pkg: pkg, item: item, checked: c, qualifiers: map[*ast.Ident]bool{}}
	if err := p.mention(item.Node); err != nil {
		return nil, err
	}
	p.rest(len(item.Text))
	info, err := evaluate(pkg, item.Node)
	if err != nil {
		return nil, &exprError{pos: item.At(err.pos), message: err.message}
	}
	c.TypeAndValue = info.Types[item.Node]
	c.risky = mayPanic(item.Node, info)
	c.rune = character(item.Node, info)
	return c, nil
}

// evaluate finds out the type of an expression in the scope of a package.
func evaluate(pkg *types.Package, node ast.Expr) (*types.Info, *exprError) {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	if err := types.CheckExpr(token.NewFileSet(), pkg, token.NoPos, node, info); err != nil {
		if e, ok := errors.AsType[types.Error](err); ok {
			return nil, &exprError{pos: max(e.Pos, 1), message: e.Msg}
		}
		return nil, &exprError{pos: 1, message: err.Error()}
	}
	return info, nil
}

// mayPanic reports whether evaluating an expression can panic. It is sure of
// names, constants, fields that no pointer leads to, conversions to basic types
// and the operators that always have a result; of nothing else.
func mayPanic(node ast.Expr, info *types.Info) bool {
	safe := true
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case nil, *ast.Ident, *ast.BasicLit, *ast.ParenExpr:
		case *ast.SelectorExpr:
			// Without a selection it is a name of a package.
			if sel := info.Selections[n]; sel != nil {
				safe = safe && sel.Kind() == types.FieldVal && !sel.Indirect()
			}
		case *ast.CallExpr:
			_, basic := info.Types[n].Type.Underlying().(*types.Basic)
			safe = safe && info.Types[n.Fun].IsType() && basic
		case *ast.BinaryExpr:
			switch n.Op {
			case token.ADD, token.SUB, token.MUL, token.AND, token.OR, token.XOR, token.AND_NOT:
			default:
				safe = false
			}
		case *ast.UnaryExpr:
			safe = safe && (n.Op == token.ADD || n.Op == token.SUB || n.Op == token.XOR)
		default:
			safe = false
		}
		return safe
	})
	return !safe
}

// character returns the number that an expression converts to the one
// character of that number, where everyone expects its digits: go vet refuses
// the conversion of what is neither a byte nor a rune. Nil without one.
func character(node ast.Expr, info *types.Info) ast.Expr {
	isNumber := func(t *types.Basic) bool {
		return t.Info()&types.IsInteger != 0 && t.Kind() != types.Byte && t.Kind() != types.Rune && t.Kind() != types.UntypedRune
	}
	var number ast.Expr
	ast.Inspect(node, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if ok && info.Types[call.Fun].IsType() && len(call.Args) == 1 &&
			everyTerm(info.Types[call.Fun].Type, types.IsString) && someTerm(info.Types[call.Args[0]].Type, isNumber) {
			number = call.Args[0]
		}
		return number == nil
	})
	return number
}

// printer takes an expression apart into the terms that a template prints,
// and fills the scope that it is checked in.
type printer struct {
	*scope
	*checked
	pkg        *types.Package
	item       directive.Item
	done       int // offset up to which the text is in terms
	qualifiers map[*ast.Ident]bool
}

// mention goes through the expression in source order.
func (p *printer) mention(node ast.Expr) *exprError {
	var failure *exprError
	fail := func(n ast.Node, format string, args ...any) bool {
		if failure == nil {
			failure = &exprError{pos: p.item.At(n.Pos()), message: fmt.Sprintf(format, args...)}
		}
		return false
	}
	ast.Inspect(node, func(n ast.Node) bool {
		if failure != nil {
			return false
		}
		switch n := n.(type) {
		case nil:
			return false
		case *ast.FuncLit, *ast.CompositeLit, *ast.TypeAssertExpr, *ast.KeyValueExpr:
			return fail(n, "a directive's expression is made of names, calls, operators and constants; write a function for the rest")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				return fail(n, "a directive's expression does not receive from channels")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && p.qualified(x, n.Sel) {
				return false
			}
			if failure == nil {
				failure = p.mention(n.X)
			}
			return false
		case *ast.Ident:
			failure = p.name(n)
		}
		return true
	})
	return failure
}

// offset is where a node begins in the item's text.
func offset(pos token.Pos) int { return int(pos) - 1 }

// text adds what stands before a node.
func (p *printer) text(before token.Pos) {
	if p.done < offset(before) {
		p.terms = append(p.terms, templates.Term{Text: p.item.Text[p.done:offset(before)]})
	}
	p.done = offset(before)
}

func (p *printer) rest(end int) { p.text(token.Pos(end + 1)) }

func (p *printer) term(t templates.Term, from, to token.Pos) {
	p.text(from)
	p.terms = append(p.terms, t)
	p.done = offset(to)
}

// qualified reads pkg.Name, when pkg is a package.
func (p *printer) qualified(x, sel *ast.Ident) bool {
	if p.parameter(x.Name) > 0 {
		return false
	}
	imported := p.imported(x.Name)
	if imported == nil {
		return false
	}
	p.pkg.Scope().Insert(types.NewPkgName(token.NoPos, p.pkg, x.Name, imported))
	p.term(templates.Term{Text: sel.Name, Path: imported.Path()}, x.Pos(), sel.End())
	p.checked.item = imported.Scope().Lookup(sel.Name)
	return true
}

// imported returns the package that a name stands for in the annotated file:
// what the file imports under it, or else the one package of that name that
// the package imports at all, in another file or as _.
func (sc *scope) imported(name string) *types.Package {
	if obj := sc.lookup(name); obj != nil {
		if pkgName, ok := obj.(*types.PkgName); ok {
			return pkgName.Imported()
		}
		return nil
	}
	var found *types.Package
	for _, imported := range sc.source.types.Imports() {
		if imported.Name() == name {
			if found != nil {
				return nil
			}
			found = imported
		}
	}
	return found
}

// lookup returns what a name means in the annotated file, outside of methods.
func (sc *scope) lookup(name string) types.Object {
	fileScope := sc.source.info.Scopes[sc.file]
	if fileScope == nil {
		return nil
	}
	_, obj := fileScope.LookupParent(name, token.NoPos)
	return obj
}

// parameter returns the 1-based index of a parameter, 0 when there is none.
func (sc *scope) parameter(name string) int {
	return 1 + slices.IndexFunc(sc.params, func(v *types.Var) bool { return v.Name() == name && name != "_" })
}

// name reads an identifier that stands for itself.
func (p *printer) name(id *ast.Ident) *exprError {
	if i := p.parameter(id.Name); i > 0 {
		p.param = true
		p.pkg.Scope().Insert(types.NewVar(token.NoPos, p.pkg, id.Name, p.params[i-1].Type()))
		p.term(templates.Term{Param: i}, id.Pos(), id.End())
		return nil
	}
	obj := p.lookup(id.Name)
	if obj == nil {
		return &exprError{pos: p.item.At(id.Pos()), message: "there is no " + id.Name, undefined: id.Name}
	}
	p.checked.item = obj
	switch {
	case obj.Pkg() == nil: // predeclared
	case obj.Pkg() != p.source.types: // imported with a dot
		p.pkg.Scope().Insert(obj)
		p.term(templates.Term{Text: id.Name, Path: obj.Pkg().Path()}, id.Pos(), id.End())
		return nil
	default:
		p.pkg.Scope().Insert(obj)
	}
	p.used = append(p.used, id.Name)
	p.term(templates.Term{Text: id.Name}, id.Pos(), id.End())
	return nil
}

// entityOf says how the value of a type becomes a string.
func entityOf(tv types.TypeAndValue, pkg *types.Package) (templates.EntityKind, bool) {
	all := func(info types.BasicInfo) bool { return everyTerm(tv.Type, info) }
	switch {
	case types.Identical(types.Default(tv.Type), types.Typ[types.String]):
		return templates.EntityString, true
	case all(types.IsString):
		return templates.EntityConvert, true
	case all(types.IsUnsigned):
		return templates.EntityUint, true
	case all(types.IsInteger) && !someTerm(tv.Type, func(t *types.Basic) bool { return t.Info()&types.IsUnsigned != 0 }):
		return templates.EntityInt, true
	case isStringer(tv, pkg):
		return templates.EntityStringer, true
	}
	return 0, false
}

// everyTerm reports whether all types that a type stands for, which are
// several for a type parameter, are of a kind. What a constraint admits is in
// each of the elements that it embeds, so one of them is enough.
func everyTerm(t types.Type, info types.BasicInfo) bool {
	switch u := termsOf(t).(type) {
	case *types.Basic:
		return u.Info()&info != 0
	case *types.Interface:
		return slices.ContainsFunc(slices.Collect(u.EmbeddedTypes()), func(e types.Type) bool { return everyTerm(e, info) })
	case *types.Union:
		return !slices.ContainsFunc(slices.Collect(u.Terms()), func(term *types.Term) bool { return !everyTerm(term.Type(), info) })
	}
	return false
}

// someTerm reports whether one of those types may be of a kind.
func someTerm(t types.Type, is func(*types.Basic) bool) bool {
	switch u := termsOf(t).(type) {
	case *types.Basic:
		return is(u)
	case *types.Interface:
		return slices.ContainsFunc(slices.Collect(u.EmbeddedTypes()), func(e types.Type) bool { return someTerm(e, is) })
	case *types.Union:
		return slices.ContainsFunc(slices.Collect(u.Terms()), func(term *types.Term) bool { return someTerm(term.Type(), is) })
	}
	return false
}

// termsOf is the underlying type, which is the constraint of a type parameter.
func termsOf(t types.Type) types.Type {
	if param, ok := types.Unalias(t).(*types.TypeParam); ok {
		t = param.Constraint()
	}
	return t.Underlying()
}

// isStringer reports whether String() string can be called on the value.
func isStringer(tv types.TypeAndValue, pkg *types.Package) bool {
	obj, _, _ := types.LookupFieldOrMethod(tv.Type, tv.Addressable(), pkg, "String")
	fn, ok := obj.(*types.Func)
	if !ok {
		return false
	}
	sig := fn.Signature()
	return sig.Params().Len() == 0 && sig.Results().Len() == 1 && types.Identical(sig.Results().At(0).Type(), types.Typ[types.String])
}

// text of a type or signature, packages by their names and the own one left
// out.
func (s *source) text(t types.Type) string {
	return types.TypeString(t, s.qualifier)
}

func (s *source) qualifier(pkg *types.Package) string {
	switch pkg.Path() {
	case s.types.Path():
		return ""
	case runtimePath:
		return "protect" // as everyone imports it
	}
	return pkg.Name()
}

// listOf joins words as a sentence does.
func listOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
