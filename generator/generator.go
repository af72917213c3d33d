// Package generator turns annotated interfaces into the source of their
// wrappers. It is a pipeline: find the packages that have directives, load
// them with types, parse directives and what they stand on, resolve them
// against the types into models, render the models. Nothing is written: a
// Result says what the files should hold, and writing them is a step of its
// own.
//
// The rules of the language are in package directive, the emitted code is that
// of package templates.
package generator

import (
	"context"
	"errors"
	"fmt"
	"go/token"
	"slices"

	"github.com/protectgen/protectgen/templates"
)

// Config says what to generate. The process's working directory and
// environment are not looked at.
type Config struct {
	Dir      string   // folder that the patterns are relative to; the working directory when empty
	Env      []string // of the go command; nil is the process's
	Patterns []string // as of the go command; none is the package in Dir
	Tags     []string // build tags besides those in GOFLAGS

	// Progress, unless nil, is told what is being done, in a few words.
	Progress func(doing string)
}

func (c Config) progress(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

// Result is what a run found out. Paths are absolute, and everything is in the
// same order on every run.
type Result struct {
	Files        []File        // of the packages without an error, sorted by path
	Orphans      []string      // files that an earlier run wrote and no annotation asks for any more
	Diagnostics  []Diagnostic  // sorted by file, line and column
	Explanations []Explanation // of every method of every annotated interface without an error in its package
}

// File is a file to be written.
type File struct {
	Path    string
	Content []byte
}

// Failed reports whether a diagnostic is an error.
func (r *Result) Failed() bool {
	for _, d := range r.Diagnostics {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// explain adds the explanations of a unit, each once: several systems may see
// the same.
func (r *Result) explain(models []model) {
	seen := map[string][]Explanation{} // by key
	for _, m := range models {
		for _, e := range m.explanations {
			if !slices.ContainsFunc(seen[e.Key], e.same) {
				seen[e.Key] = append(seen[e.Key], e)
				r.Explanations = append(r.Explanations, e)
			}
		}
	}
}

// Run generates the wrappers that the packages of cfg ask for. Mistakes in
// them are diagnostics of the result; the error is for what keeps Run from
// looking at them: a go command that fails, a cancelled ctx.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	cfg.progress("looking for directives")
	found, err := find(ctx, cfg)
	if err != nil {
		return nil, err
	}
	cfg.progress("loading %d packages", len(found.patterns))
	sources, err := load(ctx, cfg, found)
	if err != nil {
		return nil, err
	}
	if err := outdated(sources); err != nil {
		return nil, err
	}
	result := &Result{Diagnostics: found.diagnostics}
	parts := across{}
	dependencies := map[string]bool{}
	for _, unit := range units(sources) {
		r := newReporter()
		cfg.progress("generating %s", unit[0].path)
		models := resolve(unit, parts, r)
		files := render(models, r)
		if module := found.foreign[unit[0].dir]; module != "" && len(files) > 0 {
			files = nil
			dependencies[module] = true
		}
		if !r.failed() {
			result.Files = append(result.Files, files...)
			result.explain(models)
		} else {
			found.keep(unit[0].dir)
		}
		result.Diagnostics = append(result.Diagnostics, r.diagnostics...)
	}
	for module := range dependencies {
		result.Diagnostics = append(result.Diagnostics, Diagnostic{
			Message: module + " is a dependency: nothing is written into it", Hint: "run protectgen in that module", Severity: Warning,
		})
	}
	result.Orphans = found.orphans(result.Files)
	result.sort()
	return result, nil
}

// resolve reads the annotations of the packages of a unit and makes models of
// them. Each system has its own names: what is declared for one is not there
// for the other. parts has those of other packages, and gets these.
func resolve(unit []*source, parts across, report *reporter) []model {
	var models []model
	for len(unit) > 0 {
		n := 1
		for n < len(unit) && unit[n].system == unit[0].system {
			n++
		}
		models = append(models, resolveSystem(unit[:n], parts, report)...)
		unit = unit[n:]
	}
	compareSystems(models, report)
	return slices.DeleteFunc(models, func(m model) bool { return !m.file.wanted })
}

// compareSystems reports the interfaces whose methods depend on the system,
// though one file, and so one wrapper, is for several.
func compareSystems(models []model, report *reporter) {
	first := map[string]string{} // methods, by file and interface
	for _, m := range models {
		for i, w := range m.Wrappers {
			key, methods := m.path+" "+w.Interface.Name(), methodSet(w)
			if known, ok := first[key]; !ok {
				first[key] = methods
			} else if known != methods {
				report.errorf(m.source.position(m.positions[i].wrapper), "declare it in a file for each system",
					"%s has other methods as built for %s, and one wrapper cannot have both", w.Interface.Name(), m.source.system)
			}
		}
	}
}

// resolveSystem is resolve for one system. Names are taken before anything is
// built, so that a directive can join a part that is described further down.
func resolveSystem(unit []*source, parts across, report *reporter) []model {
	r := &resolver{reporter: report, names: newNames()}
	var declarations []*declaration
	for _, s := range unit {
		for _, a := range parse(s, report) {
			if d := r.declare(s, a); d != nil {
				declarations = append(declarations, d)
			}
		}
	}
	r.checkNeeds()
	parts.compare(r.names, report)
	return r.build(declarations)
}

// render prints the models. What cannot be printed is a diagnostic where the
// source says so.
func render(models []model, r *reporter) []File {
	if r.failed() {
		return nil
	}
	var files []File
	for _, m := range models {
		content, err := templates.Render(m.File)
		if err != nil {
			m.refuse(err, r)
			continue
		}
		files = append(files, File{Path: m.path, Content: content})
	}
	return files
}

// refuse reports an error of templates.Render.
func (m *model) refuse(err error, r *reporter) {
	pos := m.file.file.Package
	message, hint := err.Error(), ""
	if e, ok := errors.AsType[*templates.Error](err); ok {
		message, hint = e.Err.Error(), e.Hint
		for i, w := range m.Wrappers {
			if w.Name == e.Wrapper {
				pos = m.positions[i].wrapper
				if p, ok := m.positions[i].methods[e.Method]; ok {
					pos = p
					message = e.Method + ": " + message
				}
			}
		}
	}
	r.errorf(m.source.position(pos), hint, "%s", message)
}

// position is where a declaration stands; see [source.position].
func (s *source) position(pos token.Pos) token.Position {
	if s.cgo {
		return s.fset.Position(pos)
	}
	return s.fset.PositionFor(pos, false)
}
