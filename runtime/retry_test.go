package runtime_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// flaky fails the first n calls.
func flaky(n int, err error) (func(context.Context) (int, error), *int) {
	calls := 0
	return func(context.Context) (int, error) {
		calls++
		if calls <= n {
			return 0, err
		}
		return calls, nil
	}, &calls
}

func retrying(t *testing.T, p protect.RetryPolicy) *protect.Runtime {
	t.Helper()
	rt := newRuntime(t)
	configure(t, rt, "api", protect.Policy{Retry: &p, Timeout: protect.Forever})
	return rt
}

func TestRetryTriesAgainUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := retrying(t, protect.RetryPolicy{Attempts: 3})
		start := time.Now()
		fn, calls := flaky(2, errBackend)
		if got, err := protect.Execute(t.Context(), rt, "api", fn); got != 3 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		if *calls != 3 {
			t.Errorf("%d calls, want 3", *calls)
		}
		// The bounds of the two waits are 100 ms and 200 ms.
		if waited := time.Since(start); waited > 300*time.Millisecond {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestRetryReturnsTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := retrying(t, protect.RetryPolicy{Attempts: 3})
		fn, calls := flaky(10, errBackend)
		_, err := protect.Execute(t.Context(), rt, "api", fn)
		if err != errBackend || *calls != 3 {
			t.Errorf("%v after %d calls, want the callee's error as it is, after 3", err, *calls)
		}
	})
}

func TestRetryWaitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := retrying(t, protect.RetryPolicy{Attempts: 200, Backoff: time.Second, Max: 4 * time.Second})
		fn, _ := flaky(199, errBackend)
		start := time.Now()
		if _, err := protect.Execute(t.Context(), rt, "api", fn); err != nil {
			t.Fatal(err)
		}
		// Full jitter: 198 waits uniform below 4 s have a mean of 2 s each. Six
		// standard deviations are 6·√(198·4²/12) ≈ 97 s.
		if waited := time.Since(start); waited < 290*time.Second || waited > 500*time.Second {
			t.Errorf("199 waits took %v", waited)
		}
	})
}

func TestRetryLeavesAloneWhatCannotChange(t *testing.T) {
	final := map[string]error{
		"closed":    &protect.Error{Kind: protect.KindClosed},
		"invalid":   &protect.Error{Kind: protect.KindInvalid},
		"not found": &protect.Error{Kind: protect.KindNotFound},
	}
	for name, err := range final {
		t.Run(name, func(t *testing.T) {
			rt := retrying(t, protect.RetryPolicy{Attempts: 3, When: func(error) bool { return true }})
			fn, calls := flaky(10, err)
			if _, got := protect.Execute(t.Context(), rt, "api", fn); got != err || *calls != 1 {
				t.Errorf("%v after %d calls", got, *calls)
			}
		})
	}
	t.Run("panic", func(t *testing.T) {
		rt := retrying(t, protect.RetryPolicy{Attempts: 3})
		calls := 0
		_, err := protect.Execute(t.Context(), rt, "api", func(context.Context) (int, error) { calls++; panic("bug") })
		if protect.KindOf(err) != protect.KindPanic || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}

func TestRetryWhenDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			when func(error) bool
			want int
		}{
			"yes":    {func(err error) bool { return errors.Is(err, errBackend) }, 3},
			"no":     {func(error) bool { return false }, 1},
			"panics": {func(error) bool { panic("bug") }, 1},
		} {
			rt := retrying(t, protect.RetryPolicy{Attempts: 3, When: c.when})
			fn, calls := flaky(10, errBackend)
			_, err := protect.Execute(t.Context(), rt, "api", fn)
			wantErr(t, name, err, errBackend)
			if *calls != c.want {
				t.Errorf("%s: %d calls, want %d", name, *calls, c.want)
			}
		}
	})
}

func TestRetryWaitsForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		configure(t, rt, "api", protect.Policy{
			Timeout: protect.Forever,
			Retry:   &protect.RetryPolicy{Attempts: 2, Backoff: 1, Max: 20 * time.Second},
			Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: 10 * time.Second},
		})
		_, _ = protect.Execute(t.Context(), rt, "other", fail)
		b, _ := rt.Breaker("api")
		_ = b.Do(t.Context(), func(context.Context) error { return errBackend })
		start := time.Now()
		if _, err := protect.Execute(t.Context(), rt, "api", succeed); err != nil {
			t.Fatalf("after the recovery time: %v", err)
		}
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("waited %v, want 10s", waited)
		}
	})
}

func TestRetryDoesNotWaitInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		p := protect.Policy{
			Timeout: protect.Forever,
			Retry:   &protect.RetryPolicy{Attempts: 5, Max: time.Minute},
			Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: 30 * time.Second},
		}
		configure(t, rt, "api", p)
		b, _ := rt.Breaker("api")
		_ = b.Do(t.Context(), func(context.Context) error { return errBackend })
		start := time.Now()

		// The deadline comes before the next probe.
		_, err := protect.Execute(t.Context(), rt, "api", succeed, protect.Timeout(20*time.Second))
		wantErr(t, "with a deadline", err, protect.ErrBreakerOpen)

		// So does what the policy is ready to wait.
		p.Retry = &protect.RetryPolicy{Attempts: 5, Max: time.Second}
		configure(t, rt, "api", p)
		_, err = protect.Execute(t.Context(), rt, "api", succeed)
		wantErr(t, "with a bound", err, protect.ErrBreakerOpen)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestRetryEndsWithItsCallerAndItsRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := retrying(t, protect.RetryPolicy{Attempts: 100, Backoff: time.Hour, Max: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		fn, calls := flaky(1000, errBackend)
		go func() {
			synctest.Wait()
			cancel()
		}()
		_, err := protect.Execute(ctx, rt, "api", fn)
		wantErr(t, "cancelled", err, context.Canceled)
		wantErr(t, "cancelled", err, errBackend)
		if *calls > 3 {
			t.Errorf("%d calls", *calls)
		}

		done := make(chan error)
		fn, _ = flaky(1000, errBackend)
		go func() {
			_, err := protect.Execute(t.Context(), rt, "api", fn)
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		if err := rt.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "closed", <-done, errBackend)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Close waited %v for a retry", waited)
		}
	})
}

func TestEveryAttemptPassesLimiterAndBreaker(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "api", protect.Policy{
		Retry:   &protect.RetryPolicy{Attempts: 5, Backoff: 1, Max: time.Millisecond},
		Limit:   &protect.LimitPolicy{Tokens: 10, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{Failures: 3, Recovery: time.Hour},
	})
	fn, calls := flaky(100, errBackend)
	_, err := protect.Execute(t.Context(), rt, "api", fn)
	wantErr(t, "the breaker opened on the third attempt", err, protect.ErrBreakerOpen)
	if s, _ := rt.Status("api"); *calls != 3 || s.Limiter.Used != 3 {
		t.Errorf("%d calls, %d tokens, want 3 of both", *calls, s.Limiter.Used)
	}
}
