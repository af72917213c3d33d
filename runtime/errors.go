package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says what an error means to the caller of a protected call.
type Kind int

// The kinds of error. Each refusal of this package is an [*Error] of one of
// them; [KindOf] finds the kind of any error.
const (
	KindNone           Kind = iota // no error
	KindOperation                  // the callee's own error
	KindRateLimited                // a limiter refused; RetryAfter is the time to the next token
	KindLimiterFailed              // the limiter's store failed and its policy says to deny
	KindBreakerOpen                // the breaker refused; RetryAfter is the time to the next probe
	KindDependencyOpen             // a breaker that this one needs is open
	KindNotFound                   // no part or policy has that name
	KindPoolTimeout                // no instance could be borrowed in time
	KindBulkheadFull               // too many calls at once
	KindTimeout                    // the deadline of the call passed
	KindClosed                     // the pool or the Runtime is closed
	KindPanic                      // the call panicked
	KindAllFailed                  // every alternative failed
	KindInvalid                    // settings or arguments that cannot hold
)

var kindNames = [...]string{
	KindNone:           "none",
	KindOperation:      "operation",
	KindRateLimited:    "rate limited",
	KindLimiterFailed:  "limiter failed",
	KindBreakerOpen:    "breaker open",
	KindDependencyOpen: "dependency open",
	KindNotFound:       "not found",
	KindPoolTimeout:    "pool timeout",
	KindBulkheadFull:   "bulkhead full",
	KindTimeout:        "timeout",
	KindClosed:         "closed",
	KindPanic:          "panic",
	KindAllFailed:      "all failed",
	KindInvalid:        "invalid",
}

// String returns the kind in lower case words: "rate limited".
func (k Kind) String() string {
	if k >= 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// The sentinels that an [*Error] matches with [errors.Is], one for each kind
// of refusal.
var (
	ErrRateLimited    = errors.New("protect: rate limited")
	ErrLimiterFailed  = errors.New("protect: limiter failed")
	ErrBreakerOpen    = errors.New("protect: breaker open")
	ErrDependencyOpen = errors.New("protect: dependency open")
	ErrNotFound       = errors.New("protect: not found")
	ErrPoolTimeout    = errors.New("protect: pool timeout")
	ErrBulkheadFull   = errors.New("protect: bulkhead full")
	ErrTimeout        = errors.New("protect: timeout")
	ErrClosed         = errors.New("protect: closed")
	ErrAllFailed      = errors.New("protect: all failed")
	ErrInvalid        = errors.New("protect: invalid")
)

var sentinels = map[Kind]error{
	KindRateLimited:    ErrRateLimited,
	KindLimiterFailed:  ErrLimiterFailed,
	KindBreakerOpen:    ErrBreakerOpen,
	KindDependencyOpen: ErrDependencyOpen,
	KindNotFound:       ErrNotFound,
	KindPoolTimeout:    ErrPoolTimeout,
	KindBulkheadFull:   ErrBulkheadFull,
	KindTimeout:        ErrTimeout,
	KindClosed:         ErrClosed,
	KindAllFailed:      ErrAllFailed,
	KindInvalid:        ErrInvalid,
}

// Error is the one type of every refusal. It matches the sentinel of its kind
// and whatever its cause matches.
type Error struct {
	Kind       Kind
	Key        string        // the policy key of the call, empty outside one
	Name       string        // the part that refused, or the field that is invalid
	Entity     string        // whose bucket was empty, empty without one
	RetryAfter time.Duration // when trying again can succeed, 0 when that is not known
	Err        error         // the cause, nil when the refusal has none
}

// A nil *Error that a callee returns as an error is an error, of no kind: that
// is not for the chain to trip over.

// Error says which part refused what, and when to come back.
func (e *Error) Error() string {
	if e == nil {
		return "<nil>"
	}
	var b strings.Builder
	b.WriteString("protect: ")
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteString(": ")
	}
	b.WriteString(e.Kind.String())
	if e.Name != "" && e.Name != e.Key {
		b.WriteString(": ")
		b.WriteString(e.Name)
	}
	if e.Entity != "" {
		fmt.Fprintf(&b, " for %q", e.Entity)
	}
	if e.RetryAfter > 0 {
		b.WriteString(", retry after ")
		b.WriteString(e.RetryAfter.String())
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Is reports whether target is the sentinel of e's kind. A call that timed
// out also is context.DeadlineExceeded, whatever its cause.
func (e *Error) Is(target error) bool {
	if e == nil {
		return false
	}
	if e.Kind == KindTimeout && target == context.DeadlineExceeded {
		return true
	}
	sentinel, ok := sentinels[e.Kind]
	return ok && sentinel == target
}

// PanicError is a panic of the protected call, caught at its edge.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the stack of the goroutine that panicked, as debug.Stack formats it
}

// Error names the value; the stack is in Stack.
func (e *PanicError) Error() string { return fmt.Sprintf("protect: panic: %v", e.Value) }

// Unwrap returns the value when that is an error, so that errors.Is and
// errors.As look through the panic.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// KindOf returns the kind of err: that of the outermost [*Error] in its
// chain, [KindPanic] for a [*PanicError], [KindOperation] for any other
// error, and [KindNone] for nil.
func KindOf(err error) Kind {
	for e := err; e != nil; {
		switch x := e.(type) {
		case *Error:
			if x == nil {
				return KindOperation
			}
			return x.Kind
		case *PanicError:
			return KindPanic
		case interface{ Unwrap() error }:
			e = x.Unwrap()
		case interface{ Unwrap() []error }:
			if i := slices.IndexFunc(x.Unwrap(), func(e error) bool { return KindOf(e) > KindOperation }); i >= 0 {
				return KindOf(x.Unwrap()[i])
			}
			return KindOperation
		default:
			return KindOperation
		}
	}
	if err == nil {
		return KindNone
	}
	return KindOperation
}

// AllFailed returns an [*Error] of [KindAllFailed] that joins the causes. It
// returns nil without any cause.
func AllFailed(causes ...error) error {
	joined := errors.Join(causes...)
	if joined == nil {
		return nil
	}
	return &Error{Kind: KindAllFailed, Err: joined}
}

// neutralError marks an error that says nothing about the callee's health.
type neutralError struct{ error }

func (e neutralError) Unwrap() error { return e.error }

// Neutral marks err so that a breaker counts the call neither as a success nor
// as a failure. The caller still receives err, inside the mark. Neutral(nil)
// is nil.
func Neutral(err error) error {
	if err == nil {
		return nil
	}
	return neutralError{err}
}

func isNeutral(err error) bool {
	_, ok := errors.AsType[neutralError](err)
	return ok
}

// invalid returns the error for a setting that cannot hold.
func invalid(field, format string, args ...any) error {
	return &Error{Kind: KindInvalid, Name: field, Err: fmt.Errorf(format, args...)}
}
