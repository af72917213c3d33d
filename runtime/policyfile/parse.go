package policyfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/goccy/go-yaml/token"

	protect "github.com/protectgen/protectgen/runtime"
)

// maxSize is the largest file that is read, in bytes: as much as a Kubernetes
// ConfigMap can hold.
const maxSize = 1 << 20

// Load reads the policies of a file. See [Parse].
func Load(path string) (map[string]protect.Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads policies by key from YAML or JSON. Each policy is valid and
// without functions. The error joins a [*Problem] for every mistake, in the
// order of the file; name is what they call it.
func Parse(name string, data []byte) (map[string]protect.Policy, error) {
	f := &file{name: name}
	policies := f.policies(data)
	if err := f.err(); err != nil {
		return nil, err
	}
	return policies, nil
}

// Problem is a mistake in a policy file. It matches [protect.ErrInvalid].
type Problem struct {
	File         string
	Line, Column int    // from 1, columns in characters; 0 when the file as a whole is meant
	Message      string // names the field, as "breaker.failures"
}

// Error returns file:line:column: message.
func (p *Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Is reports whether target is [protect.ErrInvalid].
func (p *Problem) Is(target error) bool { return target == protect.ErrInvalid }

// file collects what is wrong with one.
type file struct {
	name     string
	problems []*Problem
}

// report adds a problem. A nil position means the file as a whole.
func (f *file) report(at *token.Position, format string, args ...any) {
	p := &Problem{File: f.name, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	f.problems = append(f.problems, p)
}

// err returns the problems, sorted.
func (f *file) err() error {
	slices.SortStableFunc(f.problems, func(p, q *Problem) int {
		return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
	})
	errs := make([]error, len(f.problems))
	for i, p := range f.problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// policies reads a whole file. What it returns is of use only when nothing was
// reported.
func (f *file) policies(data []byte) map[string]protect.Policy {
	policies := map[string]protect.Policy{}
	for e := range f.entries("the file", f.document(data)) {
		if e.name == "" {
			f.report(e.at, "a policy needs a key")
			continue
		}
		r := reader{file: f, at: map[string]*token.Position{"": e.at}, broken: map[string]bool{}}
		policies[e.name] = r.policy(e.value)
	}
	return policies
}
