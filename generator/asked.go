package generator

import (
	"go/ast"
	"go/token"
	"go/types"
	"math"
	"slices"
	"strings"
)

// asked is what the code of a package asks values for.
type asked struct {
	assertions []assertion
	declared   map[string][]string // methods that are written for a type, by its name

	// Values that are no wrapper's: what a variable holds up to a place,
	// because that is what is wrapped, and what code is handed by a pool.
	wrapped   map[types.Object]token.Pos
	instances []ast.Node
}

// assertion is a type that a value is asked for.
type assertion struct {
	pos    token.Pos
	x      ast.Expr
	to     types.Type
	panics bool // when the value is of another type
	test   bool // stands in a test
}

// sites returns the places that ask values of a declaration's interface for
// what its wrapper is not, in the order of the source. Tests ask for the fakes
// that they have made themselves, so they count for interfaces of tests alone.
func (a *asked) sites(d *declaration, has func(method string) bool) []assertion {
	var out []assertion
	for _, site := range a.assertions {
		switch {
		case !isOf(d.source.info.TypeOf(site.x), d.object.Type()):
		case site.test && !strings.HasSuffix(d.file.path, "_test.go"):
		case site.pos < a.wrapped[d.source.variable(site.x)]:
		case slices.ContainsFunc(a.instances, func(n ast.Node) bool { return n.Pos() <= site.pos && site.pos < n.End() }):
		case d.source.lacks(site.to, has):
			out = append(out, site)
		}
	}
	return out
}

// isOf reports whether a type is that of a declaration, or an instance of it.
func isOf(t, declared types.Type) bool {
	if t == nil {
		return false
	}
	if types.Identical(t, declared) {
		return true
	}
	switch t := t.(type) {
	case *types.Alias:
		return t.Origin() == declared || isOf(t.Rhs(), declared)
	case *types.Named:
		return t.Origin() == declared
	}
	return false
}

// lacks reports whether a wrapper with some methods is not of a type. Nothing
// is said of one that is not known.
func (s *source) lacks(t types.Type, has func(method string) bool) bool {
	if walk(t, isInvalid) || isInvalid(t.Underlying()) {
		return false
	}
	of := types.Unalias(t)
	if p, ok := of.(*types.Pointer); ok {
		of = types.Unalias(p.Elem())
	}
	if isTypeParam(of) {
		return false
	}
	if iface, ok := t.Underlying().(*types.Interface); ok {
		for m := range iface.Methods() {
			if !has(m.Name()) {
				return true
			}
		}
		return false
	}
	named, ok := of.(*types.Named)
	return !ok || !s.isOurs(named.Obj())
}

// asked reads the code of a package with some declarations.
func (s *source) asked(declarations []*declaration) *asked {
	r := askReader{
		asked:  &asked{wrapped: map[types.Object]token.Pos{}, declared: map[string][]string{}},
		source: s, bodies: map[types.Object]ast.Node{}, handed: map[types.Object]bool{},
	}
	for _, d := range declarations {
		if d.source == s {
			names := d.wrapperNames()
			r.wrappers = append(r.wrappers, names.wrapper)
			r.constructors = append(r.constructors, names.constructor)
			if names.fallback != "" {
				r.constructors = append(r.constructors, names.fallback)
			}
		}
	}
	for _, f := range s.files {
		if !isEmitted(f.file) {
			r.test = strings.HasSuffix(f.path, "_test.go")
			ast.Inspect(f.file, r.read)
		}
	}
	for obj := range r.handed {
		if body := r.bodies[obj]; body != nil {
			r.instances = append(r.instances, body)
		}
	}
	return r.asked
}

// askReader reads files.
type askReader struct {
	*asked
	source                 *source
	test                   bool // the file is a test's
	wrappers, constructors []string
	bodies                 map[types.Object]ast.Node // of functions, and of variables that hold one
	handed                 map[types.Object]bool     // what is mentioned where a pool is told how to treat instances
}

// read reads a node, and reports whether to read what is in it.
func (r *askReader) read(n ast.Node) bool {
	info := r.source.info
	switch n := n.(type) {
	case *ast.FuncDecl:
		if n.Recv != nil && len(n.Recv.List) > 0 {
			name := baseName(n.Recv.List[0].Type)
			r.declared[name] = append(r.declared[name], n.Name.Name)
			if slices.Contains(r.wrappers, name) {
				return false // it asks what is inside
			}
		}
		if obj := info.Defs[n.Name]; obj != nil {
			r.bodies[obj] = n
		}
	case *ast.TypeAssertExpr:
		if n.Type != nil {
			_, ok := info.TypeOf(n).(*types.Tuple)
			r.ask(n.X, n.Type, !ok)
		}
	case *ast.TypeSwitchStmt:
		for _, clause := range n.Body.List {
			for _, t := range clause.(*ast.CaseClause).List {
				r.ask(switched(n), t, false)
			}
		}
	case *ast.CompositeLit:
		if isFactory(info.TypeOf(n)) {
			r.hand(n)
		}
	case *ast.ValueSpec:
		for i, value := range n.Values {
			if len(n.Values) == len(n.Names) {
				r.assign(n.Names[i], value)
			}
		}
	case *ast.AssignStmt:
		for i, value := range n.Rhs {
			if len(n.Rhs) == len(n.Lhs) {
				r.assign(n.Lhs[i], value)
			}
		}
		if len(n.Rhs) == 1 {
			if call, ok := ast.Unparen(n.Rhs[0]).(*ast.CallExpr); ok {
				for _, lhs := range n.Lhs {
					r.wrap(call, r.source.variable(lhs))
				}
			}
		}
	case *ast.CallExpr:
		r.wrap(n, nil)
	}
	return true
}

// ask notes that a value is asked for a type.
func (r *askReader) ask(x, t ast.Expr, panics bool) {
	if tv := r.source.info.Types[t]; tv.IsType() {
		r.assertions = append(r.assertions, assertion{t.Pos(), x, tv.Type, panics, r.test})
	}
}

// wrap notes what a call wraps: it was not before, nor is it later, unless the
// wrapper takes its place.
func (r *askReader) wrap(call *ast.CallExpr, result types.Object) {
	if !slices.Contains(r.constructors, baseName(call.Fun)) {
		return
	}
	for _, arg := range call.Args {
		switch obj := r.source.variable(arg); {
		case obj == nil:
		case obj == result:
			r.wrapped[obj] = call.Pos()
		case !r.wrapped[obj].IsValid():
			r.wrapped[obj] = math.MaxInt
		}
	}
}

// assign notes the functions that variables hold, and those that become fields
// of a factory.
func (r *askReader) assign(to, value ast.Expr) {
	if fn, ok := ast.Unparen(value).(*ast.FuncLit); ok {
		if obj := r.source.variable(to); obj != nil {
			r.bodies[obj] = fn
		}
	}
	if field, ok := to.(*ast.SelectorExpr); ok && isFactory(r.source.info.TypeOf(field.X)) {
		r.hand(value)
	}
}

// hand notes that a pool hands instances to the functions in a node, and to
// those that it mentions.
func (r *askReader) hand(n ast.Node) {
	r.instances = append(r.instances, n)
	ast.Inspect(n, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			switch obj := r.source.info.Uses[id].(type) {
			case *types.Func:
				r.handed[obj.Origin()] = true
			case *types.Var:
				r.handed[obj] = true
			}
		}
		return true
	})
}

// variable returns the variable or field that an expression is, or nil.
func (s *source) variable(x ast.Expr) types.Object {
	var id *ast.Ident
	switch x := ast.Unparen(x).(type) {
	case *ast.Ident:
		id = x
	case *ast.SelectorExpr:
		id = x.Sel
	default:
		return nil
	}
	if v, ok := s.info.ObjectOf(id).(*types.Var); ok {
		return v.Origin()
	}
	return nil
}

// isFactory reports whether a type is the one by which pools get instances.
func isFactory(t types.Type) bool {
	if t == nil {
		return false
	}
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Name() == "Factory" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == runtimePath
}

// switched returns the expression whose type a switch is about.
func switched(n *ast.TypeSwitchStmt) ast.Expr {
	var x ast.Expr
	switch assign := n.Assign.(type) {
	case *ast.ExprStmt:
		x = assign.X
	case *ast.AssignStmt:
		x = assign.Rhs[0]
	}
	if assert, ok := ast.Unparen(x).(*ast.TypeAssertExpr); ok {
		return assert.X
	}
	return x
}

// baseName returns the name in *name[…].
func baseName(x ast.Expr) string {
	switch x := ast.Unparen(x).(type) {
	case *ast.Ident:
		return x.Name
	case *ast.StarExpr:
		return baseName(x.X)
	case *ast.IndexExpr:
		return baseName(x.X)
	case *ast.IndexListExpr:
		return baseName(x.X)
	}
	return ""
}
