// Package projects declares interfaces of well-known projects once more, with
// directives. It compiles by itself; of what is emitted for it, the wrappers of
// database/sql/driver are kept for readers.
package projects

//go:generate go tool protectgen
