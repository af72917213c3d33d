package generator

import "github.com/rogpeppe/go-internal/diff"

// Diff returns the change in the unified format, for a file that readers know
// under name. It ends in a newline.
func (c Change) Diff(name string) []byte {
	before, after := "a/"+name, "b/"+name
	if c.Old == nil {
		before = "/dev/null"
	}
	if c.New == nil {
		after = "/dev/null"
	}
	return diff.Diff(before, c.Old, after, c.New)
}
