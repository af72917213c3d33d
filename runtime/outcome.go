package runtime

import (
	"context"
	"errors"
	"strconv"
)

// Outcome is what a finished call means to a breaker.
type Outcome int

// The outcomes.
const (
	OutcomeSuccess Outcome = iota // the callee answered
	OutcomeFailure                // the callee failed, or took too long
	OutcomeNeutral                // the call says nothing about the callee
)

// String returns "success", "failure" or "neutral".
func (o Outcome) String() string {
	switch o {
	case OutcomeSuccess:
		return "success"
	case OutcomeFailure:
		return "failure"
	case OutcomeNeutral:
		return "neutral"
	}
	return "outcome " + strconv.Itoa(int(o))
}

// outcomeOf judges an error that the protected part of a call returned.
//
//   - Success: no error.
//   - Failure: a panic, whatever was its value.
//   - Neutral: marked by [Neutral]; a refusal for want of capacity further in
//     (limiter, breaker, pool, bulkhead), a closed or missing part; the caller
//     cancelled, and err is that or the cause that it gave.
//   - Otherwise what judge says, and failure without one. A deadline that
//     passed is a failure: the callee did not answer in time.
func outcomeOf(ctx context.Context, err error, judge func(error) Outcome) Outcome {
	if err == nil {
		return OutcomeSuccess
	}
	if _, panicked := err.(*PanicError); panicked {
		return OutcomeFailure
	}
	if isNeutral(err) {
		return OutcomeNeutral
	}
	timedOut := false
	if refusal, ok := errors.AsType[*Error](err); ok && refusal != nil {
		switch refusal.Kind {
		case KindTimeout:
			timedOut = true // whatever the caller did after that
		case KindRateLimited, KindLimiterFailed, KindBreakerOpen, KindDependencyOpen,
			KindPoolTimeout, KindBulkheadFull, KindClosed, KindNotFound, KindInvalid:
			return OutcomeNeutral
		}
	}
	if !timedOut && ctx.Err() == context.Canceled && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return OutcomeNeutral
	}
	if judge != nil {
		return judge(err)
	}
	return OutcomeFailure
}

// Ignore returns a judge for [BreakerPolicy.Failure]: an error that any of the
// matchers recognises is neutral, any other is what next says, and a failure
// when next is nil. Generated code uses it for ignore=.
func Ignore(next func(error) Outcome, matchers ...func(error) bool) func(error) Outcome {
	return func(err error) Outcome {
		for _, matches := range matchers {
			if matches(err) {
				return OutcomeNeutral
			}
		}
		if next != nil {
			return next(err)
		}
		return OutcomeFailure
	}
}

// Is returns a matcher for errors that are target, by [errors.Is].
func Is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// As returns a matcher for errors that hold an E, by [errors.As].
func As[E error]() func(error) bool {
	return func(err error) bool {
		_, ok := errors.AsType[E](err)
		return ok
	}
}
