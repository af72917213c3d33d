package templates

import (
	"math"
	"strconv"
	"time"

	"github.com/dave/jennifer/jen"
)

// settings prints the policies of a wrapper's methods, for its constructor.
// Those of a part that several methods share stand there once, as a variable.
type settings struct {
	*wrapper
	scope  *scope // of the constructor
	shared map[part]string
	vars   []jen.Code
}

// part identifies a part that methods may share: its kind, which is the name
// of its field in a Policy, and its name.
type part struct{ kind, name string }

// kindPool is the kind of a pool. Every method of a pooled wrapper has one.
const kindPool = "Pool"

func newSettings(w *wrapper, s *scope) *settings {
	st := &settings{wrapper: w, scope: s, shared: map[part]string{}}
	for i, pool := range w.Pools {
		st.share(st.poolPart(i), pool.Policy, w.pools[i]+"Policy")
	}
	methods := map[part]int{}
	for i, m := range w.Methods {
		if w.guards[i] == "" {
			continue
		}
		for _, section := range m.Policy {
			p := partOf(m, section)
			if methods[p]++; methods[p] == 2 && p.name != "" {
				st.share(p, section, unexported(section.Type))
			}
		}
	}
	return st
}

func (st *settings) poolPart(i int) part { return part{kindPool, st.Pools[i].Name} }

// partOf returns the part that a section configures. Its name is empty when
// the part is the method's own.
func partOf(m Method, section Section) part {
	p := part{kind: section.Field}
	switch section.Field {
	case "Limit":
		p.name = m.Limiter
	case "Breaker":
		p.name = m.Breaker
	case "Bulkhead":
		p.name = m.Bulkhead
	}
	return p
}

func (st *settings) share(p part, section Section, wanted string) {
	name := st.scope.allocate(wanted)
	st.shared[p] = name
	st.vars = append(st.vars, jen.Id(name).Op(":=").Add(st.section(section)))
}

// spec prints what the runtime is told about a method.
func (st *settings) spec(m Method) jen.Code {
	st.method = m.Func.Name()
	defer func() { st.method = "" }()
	fields := []jen.Code{field("Key", jen.Lit(m.Key))}
	switch policy := st.policy(m); len(policy) {
	case 0:
	case 1:
		fields = append(fields, field("Policy", st.protect("Policy").Values(policy...)))
	default:
		fields = append(fields, field("Policy", st.protect("Policy").Add(lines(policy...))))
	}
	for _, name := range []struct{ field, value string }{
		{"Limiter", m.Limiter}, {"Breaker", m.Breaker}, {"Bulkhead", m.Bulkhead},
	} {
		if name.value != "" {
			fields = append(fields, field(name.field, jen.Lit(name.value)))
		}
	}
	return st.protect("Spec").Add(lines(fields...))
}

func (st *settings) policy(m Method) []jen.Code {
	var fields []jen.Code
	if m.Timeout != 0 {
		fields = append(fields, field("Timeout", st.duration(m.Timeout)))
	}
	for _, section := range m.Policy {
		if section.Field == kindPool && st.pooled() {
			continue
		}
		value := st.section(section)
		if name := st.shared[partOf(m, section)]; name != "" {
			value = jen.Id(name)
		}
		fields = append(fields, field(section.Field, jen.Op("&").Add(value)))
	}
	if st.pooled() {
		fields = append(fields, field(kindPool, jen.Op("&").Id(st.shared[st.poolPart(m.Pool)])))
	}
	return fields
}

// section prints a section in one line, or, when it is long, in one for each
// field.
func (st *settings) section(section Section) *jen.Statement {
	var fields []jen.Code
	for _, f := range section.Fields {
		fields = append(fields, field(f.Name, st.value(f.Value)))
	}
	s := st.protect(section.Type)
	if len(fields) > 4 {
		return s.Add(lines(fields...))
	}
	return s.Values(fields...)
}

func (st *settings) value(v any) jen.Code {
	switch v := v.(type) {
	case int:
		return jen.Lit(v)
	case uint64:
		return jen.Op(strconv.FormatUint(v, 10))
	case float64:
		return jen.Lit(v)
	case time.Duration:
		return st.duration(v)
	case []string:
		var names []jen.Code
		for _, name := range v {
			names = append(names, jen.Lit(name))
		}
		return jen.Index().Add(st.builtin("string")).Values(names...)
	case Const:
		return st.protect(string(v))
	case *Func:
		return st.function(v)
	case Judge:
		return st.judge(v)
	}
	st.fail("no way to write a setting of type %T", v)
	return jen.Null()
}

// units of durations, the largest first.
var units = []struct {
	size time.Duration
	name string
}{
	{time.Hour, "Hour"},
	{time.Minute, "Minute"},
	{time.Second, "Second"},
	{time.Millisecond, "Millisecond"},
	{time.Microsecond, "Microsecond"},
	{time.Nanosecond, "Nanosecond"},
}

// duration prints d in the largest unit that it is a multiple of.
func (e *emitter) duration(d time.Duration) jen.Code {
	if d == math.MaxInt64 {
		return e.protect("Forever")
	}
	for _, unit := range units {
		switch {
		case d == unit.size:
			return e.std("time", unit.name)
		case d != 0 && d%unit.size == 0:
			return jen.Lit(int(d / unit.size)).Op("*").Add(e.std("time", unit.name))
		}
	}
	return jen.Lit(0)
}

// function mentions a function, or a variable, that a directive names.
func (e *emitter) function(f *Func) *jen.Statement {
	return e.qualified(f.Path, e.packageName(f.Path), f.Name)
}

// judge prints a breaker's Failure function.
func (e *emitter) judge(j Judge) jen.Code {
	failure := e.otherwise(j.Failure)
	if len(j.Ignore) == 0 {
		return failure
	}
	args := []jen.Code{failure}
	for _, m := range j.Ignore {
		if m.Value != nil {
			args = append(args, e.protect("Is").Call(e.function(m.Value)))
		} else {
			args = append(args, e.protect("As").Types(e.typ(m.Type)).Call())
		}
	}
	return e.protect("Ignore").Call(args...)
}

func (e *emitter) otherwise(f *Func) jen.Code {
	if f == nil {
		return e.builtin("nil")
	}
	return e.function(f)
}

// field prints an element of a struct literal.
func field(name string, value jen.Code) jen.Code { return jen.Id(name).Op(":").Add(value) }
