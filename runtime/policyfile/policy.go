package policyfile

import (
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	protect "github.com/protectgen/protectgen/runtime"
)

// reader reads one policy. It knows no field by name, only the types that
// fields have: names come from the yaml tags of [protect.Policy], and what a
// value may be from its Validate.
type reader struct {
	*file
	at     map[string]*token.Position // of each field by its path, as "breaker.failures"; of sections, of their name
	broken map[string]bool            // sections with a field that could not be read
}

// zeroes are the optional fields of which 0 is not the same as leaving the
// field out, or is what leaving it out means by its very name.
var zeroes = map[string]bool{
	"limit.wait":    true,
	"bulkhead.wait": true,
	"pool.overflow": true,
	"pool.prefill":  true,
}

// brief are the sections that may be a single value, with the field that it
// sets. A limit may be one too, which sets two.
var brief = map[string]string{
	"retry":    "attempts",
	"bulkhead": "max",
}

func (r *reader) policy(n ast.Node) (p protect.Policy) {
	if n.Type() == ast.NullType {
		r.report(r.at[""], "the policy has no value; write {} for no protection at all")
		return p
	}
	r.settings("", n, reflect.ValueOf(&p).Elem())
	for _, refusal := range refusals(p.Validate()) {
		// What the values of a section come to together is known only when all
		// of them are.
		if section := sectionOf(refusal.Name); !r.broken[section] {
			at := r.at[refusal.Name]
			if at == nil {
				at = r.at[section]
			}
			r.report(at, "%s: %v", refusal.Name, refusal.Err)
		}
	}
	return p
}

// settings reads a mapping into the fields of a struct.
func (r *reader) settings(path string, n ast.Node, into reflect.Value) {
	what := path
	if path == "" {
		what = "a policy"
	}
	for e := range r.entries(what, n) {
		field, required, names := lookup(into, e.name)
		full := strings.TrimPrefix(path+"."+e.name, ".")
		switch {
		case !field.IsValid():
			if path != "" {
				r.broken[path] = true
			}
			r.report(e.at, "%s has no field %s (%s)", what, show(e.name), hint(e.name, names))
		case field.Kind() == reflect.Pointer:
			r.at[full] = e.at
			r.section(full, e.value, field)
		default:
			r.at[full] = start(e.value)
			r.value(full, e.value, field, required || zeroes[full])
		}
	}
}

// section reads what stands for a section: a mapping, or one value where the
// section has a brief form.
func (r *reader) section(path string, n ast.Node, into reflect.Value) {
	section := reflect.New(into.Type().Elem())
	into.Set(section)
	s, single := scalarOf(n)
	switch short, ok := brief[path]; {
	case n.Type() == ast.NullType:
		r.fail(path, start(n), "has no value; leave it out, or write its fields")
	case single && path == "limit":
		r.rate(path, start(n), s, section.Interface().(*protect.LimitPolicy))
	case single && ok:
		field, _, _ := lookup(section.Elem(), short)
		full := path + "." + short
		r.at[full] = start(n)
		r.value(full, n, field, true)
	default:
		if n.Type() != ast.MappingType {
			r.broken[path] = true
		}
		r.settings(path, n, section.Elem())
	}
}

// value reads one field. zero says whether it may be 0.
func (r *reader) value(path string, n ast.Node, into reflect.Value, zero bool) {
	at := start(n)
	if list, ok := into.Addr().Interface().(*[]string); ok {
		r.names(path, n, list)
		return
	}
	s, ok := scalarOf(n)
	switch {
	case n.Type() == ast.NullType:
		r.fail(path, at, "has no value")
		return
	case !ok:
		r.fail(path, at, "must be a single value, not %s", describe(n))
		return
	}
	var err error
	switch into := into.Addr().Interface().(type) {
	case *time.Duration:
		*into, err = s.duration()
	case *int:
		*into, err = s.integer()
	case *uint64:
		*into, err = s.unsigned()
	case *float64:
		*into, err = s.share()
	case *protect.OnError:
		*into, err = s.onError()
		zero = true
	}
	switch {
	case err != nil:
		r.fail(path, at, "%v", err)
	case !zero && into.IsZero():
		r.fail(path, at, "%s makes no sense; leave it out", show(s.text))
	}
}

// rate reads a limit in its brief form: 100/1m.
func (r *reader) rate(path string, at *token.Position, s scalar, into *protect.LimitPolicy) {
	var err error
	if into.Tokens, into.Window, err = s.rate(); err != nil {
		r.fail(path, at, "%v", err)
	}
	r.at[path+".tokens"], r.at[path+".window"] = at, at
}

func (r *reader) names(path string, n ast.Node, into *[]string) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(path, start(n), "must be a list, as [a, b], not %s", describe(n))
		return
	}
	for _, item := range list.Values {
		s, ok := scalarOf(item)
		if !ok {
			r.fail(path, start(item), "must be a list of names, not of %s", describe(item))
			continue
		}
		if s.hides() {
			r.fail(path, start(item), "%s %s", show(s.text), hidden)
			continue
		}
		*into = append(*into, s.text)
	}
}

// fail reports a field that could not be read.
func (r *reader) fail(path string, at *token.Position, format string, args ...any) {
	r.broken[sectionOf(path)] = true
	r.report(at, path+": "+format, args...)
}

func sectionOf(path string) string {
	section, _, _ := strings.Cut(path, ".")
	return section
}

// lookup finds the field that a yaml tag names. A field is required unless it
// may be left out of the output. Without a field by that name, the names of all
// fields tell what there is.
func lookup(of reflect.Value, name string) (field reflect.Value, required bool, names []string) {
	for f, v := range of.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch tag {
		case "-":
		case name:
			return v, options == "", nil
		default:
			names = append(names, tag)
		}
	}
	return reflect.Value{}, false, names
}

// refusals takes apart what Validate joined.
func refusals(err error) []*protect.Error {
	switch err := err.(type) {
	case *protect.Error:
		return []*protect.Error{err}
	case interface{ Unwrap() []error }:
		var all []*protect.Error
		for _, e := range err.Unwrap() {
			all = append(all, refusals(e)...)
		}
		return all
	}
	return nil
}
