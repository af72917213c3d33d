package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

func TestEachKindMatchesItsSentinelAlone(t *testing.T) {
	sentinels := map[protect.Kind]error{
		protect.KindRateLimited:    protect.ErrRateLimited,
		protect.KindLimiterFailed:  protect.ErrLimiterFailed,
		protect.KindBreakerOpen:    protect.ErrBreakerOpen,
		protect.KindDependencyOpen: protect.ErrDependencyOpen,
		protect.KindNotFound:       protect.ErrNotFound,
		protect.KindPoolTimeout:    protect.ErrPoolTimeout,
		protect.KindBulkheadFull:   protect.ErrBulkheadFull,
		protect.KindTimeout:        protect.ErrTimeout,
		protect.KindClosed:         protect.ErrClosed,
		protect.KindAllFailed:      protect.ErrAllFailed,
		protect.KindInvalid:        protect.ErrInvalid,
	}
	for kind := range sentinels {
		err := fmt.Errorf("wrapped: %w", &protect.Error{Kind: kind})
		if got := protect.KindOf(err); got != kind {
			t.Errorf("KindOf = %v, want %v", got, kind)
		}
		for other, sentinel := range sentinels {
			if got := errors.Is(err, sentinel); got != (kind == other) {
				t.Errorf("%v matches the sentinel of %v: %v", kind, other, got)
			}
		}
		if got := errors.Is(err, context.DeadlineExceeded); got != (kind == protect.KindTimeout) {
			t.Errorf("%v is context.DeadlineExceeded: %v", kind, got)
		}
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want protect.Kind
	}{
		{nil, protect.KindNone},
		{errBackend, protect.KindOperation},
		{&protect.PanicError{Value: "boom"}, protect.KindPanic},
		{fmt.Errorf("wrapped: %w", &protect.PanicError{}), protect.KindPanic},
		{errors.Join(errBackend, &protect.Error{Kind: protect.KindTimeout}), protect.KindTimeout},
		{errors.Join(errBackend, errBackend), protect.KindOperation},
		{protect.Neutral(errBackend), protect.KindOperation},
		{protect.AllFailed(&protect.Error{Kind: protect.KindBreakerOpen}), protect.KindAllFailed},
	} {
		if got := protect.KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestNilErrorOfACalleeIsItsOwnError(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	configure(t, rt, "api", protect.Policy{
		Retry: &protect.RetryPolicy{Attempts: 2, Backoff: 1}, Breaker: &protect.BreakerPolicy{Failures: 2, Recovery: time.Hour},
	})
	var none *protect.Error
	_, err := protect.Execute(t.Context(), rt, "api", func(context.Context) (string, error) { return "", none })
	if got, ok := err.(*protect.Error); !ok || got != nil {
		t.Errorf("got %#v, want what the callee returned", err)
	}
	if kind := protect.KindOf(err); kind != protect.KindOperation {
		t.Errorf("a %v", kind)
	}
	if errors.Is(err, protect.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) || err.Error() == "" {
		t.Errorf("%v matches what it is not", err)
	}
	_, err = protect.Execute(t.Context(), rt, "api", succeed)
	wantErr(t, "after two failures", err, protect.ErrBreakerOpen)
}

func TestErrorSaysWhoRefusedWhatAndWhenToComeBack(t *testing.T) {
	err := &protect.Error{
		Kind: protect.KindRateLimited, Key: "weather.Weather.Forecast", Name: "api", Entity: "ada",
		RetryAfter: 3 * time.Second, Err: errBackend,
	}
	want := `protect: weather.Weather.Forecast: rate limited: api for "ada", retry after 3s: backend: 503`
	if got := err.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	own := &protect.Error{Kind: protect.KindBreakerOpen, Key: "k", Name: "k"}
	if got, want := own.Error(), "protect: k: breaker open"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPanicErrorLooksThroughToAnError(t *testing.T) {
	if err := (&protect.PanicError{Value: errBackend}); !errors.Is(err, errBackend) {
		t.Error("the error that was passed to panic cannot be found")
	}
	if err := (&protect.PanicError{Value: 42}); errors.Unwrap(err) != nil {
		t.Error("42 is not an error")
	}
}

func TestNothingIsNothing(t *testing.T) {
	if protect.Neutral(nil) != nil || protect.AllFailed() != nil || protect.AllFailed(nil, nil) != nil {
		t.Error("nil became an error")
	}
}

func TestNeutralMarksAndKeepsTheError(t *testing.T) {
	rt := newRuntime(t)
	b, err := rt.NewBreaker("b", protect.BreakerPolicy{Failures: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := b.Do(t.Context(), func(context.Context) error { return protect.Neutral(errBackend) })
	wantErr(t, "marked", got, errBackend)
	if s := b.Status(); s.State != protect.Closed || s.Failures != 0 {
		t.Errorf("status = %+v", s)
	}
}

func TestIgnoredErrorsAreNeutral(t *testing.T) {
	errMissing := errors.New("missing")
	judge := protect.Ignore(func(err error) protect.Outcome {
		if errors.Is(err, errBackend) {
			return protect.OutcomeFailure
		}
		return protect.OutcomeSuccess
	}, protect.Is(errMissing), protect.As[*protect.PanicError]())
	for _, c := range []struct {
		err  error
		want protect.Outcome
	}{
		{fmt.Errorf("x: %w", errMissing), protect.OutcomeNeutral},
		{fmt.Errorf("x: %w", &protect.PanicError{}), protect.OutcomeNeutral},
		{errBackend, protect.OutcomeFailure},
		{errors.New("other"), protect.OutcomeSuccess},
	} {
		if got := judge(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	if got := protect.Ignore(nil)(errBackend); got != protect.OutcomeFailure {
		t.Errorf("without a judge: %v", got)
	}
}
