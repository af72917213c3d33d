package generator

import (
	"cmp"
	"fmt"
	"go/token"
	"slices"
)

// Severity says whether a diagnostic stops its package from being generated.
type Severity int

// The severities.
const (
	Error   Severity = iota // the package gets no output
	Warning                 // worth knowing, stops nothing
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Diagnostic is something to tell about the source.
type Diagnostic struct {
	Position token.Position // Filename is absolute; empty for what is not about a file
	Message  string
	Hint     string // what to do about it, may be empty
	Severity Severity
}

// String returns file:line:col: message, and the hint on an indented line.
func (d Diagnostic) String() string {
	s := d.Message
	if d.Severity == Warning {
		s = "warning: " + s
	}
	if d.Position.Filename != "" {
		s = d.Position.String() + ": " + s
	}
	if d.Hint != "" {
		s += "\n\t" + d.Hint
	}
	return s
}

// reporter collects diagnostics. One that was reported already, as by a
// package and its test variant, is not reported again.
type reporter struct {
	diagnostics []Diagnostic
	seen        map[Diagnostic]bool
}

func newReporter() *reporter { return &reporter{seen: map[Diagnostic]bool{}} }

func (r *reporter) add(d Diagnostic) {
	if !r.seen[d] {
		r.seen[d] = true
		r.diagnostics = append(r.diagnostics, d)
	}
}

func (r *reporter) errorf(at token.Position, hint, format string, args ...any) {
	r.add(Diagnostic{Position: at, Message: fmt.Sprintf(format, args...), Hint: hint, Severity: Error})
}

func (r *reporter) warnf(at token.Position, hint, format string, args ...any) {
	r.add(Diagnostic{Position: at, Message: fmt.Sprintf(format, args...), Hint: hint, Severity: Warning})
}

func (r *reporter) failed() bool {
	return slices.ContainsFunc(r.diagnostics, func(d Diagnostic) bool { return d.Severity == Error })
}

// sort puts everything in the order that the fields of Result promise.
func (r *Result) sort() {
	slices.SortStableFunc(r.Diagnostics, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Position.Filename, b.Position.Filename),
			cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Position.Column, b.Position.Column),
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Message, b.Message),
		)
	})
	slices.SortFunc(r.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	slices.Sort(r.Orphans)
}
