package templates

import (
	"strconv"

	"github.com/dave/jennifer/jen"
)

// signature is a method's parameters and results, each with a name.
type signature struct {
	params, results []variable
	variadic        bool
	scope           *scope // of the method's body
}

type variable struct {
	name string
	typ  *jen.Statement
}

// sign names the variables of a method with that receiver: as the interface
// does where it does and nothing is in the way.
func (w *wrapper) sign(m Method, recv string) *signature {
	sig := &signature{scope: w.scope.child(), variadic: m.Signature.Variadic()}
	sig.scope.reserve(recv)
	params, results := m.Signature.Params(), m.Signature.Results()
	for i := range params.Len() {
		wanted := params.At(i).Name()
		switch {
		case wanted != "" && wanted != "_":
		case i == m.Context:
			wanted = "ctx"
		default:
			wanted = "a" + strconv.Itoa(i)
		}
		typ := w.parameterType(params.At(i).Type(), sig.variadic && i == params.Len()-1)
		sig.params = append(sig.params, variable{sig.scope.allocate(wanted), typ})
	}
	for i := range results.Len() {
		wanted := results.At(i).Name()
		switch {
		case wanted != "" && wanted != "_":
		case i == m.Error:
			wanted = "err"
		default:
			wanted = "r" + strconv.Itoa(i)
		}
		sig.results = append(sig.results, variable{sig.scope.allocate(wanted), w.typ(results.At(i).Type())})
	}
	return sig
}

// declared prints the parameters, and the results with or without names.
func (s *signature) declared(named bool) *jen.Statement {
	d := jen.Params(variables(s.params)...)
	switch {
	case len(s.results) == 0:
		return d
	case named:
		return d.Params(variables(s.results)...)
	case len(s.results) == 1:
		return d.Add(s.results[0].typ)
	}
	var types []jen.Code
	for _, r := range s.results {
		types = append(types, r.typ)
	}
	return d.Params(types...)
}

func variables(list []variable) []jen.Code {
	var decls []jen.Code
	for _, v := range list {
		decls = append(decls, jen.Id(v.name).Add(v.typ))
	}
	return decls
}

// args prints the parameters as the arguments of a call with the same ones.
func (s *signature) args() []jen.Code {
	list := s.values()
	if s.variadic {
		last := len(list) - 1
		list[last] = jen.Add(list[last]).Op("...")
	}
	return list
}

// values prints the parameters as values, the variadic one as a slice.
func (s *signature) values() []jen.Code {
	var list []jen.Code
	for _, p := range s.params {
		list = append(list, jen.Id(p.name))
	}
	return list
}

// assigned prints the results as the left side of an assignment.
func (s *signature) assigned() []jen.Code {
	var list []jen.Code
	for _, r := range s.results {
		list = append(list, jen.Id(r.name))
	}
	return list
}
