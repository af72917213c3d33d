// Package templates writes the Go source of wrappers: a plain model in, a
// formatted file out. It knows go/types, to print types, and nothing of where
// the model comes from.
package templates

import (
	"go/types"
	"time"
)

// File is one file of wrappers, beside the source file that asks for them.
type File struct {
	Package    string         // the package's name
	Path       string         // the package's import path
	Types      *types.Package // the package's scope: names that the file must not take
	Constraint string         // build constraint of the source, without "//go:build"; empty for none
	Used       []string       // identifiers that expressions of the file mention and locals must not shadow
	Declared   []string       // what the files of other wrappers will declare, and this one must not take
	Wrappers   []Wrapper      // in source order

	// OtherNames are aliases that the file can use for types whose own names it
	// cannot, by NameOf those.
	OtherNames map[string]*types.TypeName
}

// NameOf returns what tells a declared type from all others: its path and name.
func NameOf(obj *types.TypeName) string {
	if obj.Pkg() == nil {
		return obj.Name()
	}
	return obj.Pkg().Path() + "." + obj.Name()
}

// Wrapper is one annotated interface.
type Wrapper struct {
	Interface   *types.TypeName // the annotated declaration: interface, defined type or alias of one
	Name        string          // ProtectedWeather
	Constructor string          // NewProtectedWeather
	Methods     []Method        // in the order of the method set as it should be printed
	Pools       []Pool          // none: every method runs on one instance
	Fallback    string          // constructor of the chain that `fallback next` asks for: NewFallbackWeather; empty for none
}

// Pool is one pool of a wrapper's instances.
type Pool struct {
	Name   string  // weather.Weather: its name in the Runtime
	Field  string  // the directive's name for it, empty when the wrapper has just one
	Policy Section // PoolPolicy
	Broken *Func   // default of Factory.Broken
}

// Method is one method of the interface's method set.
type Method struct {
	Func      *types.Func
	Signature *types.Signature // with type parameters as the wrapper's receiver sees them
	Protected bool             // false: the call goes straight through
	Error     int              // index of the result that carries refusals, -1 without one
	Context   int              // index of the context.Context that the call runs under, -1 without one
	Rewrap    []int            // results that are the annotated interface and come back wrapped
	Pool      int              // index into Wrapper.Pools of the pool it runs on

	Key     string // weather.Weather.Forecast
	Summary string // what protects it, for the doc comment: "limit 100/1m by userID, timeout 2s"
	Entity  *Entity
	Policy  []Section // in the order of protect.Policy's fields; Timeout is below
	Timeout time.Duration
	// The names of the parts, empty when the part is the method's own.
	Limiter, Breaker, Bulkhead string
	Fallback                   *Func
}

// Section is one section of a protect.Policy: &protect.LimitPolicy{…}.
type Section struct {
	Field  string // Limit
	Type   string // LimitPolicy
	Fields []Field
}

// Field is one field of a section.
type Field struct {
	Name  string
	Value any // int, uint64, float64, time.Duration, []string, Const, *Func or Judge
}

// Const is a constant of the runtime package: Allow.
type Const string

// Func is a function that a directive names: one of the package's, or of an
// imported one.
type Func struct {
	Path     string // import path
	Name     string
	Instance bool // of a generic function, with the wrapper's type parameters as arguments
}

// Judge is the value of BreakerPolicy.Failure: errors that are ignored, and a
// function for the others.
type Judge struct {
	Ignore  []Matcher
	Failure *Func // nil: each other error is a failure
}

// Matcher recognises errors by value (protect.Is) or by type (protect.As).
type Matcher struct {
	Value *Func      // a variable
	Type  types.Type // an error type
}

// Entity is the expression of key=, made a string.
type Entity struct {
	Expr []Term
	Kind EntityKind
	Type types.Type // of the expression

	// MayPanic has the guard evaluate it, which answers a panic as it answers
	// one of the callee.
	MayPanic bool
}

// EntityKind says how an entity's expression becomes a string.
type EntityKind int

// The kinds of entity.
const (
	EntityString   EntityKind = iota // it is one
	EntityConvert                    // string(x)
	EntityInt                        // strconv.FormatInt(int64(x), 10)
	EntityUint                       // strconv.FormatUint(uint64(x), 10)
	EntityStringer                   // x.String()
)

// Term is a piece of an expression, printed in order.
type Term struct {
	Text  string // printed as it is, unless one of the following is set
	Param int    // 1-based index of a parameter of the method; 0 is none
	Path  string // import path of Text; empty for the file's own package
}
