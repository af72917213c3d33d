package templates

import (
	"go/ast"
	"go/parser"
	"strings"

	"github.com/dave/jennifer/jen"
)

// method prints one method of a wrapper.
type method struct {
	*wrapper
	Method
	*signature
	guard string // field of its guard
	next  string // the instance that the call runs on
}

// forward prints a method that passes its calls on: through a guard, or
// straight when there is none and only its results come back wrapped.
func (w *wrapper) forward(m Method, guard string) jen.Code {
	f := &method{wrapper: w, Method: m, signature: w.sign(m, w.recv), guard: guard}
	f.next = f.scope().allocate("next")
	if guard == "" {
		return f.straight()
	}
	if m.Error < 0 {
		w.fail("it has no error result, so that a refusal could not be reported")
		return jen.Null()
	}
	return f.guarded()
}

func (f *method) scope() *scope { return f.signature.scope }

// straight prints a method whose results are wrapped and nothing else.
func (f *method) straight() jen.Code {
	call := jen.Id(f.recv).Dot(f.embedded).Dot(f.Func.Name()).Call(f.args()...)
	if len(f.results) == 1 {
		return f.declaration(false, jen.Return(jen.Id(f.recv).Dot(f.rewrap).Call(call)))
	}
	return f.declaration(true,
		jen.List(f.assigned()...).Op("=").Add(call),
		jen.Return(f.returned()...),
	)
}

// guarded prints a method whose calls go through its guard.
func (f *method) guarded() jen.Code {
	err := f.results[f.Error].name
	name, entity := "Do", f.entity()
	if f.Entity != nil && f.Entity.MayPanic {
		name, entity = "DoKeyed", jen.Func().Params().Add(f.builtin("string")).Op("{").Return(entity).Op("}") // in one line
	}
	do := jen.Id(f.recv).Dot(f.guard).Dot(name).Call(f.outerContext(), entity, f.closure(err))
	if len(f.results) == 1 && f.Method.Fallback == nil {
		return f.declaration(false, jen.Return(do))
	}
	body := []jen.Code{jen.Id(err).Op("=").Add(do)}
	if f.Method.Fallback != nil {
		body = append(body, jen.If(jen.Id(err).Op("!=").Add(f.builtin("nil"))).Block(
			jen.Return(f.fallback().Call(append(f.values(), jen.Id(err))...)),
		))
	}
	return f.declaration(true, append(body, jen.Return(f.returned()...))...)
}

// fallback mentions the function that answers in the callee's place.
func (f *method) fallback() *jen.Statement {
	s := f.function(f.Method.Fallback)
	if f.Method.Fallback.Instance {
		s.Add(f.used())
	}
	return s
}

// closure prints the call itself. It captures the results by reference and
// goes nowhere but into the guard, so it stays on the stack.
func (f *method) closure(err string) jen.Code {
	ctx := "_"
	if f.Context >= 0 {
		ctx = f.params[f.Context].name
	}
	fn := jen.Func().Params(
		jen.Id(ctx).Add(f.std("context", "Context")),
		jen.Id(f.next).Add(f.iface()),
	)
	call := jen.Id(f.next).Dot(f.Func.Name()).Call(f.args()...)
	if len(f.results) == 1 {
		return fn.Add(f.builtin("error")).Block(jen.Return(call))
	}
	return fn.Params(jen.Id(err).Add(f.builtin("error"))).Block(
		jen.List(f.assigned()...).Op("=").Add(call),
		jen.Return(jen.Id(err)),
	)
}

func (f *method) outerContext() jen.Code {
	if f.Context < 0 {
		return f.std("context", "Background").Call()
	}
	return jen.Id(f.params[f.Context].name)
}

// returned prints the results, those of the interface's own type wrapped.
func (f *method) returned() []jen.Code {
	list := f.assigned()
	if f.rewrap != "" {
		for _, i := range f.Rewrap {
			list[i] = jen.Id(f.recv).Dot(f.rewrap).Call(list[i])
		}
	}
	return list
}

// entity prints whose bucket a limiter takes from.
func (f *method) entity() jen.Code {
	if f.Entity == nil {
		return jen.Lit("")
	}
	x, text := f.expression()
	switch f.Entity.Kind {
	case EntityConvert:
		return f.builtin("string").Call(x)
	case EntityInt:
		return f.std("strconv", "FormatInt").Call(f.builtin("int64").Call(x), jen.Lit(10))
	case EntityUint:
		return f.std("strconv", "FormatUint").Call(f.builtin("uint64").Call(x), jen.Lit(10))
	case EntityStringer:
		if !primary(text) {
			x = jen.Parens(x)
		}
		return x.Dot("String").Call()
	}
	return x
}

// expression prints the terms of the entity, as code and as plain text.
func (f *method) expression() (*jen.Statement, string) {
	var b strings.Builder
	for _, term := range f.Entity.Expr {
		switch {
		case term.Param > 0:
			b.WriteString(f.params[term.Param-1].name)
		case term.Path != "" && term.Path != f.file.Path:
			b.WriteString(f.imports.use(term.Path, f.packageName(term.Path)) + "." + term.Text)
		default:
			b.WriteString(term.Text)
		}
	}
	return jen.Op(b.String()), b.String()
}

// primary reports whether a selector can follow an expression as it is.
func primary(text string) bool {
	x, err := parser.ParseExpr(text)
	if err != nil {
		return false
	}
	switch x.(type) {
	case *ast.Ident, *ast.SelectorExpr, *ast.CallExpr, *ast.IndexExpr, *ast.IndexListExpr, *ast.ParenExpr, *ast.CompositeLit:
		return true
	}
	return false
}

func (f *method) declaration(named bool, body ...jen.Code) jen.Code {
	return jen.Add(f.comment()).Line().
		Func().Params(jen.Id(f.recv).Op("*").Add(f.wrapped())).Id(f.Func.Name()).Add(f.signature.declared(named)).
		Block(body...)
}

func (f *method) comment() jen.Code {
	text := "// " + f.Func.Name() + " implements " + f.Interface.Name() + ": "
	protection := f.Summary
	if protection == "" {
		protection = "unprotected"
	}
	if f.rewrap != "" && len(f.Rewrap) > 0 {
		protection += "; its " + f.Interface.Name() + " comes back behind the same guards"
		if f.Method.Fallback != nil {
			protection += ", the fallback's as it is"
		}
	}
	return jen.Comment(text + protection + ".")
}
