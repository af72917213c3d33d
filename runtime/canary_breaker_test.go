package runtime

import (
	"context"
	"reflect"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/benbjohnson/clock"
	"github.com/cenkalti/backoff/v3"
	circuitbreaker "github.com/mercari/go-circuitbreaker"
)

// The canaries: what go-circuitbreaker does when it is used by itself, one test
// for each thing that Breaker defends its callers against. One that fails says
// that the library has changed, and that its defence can perhaps go. Each names
// the test that fails without the defence.

// libraryBreaker is a bare one, without its ticker and open until it is told
// otherwise, so that a canary shows one thing only.
func libraryBreaker(opts ...circuitbreaker.BreakerOption) *circuitbreaker.CircuitBreaker {
	return circuitbreaker.New(append([]circuitbreaker.BreakerOption{
		circuitbreaker.WithCounterResetInterval(-1),
		circuitbreaker.WithOpenTimeout(never),
		circuitbreaker.WithTripFunc(circuitbreaker.NewTripFuncConsecutiveFailures(1)),
	}, opts...)...)
}

// Defence: TestBreakerHalfOpenAdmitsNoMoreThanItsProbes.
func TestCanaryLibraryHalfOpenAdmitsEveryone(t *testing.T) {
	cb := libraryBreaker(circuitbreaker.WithHalfOpenMaxSuccesses(1))
	cb.SetState(circuitbreaker.StateHalfOpen)
	for i := range 1000 {
		if !cb.Ready() {
			t.Fatalf("probe %d was refused", i)
		}
	}
}

// Defence: TestBreakerResultsOfAnEarlierStateDoNotCount.
func TestCanaryLibraryCountsResultsOfEarlierStates(t *testing.T) {
	cb := libraryBreaker(circuitbreaker.WithHalfOpenMaxSuccesses(1))
	_, _ = cb.Do(t.Context(), func() (any, error) {
		// While this call of the closed state is under way:
		cb.Fail()
		cb.SetState(circuitbreaker.StateHalfOpen)
		return nil, nil
	})
	if got := cb.State(); got != circuitbreaker.StateClosed {
		t.Fatalf("%v: the late success did not close it", got)
	}
}

// Defence: TestBreakerObserversMayCallBack, TestBreakerJudgesMayCallBack.
func TestCanaryLibraryCallsHooksUnderItsLock(t *testing.T) {
	var cb *circuitbreaker.CircuitBreaker
	var inHook, inTrip bool
	locked := func() bool {
		// A hook that called back would wait for this lock for ever.
		mu := inside[sync.RWMutex](t, reflect.ValueOf(cb), "mu")
		if mu.TryRLock() {
			mu.RUnlock()
			return false
		}
		return true
	}
	cb = libraryBreaker(
		circuitbreaker.WithOnStateChangeHookFn(func(_, _ circuitbreaker.State) { inHook = locked() }),
		circuitbreaker.WithTripFunc(func(*circuitbreaker.Counters) bool { inTrip = locked(); return true }),
	)
	if locked() {
		t.Fatal("the lock is held outside a call")
	}
	cb.Fail()
	if !inHook || !inTrip {
		t.Fatalf("locked in the hook: %v, in the trip function: %v", inHook, inTrip)
	}
	cb.Reset()
}

// Defence: TestBreakerStartsNoGoroutine.
func TestCanaryLibraryStartsAGoroutineForEachClosedBreaker(t *testing.T) {
	goroutines := func() int {
		return strings.Count(goroutineStacks(), "created by github.com/mercari/go-circuitbreaker.(*stateClosed).onEntry")
	}
	if libraryBreaker(); goroutines() != 0 {
		t.Error("one also with an interval of -1")
	}
	var all []*circuitbreaker.CircuitBreaker
	for range 10 {
		all = append(all, circuitbreaker.New())
	}
	if got := goroutines(); got != 10 {
		t.Errorf("%d goroutines", got)
	}
	if _, ok := any(all[0]).(interface{ Close() }); ok {
		t.Error("there is a Close")
	}
	for _, cb := range all {
		cb.SetState(circuitbreaker.StateHalfOpen) // this ends the goroutine
	}
}

// Defence: TestBreakerResetCancelsTheRecovery, on a backoff that is never Stop.
func TestCanaryLibraryPanicsOnResetAfterAStopBackoff(t *testing.T) {
	cb := libraryBreaker(circuitbreaker.WithOpenTimeout(0), circuitbreaker.WithOpenTimeoutBackOff(&backoff.StopBackOff{}))
	cb.Fail()
	defer func() {
		if recover() == nil {
			t.Fatal("the timer that was never started was stopped without a panic")
		}
	}()
	cb.Reset()
}

// Defence: TestBreakerOneFailedProbeOpensForAFreshRecovery and
// TestBreakerOpenRefusesUntilTheRecoveryTimeIsOver, on a clock of our own.
func TestCanaryLibraryExponentialBackoffOpensForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cb := libraryBreaker(circuitbreaker.WithOpenTimeout(0), circuitbreaker.WithOpenTimeoutBackOff(backoff.NewExponentialBackOff()))
		time.Sleep(16 * time.Minute) // healthy, and longer than the backoff's MaxElapsedTime
		cb.Fail()
		time.Sleep(365 * 24 * time.Hour)
		if got := cb.State(); got != circuitbreaker.StateOpen {
			t.Fatal(got)
		}
	})
}

// Defence: TestBreakerCountsFailuresInARowHoweverSlowlyTheyCome.
func TestCanaryLibraryForgetsFailuresInARowEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cb := circuitbreaker.New(circuitbreaker.WithTripFunc(circuitbreaker.NewTripFuncConsecutiveFailures(2)))
		defer cb.SetState(circuitbreaker.StateHalfOpen)
		for range 10 {
			cb.Fail()
			time.Sleep(circuitbreaker.DefaultInterval)
			synctest.Wait()
		}
		if got := cb.State(); got != circuitbreaker.StateClosed {
			t.Fatalf("%v on 10 failures in a row", got)
		}
	})
}

// Defence: TestBreakerJudgesByItsPolicy.
func TestCanaryLibraryIgnoresDeadlines(t *testing.T) {
	cb := libraryBreaker()
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-ctx.Done()
	_, err := cb.Do(ctx, func() (any, error) { return nil, ctx.Err() })
	if got := cb.Counters(); err != context.DeadlineExceeded || got != (circuitbreaker.Counters{}) {
		t.Fatalf("%v, %+v", err, got)
	}
}

// Defence: TestBreakerProbeGivesItsPlaceBackHoweverItEnds.
func TestCanaryLibraryRecordsNoPanicAndNoGoexit(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("boom") }, "goexit": goruntime.Goexit} {
		cb := libraryBreaker()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }()
			_, _ = cb.Do(t.Context(), func() (any, error) { end(); return nil, nil })
		}()
		<-done
		if got := cb.Counters(); got != (circuitbreaker.Counters{}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Defence: TestBreakerNeverRecoversByItself; the timer never fires.
func TestCanaryLibraryTimerUndoesAReset(t *testing.T) {
	held := &heldClock{Clock: clock.New()}
	cb := libraryBreaker(circuitbreaker.WithClock(held))
	cb.Fail()
	// The timer has fired, and its goroutine waits for the lock that Reset has.
	cb.Reset()
	held.fired()
	if got := cb.State(); got != circuitbreaker.StateHalfOpen {
		t.Fatalf("%v: the reset held", got)
	}
}

// heldClock hands out timers that have fired, and holds back what they run.
type heldClock struct {
	clock.Clock
	fired func()
}

func (c *heldClock) AfterFunc(_ time.Duration, f func()) *clock.Timer {
	c.fired = f
	fired := c.Timer(never)
	fired.Stop()
	return fired
}
