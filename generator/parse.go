package generator

import (
	"cmp"
	"go/ast"
	"go/token"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/protectgen/protectgen/generator/directive"
)

// annotation is an interface declaration and the directives that stand on it
// and on its methods.
type annotation struct {
	file    *sourceFile
	spec    *ast.TypeSpec
	own     []*directive.Directive
	methods map[*ast.Ident][]*directive.Directive // by the name in the method's declaration
	bad     bool                                  // a directive was refused: what seems to be missing may be in it
}

// parse reads the directives of a package's annotated files, reports those
// that are wrong or stand where they mean nothing, and returns the
// declarations that have any, in source order.
//
// Invariant: a directive of a file is given to exactly one declaration, or
// refused.
func parse(s *source, r *reporter) []*annotation {
	var out []*annotation
	for _, f := range s.files {
		if !f.annotated || isEmitted(f.file) {
			continue
		}
		if s.unreadable(f, r) {
			continue
		}
		p := fileParser{source: s, file: f, reporter: r, taken: map[*ast.CommentGroup]bool{}, bad: map[*ast.CommentGroup]bool{}}
		for _, decl := range f.file.Decls {
			if gen, ok := decl.(*ast.GenDecl); ok && gen.Tok == token.TYPE {
				for _, spec := range gen.Specs {
					if a := p.declaration(gen, spec.(*ast.TypeSpec)); a != nil {
						out = append(out, a)
					}
				}
			}
		}
		p.refuseOthers()
	}
	return out
}

// unreadable reports the syntax errors of a file. Directives of a file that has
// any are not judged: what they stand on is not known.
func (s *source) unreadable(f *sourceFile, r *reporter) bool {
	found := false
	for _, e := range s.errors {
		if at := errorPosition(e); e.Kind == packages.ParseError && at.Filename == f.path {
			r.errorf(at, "", "%s", e.Msg)
			found = true
		}
	}
	return found
}

// fileParser reads one file.
type fileParser struct {
	*reporter
	source *source
	file   *sourceFile
	taken  map[*ast.CommentGroup]bool // given to a declaration
	bad    map[*ast.CommentGroup]bool // of those, with a directive that was refused
}

func (p *fileParser) position(pos token.Pos) token.Position { return p.source.position(pos) }

// declaration reads the directives of an interface, or of an alias or defined
// type whose underlying type only the type checker knows.
func (p *fileParser) declaration(gen *ast.GenDecl, spec *ast.TypeSpec) *annotation {
	doc := spec.Doc
	if !gen.Lparen.IsValid() {
		doc = gen.Doc
	}
	a := &annotation{file: p.file, spec: spec, methods: map[*ast.Ident][]*directive.Directive{}}
	switch t := ast.Unparen(spec.Type).(type) {
	case *ast.InterfaceType:
		a.own = p.read(doc, directive.OnInterface, spec.Name.Name)
		for _, field := range t.Methods.List {
			if len(field.Names) == 0 {
				continue
			}
			if on := p.read(field.Doc, directive.OnMethod, spec.Name.Name+"."+field.Names[0].Name); len(on) > 0 {
				a.methods[field.Names[0]] = on
			}
			a.bad = a.bad || p.bad[field.Doc]
		}
	case *ast.Ident, *ast.SelectorExpr, *ast.IndexExpr, *ast.IndexListExpr:
		a.own = p.read(doc, directive.OnInterface, spec.Name.Name)
	}
	a.bad = a.bad || p.bad[doc]
	if len(a.own) == 0 && len(a.methods) == 0 {
		return nil
	}
	return a
}

// read returns the directives of a doc comment.
func (p *fileParser) read(doc *ast.CommentGroup, at directive.Place, name string) []*directive.Directive {
	if doc == nil {
		return nil
	}
	p.taken[doc] = true
	var out []*directive.Directive
	for _, c := range doc.List {
		d, problems, ok := directive.Parse(c.Slash, c.Text)
		if !ok {
			continue
		}
		if d != nil {
			problems = append(problems, d.Place(at)...)
		}
		for _, problem := range problems {
			p.errorf(p.position(problem.Pos), problem.Hint, "%s", problem.Message)
		}
		if len(problems) > 0 {
			p.bad[doc] = true
		}
		if d == nil || d.Spec.Place&at == 0 {
			continue
		}
		if i := slices.IndexFunc(out, func(other *directive.Directive) bool { return sameTask(d, other) }); i >= 0 {
			p.bad[doc] = true
			hint := "put one directive in place of both"
			if at == directive.OnInterface && d.Spec.Name != "wrap" {
				hint = "methods= selects the methods that each of them is for"
			}
			p.errorf(p.position(d.Pos), hint, "%s stands twice on %s, first on line %d", d.Spec.Name, name, p.position(out[i].Pos).Line)
			continue
		}
		out = append(out, d)
	}
	return out
}

// sameTask reports whether two directives of one declaration would do the same
// for the same methods. Asking for a chain and naming a function are two tasks
// of fallback.
func sameTask(a, b *directive.Directive) bool {
	return a.Spec == b.Spec && isChain(a) == isChain(b) && methodsText(a) == methodsText(b)
}

func isChain(d *directive.Directive) bool {
	arg, ok := d.Arg("func")
	return d.Spec.Name == "fallback" && ok && arg.Text == "next"
}

func methodsText(d *directive.Directive) string {
	arg, _ := d.Arg("methods")
	return arg.Text
}

// refuseOthers reports the directives that stand on nothing that can have any.
func (p *fileParser) refuseOthers() {
	var places map[*ast.CommentGroup]string
	for _, group := range p.file.file.Comments {
		if p.taken[group] {
			continue
		}
		for _, c := range group.List {
			d, problems, ok := directive.Parse(c.Slash, c.Text)
			if !ok {
				continue
			}
			if d == nil {
				for _, problem := range problems {
					p.errorf(p.position(problem.Pos), problem.Hint, "%s", problem.Message)
				}
				continue
			}
			if places == nil {
				places = p.places()
			}
			place, hint, _ := strings.Cut(places[group], "|")
			if place == "" {
				place, hint = "by itself", "put it in the doc comment of an interface, or of one of an interface's methods, without an empty line between"
			}
			p.errorf(p.position(c.Slash), cmp.Or(hint, belongs), "%s stands %s, where it does nothing", d.Spec.Name, place)
		}
	}
}

const belongs = "put it in the doc comment of an interface, or of one of an interface's methods"

// places says of the comment groups of a file what they stand on; what comes
// after a | is what to do about it.
func (p *fileParser) places() map[*ast.CommentGroup]string {
	m := map[*ast.CommentGroup]string{}
	// Outer nodes come first and do not overwrite what they know better.
	note := func(place string, groups ...*ast.CommentGroup) {
		for _, g := range groups {
			if g != nil && m[g] == "" {
				m[g] = place
			}
		}
	}
	file := p.file.file
	note("on the package clause", file.Doc)
	type frame struct {
		node  ast.Node
		local bool
	}
	var stack []frame
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		local, depth := false, len(stack)
		if depth > 0 {
			local = stack[depth-1].local
		}
		switch n := n.(type) {
		case *ast.FuncDecl:
			what := "a function"
			if n.Recv != nil {
				what = "the method of a type that is no interface"
			}
			note("on "+what, n.Doc)
			local = true
		case *ast.FuncLit:
			local = true
		case *ast.GenDecl:
			switch {
			case n.Tok == token.TYPE && n.Lparen.IsValid():
				note("on a group of types|put it above the one that it is for, inside the parentheses", n.Doc)
			case n.Tok != token.TYPE:
				note("on "+article[n.Tok], n.Doc)
			case local:
				note(localType, n.Doc)
			default:
				note(typeOf(n.Specs[0].(*ast.TypeSpec)), n.Doc)
			}
		case *ast.TypeSpec:
			place := typeOf(n)
			if local {
				place = localType
			}
			note(place, n.Doc)
			note("behind a type|put it on a line above", n.Comment)
		case *ast.ValueSpec:
			note("on a variable or constant", n.Doc, n.Comment)
		case *ast.ImportSpec:
			note("on an import", n.Doc, n.Comment)
		case *ast.Field:
			owner := ast.Node(nil)
			if depth > 1 {
				owner = stack[depth-2].node
			}
			switch owner.(type) {
			case *ast.InterfaceType:
				switch {
				case len(n.Names) == 0:
					note("on an embedded interface|put it on the interface that embeds, with methods= and the names that it is for", n.Doc, n.Comment)
				case local:
					note(localType, n.Doc, n.Comment)
				default:
					note("on a method of an interface that is not declared by itself|declare the interface as a type, and put it there", n.Doc)
					note("behind a method|put it on a line above", n.Comment)
				}
			case *ast.StructType:
				note("on a field", n.Doc, n.Comment)
			default:
				note("on a parameter", n.Doc, n.Comment)
			}
		}
		stack = append(stack, frame{n, local})
		return true
	})
	return m
}

const localType = "on a type inside a function|only an interface at package level can have a wrapper"

var article = map[token.Token]string{token.VAR: "a variable", token.CONST: "a constant", token.IMPORT: "an import"}

// typeOf says what a type declaration that cannot have directives is.
func typeOf(spec *ast.TypeSpec) string {
	switch ast.Unparen(spec.Type).(type) {
	case *ast.StructType:
		return "on a struct"
	case *ast.FuncType:
		return "on a function type"
	}
	return "on a type that is no interface"
}
