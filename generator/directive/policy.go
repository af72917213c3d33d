package directive

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// Setting is one field of a policy's section that a directive sets.
type Setting struct {
	Field string
	Value any // int, uint64, float64, time.Duration, []string, or string of a Word; Item for a function
	Arg   Arg
}

// Settings returns what the directive sets, in the order of the fields of its
// section.
func (d *Directive) Settings() []Setting {
	var out []Setting
	for _, a := range d.Args {
		if a.Param.Field == "" || a.Value == nil {
			continue
		}
		switch v := a.Value.(type) {
		case Rate:
			out = append(out, Setting{"Tokens", v.Tokens, a}, Setting{"Window", v.Window, a})
		case []Item:
			texts := make([]string, len(v))
			for i, item := range v {
				texts[i] = item.Text
			}
			out = append(out, Setting{a.Param.Field, texts, a})
		default:
			out = append(out, Setting{a.Param.Field, v, a})
		}
	}
	return inOrder(d.Spec.Section, out)
}

// inOrder sorts settings as the struct of the section declares its fields.
func inOrder(section string, settings []Setting) []Setting {
	if section == "" {
		return settings
	}
	field, _ := reflect.TypeFor[protect.Policy]().FieldByName(section)
	var out []Setting
	for f := range fieldsOf(field.Type.Elem()) {
		for _, s := range settings {
			if s.Field == f {
				out = append(out, s)
			}
		}
	}
	return out
}

func fieldsOf(t reflect.Type) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i).Name) {
				return
			}
		}
	}
}

// Apply sets the data of a policy's section to what the directive says.
// Functions are left alone: they are names here.
func (d *Directive) Apply(p *protect.Policy) {
	target := reflect.ValueOf(p).Elem()
	if d.Spec.Section != "" {
		section := target.FieldByName(d.Spec.Section)
		section.Set(reflect.New(section.Type().Elem()))
		target = section.Elem()
	}
	for _, s := range d.Settings() {
		field := target.FieldByName(s.Field)
		switch v := s.Value.(type) {
		case Item:
		case string:
			if s.Field == "OnError" {
				// The schema admits no word that this refuses.
				_ = field.Addr().Interface().(*protect.OnError).UnmarshalText([]byte(v))
			}
		default:
			field.Set(reflect.ValueOf(v))
		}
	}
}

// validate asks the policy what cannot hold, and says it where it was written.
func (d *Directive) validate() []Problem {
	var policy protect.Policy
	d.Apply(&policy)
	var problems []Problem
	for _, refusal := range refusals(policy.Validate()) {
		problem := Problem{Pos: d.Pos, Message: d.Spec.Name + ": " + refusal.Err.Error()}
		_, field, _ := strings.Cut(refusal.Name, ".")
		for _, s := range d.Settings() {
			if strings.EqualFold(s.Field, field) || field == "" {
				problem.Pos = s.Arg.Pos
				problem.Message = d.Spec.Name + ": " + s.Arg.Param.Name + ": " + refusal.Err.Error()
			}
		}
		problems = append(problems, problem)
	}
	if problem, ok := d.cutShort(policy.Retry); ok && len(problems) == 0 {
		problems = append(problems, problem)
	}
	return problems
}

// cutShort reports a first wait that is longer than the longest. A policy can
// have both, but who writes them down means something else.
func (d *Directive) cutShort(retry *protect.RetryPolicy) (Problem, bool) {
	backoff, written := d.Arg("backoff")
	if !written || retry == nil {
		return Problem{}, false
	}
	longest, which := retry.Max, "max"
	if longest == 0 {
		longest, _ = d.Spec.key("max").standard().(time.Duration)
		which = "max, which is by default"
	}
	if retry.Backoff <= longest {
		return Problem{}, false
	}
	return Problem{
		Pos:     backoff.Pos,
		Message: fmt.Sprintf("%s: backoff: %s is more than %s %v", d.Spec.Name, backoff.Text, which, longest),
		Hint:    "no wait is longer than max; write a larger max=, or a smaller backoff=",
	}, true
}

// refusals takes a joined error apart.
func refusals(err error) []*protect.Error {
	switch e := err.(type) {
	case *protect.Error:
		return []*protect.Error{e}
	case interface{ Unwrap() []error }:
		var out []*protect.Error
		for _, part := range e.Unwrap() {
			out = append(out, refusals(part)...)
		}
		return out
	}
	return nil
}

// Same reports whether two directives give their parts the same settings,
// whether a default is written or left out. Functions are not compared.
func (d *Directive) Same(other *Directive) bool {
	return d.Spec == other.Spec && reflect.DeepEqual(d.data(), other.data())
}

// Unlike returns the key of a function, or of a list of errors, that two
// directives name differently; empty when they do not. One that does not have
// the key leaves it to the other.
func (d *Directive) Unlike(other *Directive) string {
	for _, a := range d.Args {
		b, ok := other.Arg(a.Param.Name)
		if ok && a.names() != b.names() {
			return a.Param.Name
		}
	}
	return ""
}

// names is what an argument names in the code, in one order; empty for one that
// is data.
func (a Arg) names() string {
	switch {
	case a.Param.Type == Func:
		return a.Text
	case a.Param.Type == Errors:
		var texts []string
		items, _ := a.Value.([]Item)
		for _, item := range items {
			texts = append(texts, item.Text)
		}
		slices.Sort(texts)
		return strings.Join(texts, ",")
	}
	return ""
}

// data returns the settings that are not functions and differ from their
// defaults, by field.
func (d *Directive) data() map[string]any {
	m := map[string]any{}
	for _, s := range d.Settings() {
		if _, isFunc := s.Value.(Item); isFunc || reflect.ValueOf(s.Value).IsZero() || s.isDefault() {
			continue
		}
		m[s.Field] = s.Value
	}
	return m
}

func (s Setting) isDefault() bool {
	if s.Arg.Param.Default == "" {
		return false
	}
	return s.Value == s.Arg.Param.standard()
}

// standard is the value of the default.
func (p *Param) standard() any {
	value, _ := p.value(field{text: p.Default})
	return value
}
