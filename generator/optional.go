package generator

import (
	"fmt"
	"go/types"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A wrapper has the methods of the annotated interface and no others, so that
// whoever asks a wrapped value for more does not find it. This is told where
// there is reason to believe that somebody asks: the package does so itself,
// or the interface is one whose values the standard library asks; see
// lookedFor.

// warnOfOptional tells what a wrapped value is asked for and does not have, in
// one sentence.
func (b *builder) warnOfOptional() {
	d := b.declaration
	if !d.file.wanted {
		return // the view that writes the file tells of it
	}
	name, wrapper := d.object.Name(), d.wrapperNames().wrapper
	asked := b.asked[d.source]
	has := func(name string) bool {
		return slices.ContainsFunc(d.methods, func(m *method) bool { return m.fn.Name() == name }) ||
			slices.Contains(asked.declared[wrapper], name)
	}
	sites := asked.sites(d, has)
	lost := slices.DeleteFunc(lookedForIn(d, has), func(w optional) bool {
		return slices.ContainsFunc(sites, func(s assertion) bool { return types.TypeString(s.to, nil) == w.name })
	})
	if len(sites)+len(lost) == 0 {
		return
	}
	var hints []string
	if len(lost) > 0 || slices.ContainsFunc(sites, func(s assertion) bool { return types.IsInterface(s.to) }) {
		hints = append(hints, "embed what is needed in "+name)
		switch {
		case b.pooled(): // its wrapper has no value to pass a call on to
		case len(lost) > 0 && lost[0].unwrap != "":
			hints = append(hints, fmt.Sprintf("give %s a method %s that returns what it wraps", wrapper, lost[0].unwrap))
		default:
			hints = append(hints, "give "+wrapper+" the methods")
		}
	}
	if len(sites) > 0 {
		hints = append(hints, "assert before the value is wrapped", "assert on any(v) where that is meant")
	}
	hint := hints[0]
	if last := len(hints) - 1; last > 0 {
		hint = strings.Join(hints[:last], ", ") + ", or " + hints[last]
	}
	what := strings.Join(append(d.source.sayAsked(sites[:min(3, len(sites))]), sayLost(lost)...), ", no ")
	if len(sites) > 3 {
		what += ", …"
	}
	b.warnf(b.at(d.spec.Name.Pos()), hint, "a wrapped %s is no %s", name, what)
}

// sayAsked lists what is asked for, each with where.
func (s *source) sayAsked(sites []assertion) []string {
	var what []string
	places := map[string][]string{}
	for _, site := range sites {
		name := s.text(site.to)
		if places[name] == nil {
			what = append(what, name)
		}
		at := s.position(site.pos)
		does := "finds none"
		if site.panics {
			does = "panics"
		}
		places[name] = append(places[name], fmt.Sprintf("%s:%d %s", filepath.Base(at.Filename), at.Line, does))
	}
	for i, name := range what {
		what[i] = fmt.Sprintf("%s (%s)", name, strings.Join(places[name], ", "))
	}
	return what
}

// sayLost lists what the standard library looks for; what costs the same
// stands together.
func sayLost(lost []optional) []string {
	var what []string
	for i, w := range lost {
		name := path.Base(w.name)
		if i+1 == len(lost) || lost[i+1].cost != w.cost {
			name += " (" + w.cost + ")"
		}
		what = append(what, name)
	}
	return what
}

// lookedForIn returns what the standard library looks for in a declaration's
// interface: the one that it is, is defined as, or embeds.
func lookedForIn(d *declaration, has func(method string) bool) []optional {
	var of []string
	var add func(t types.Type)
	add = func(t types.Type) {
		if t == nil {
			return
		}
		named, ok := types.Unalias(t).(*types.Named)
		if ok && named.Obj().Pkg() != nil {
			name := named.Obj().Pkg().Path() + "." + named.Obj().Name()
			if slices.Contains(of, name) {
				return
			}
			of = append(of, name)
		}
		if iface, ok := t.Underlying().(*types.Interface); ok {
			for e := range iface.EmbeddedTypes() {
				add(e)
			}
		}
	}
	add(d.object.Type())
	// What it is defined as is not in the type.
	add(d.source.info.TypeOf(d.spec.Type))
	var out []optional
	for _, w := range lookedFor {
		if slices.Contains(of, w.in) && !slices.ContainsFunc(w.methods, has) && !(w.unwrap != "" && has("Unwrap") && d.unwraps(w.in)) {
			out = append(out, w)
		}
	}
	return out
}

// unwraps reports whether a method Unwrap, of the interface or of its wrapper,
// returns what is looked for. That of the wrapper is taken at its word: its
// receiver is not there yet, so that it may have no type.
func (d *declaration) unwraps(to string) bool {
	for _, m := range d.methods {
		if m.fn.Name() == "Unwrap" {
			return m.sig.Params().Len() == 0 && m.sig.Results().Len() == 1 && types.TypeString(m.sig.Results().At(0).Type(), nil) == to
		}
	}
	return true
}
