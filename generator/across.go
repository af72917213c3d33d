package generator

import (
	"cmp"
	"slices"
)

// across are the parts of the packages of a run, by system and name. A program
// may make wrappers of several packages with one Runtime, in which a name has
// one setting and a pool one owner.
type across map[systemPart][]*part

type systemPart struct {
	system string
	partName
}

// compare warns of the parts of a package that a Runtime refuses beside those
// of the packages before, and adds them. That two packages are given Runtimes
// or scopes of their own cannot be seen, so it is no mistake. Names that follow
// from those of the packages are not looked at: there the wrappers of one
// package are refused beside the other's, whatever their settings. Tests and
// programs are linked with no other package's tests and programs.
func (a across) compare(n *names, report *reporter) {
	for _, name := range n.sorted() {
		mine := n.parts[name]
		if mine.owner.source.test {
			continue
		}
		key := systemPart{mine.owner.source.system.String(), name}
		for _, other := range a[key] {
			if mine.meets(other) {
				warnAcross(report, name, mine, other)
				break
			}
		}
		a[key] = append(a[key], mine)
	}
}

// sorted returns the names of the parts in order.
func (n *names) sorted() []partName {
	names := make([]partName, 0, len(n.parts))
	for name := range n.parts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b partName) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
	return names
}

// meets reports whether p and a part of the same name, of another package,
// cannot both be had in one Runtime.
func (p *part) meets(other *part) bool {
	a, b := p.owner.source.types, other.owner.source.types
	switch {
	case a.Path() == b.Path(), a.Name() == "main" && b.Name() == "main":
		return false
	case !p.named() && !other.named():
		return false
	case p.directive.Bad || other.directive.Bad:
		return false
	}
	return p.directive.Spec.Name == "pool" || !p.directive.Same(other.directive)
}

// named reports whether the directive says the part's name.
func (p *part) named() bool { return explicitName(p.directive, "") != "" }

func warnAcross(report *reporter, name partName, mine, other *part) {
	if !mine.named() {
		mine, other = other, mine
	}
	at := mine.owner.at(argPos(mine.directive, "name"))
	there := other.owner.source.types.Path()
	where := short(at, other.owner.at(other.directive.Pos))
	if name.kind == "pool" {
		report.warnf(at, "give one of them another name, or a Runtime.Scope", "pool: %s is a pool of %s too (%s), and no Runtime has both", name.name, there, where)
		return
	}
	report.warnf(at, "give one of them another name, a Runtime.Scope, or both the same settings", "%s: %s is %s in %s (%s), and no Runtime has both", name.kind, name.name, settingsText(other.directive), there, where)
}
