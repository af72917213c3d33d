package templates_test

import (
	"go/types"
	"time"

	"github.com/protectgen/protectgen/templates"
)

var (
	breaker = templates.Section{Field: "Breaker", Type: "BreakerPolicy", Fields: []templates.Field{{Name: "Failures", Value: 5}, {Name: "Recovery", Value: 30 * time.Second}}}
	pool    = templates.Section{Field: "Pool", Type: "PoolPolicy", Fields: []templates.Field{{Name: "Size", Value: 10}, {Name: "Overflow", Value: 5}}}
)

// wrapperOf is the model of the interface W or w of pkg. Its methods with an
// error result are protected by one breaker.
func wrapperOf(pkg *types.Package) templates.Wrapper {
	obj, exported := pkg.Scope().Lookup("W").(*types.TypeName)
	if !exported {
		obj = pkg.Scope().Lookup("w").(*types.TypeName)
	}
	w := templates.Wrapper{Interface: obj, Name: "ProtectedW", Constructor: "NewProtectedW"}
	if !exported {
		w.Name, w.Constructor = "protectedW", "newProtectedW"
	}
	methods := types.NewMethodSet(obj.Type())
	for i := range methods.Len() {
		fn := methods.At(i).Obj().(*types.Func)
		w.Methods = append(w.Methods, methodOf(obj, pkg.Name()+"."+obj.Name(), fn))
	}
	return w
}

func methodOf(obj *types.TypeName, key string, fn *types.Func) templates.Method {
	m := templates.Method{Func: fn, Signature: fn.Signature(), Error: -1, Context: -1, Key: key + "." + fn.Name()}
	for i := range m.Signature.Results().Len() {
		switch t := m.Signature.Results().At(i).Type(); {
		case types.Identical(t, types.Universe.Lookup("error").Type()):
			m.Error = i
		case types.Identical(t, obj.Type()):
			m.Rewrap = append(m.Rewrap, i)
		}
	}
	for i := range m.Signature.Params().Len() {
		if types.TypeString(m.Signature.Params().At(i).Type(), nil) == "context.Context" && m.Context < 0 {
			m.Context = i
		}
	}
	if m.Error >= 0 {
		m.Protected = true
		m.Breaker = key
		m.Policy = []templates.Section{breaker}
		m.Summary = "breaker " + key
	}
	return m
}
