package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	circuitbreaker "github.com/mercari/go-circuitbreaker"
)

var errBreakerCallee = errors.New("the callee failed")

func breakerPass(context.Context) error  { return nil }
func breakerFail(context.Context) error  { return errBreakerCallee }
func breakerShrug(context.Context) error { return Neutral(errBreakerCallee) }

// givenBreaker returns a breaker without dependencies that the test closes.
func givenBreaker(t testing.TB, p BreakerPolicy, observers ...Observer) *Breaker {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	b := newBreaker(newSink(observers), newLife(), "part", p, nil)
	t.Cleanup(b.close)
	return b
}

// givenOpenBreaker returns one that its first failure has opened.
func givenOpenBreaker(t testing.TB, p BreakerPolicy, observers ...Observer) *Breaker {
	t.Helper()
	p.Failures = 1
	b := givenBreaker(t, p, observers...)
	breakerDo(t, b, breakerFail)
	wantBreakerState(t, b, Open)
	return b
}

// breakerDo makes a call that must be admitted.
func breakerDo(t testing.TB, b *Breaker, fn func(context.Context) error) {
	t.Helper()
	called := false
	err := b.Do(t.Context(), func(ctx context.Context) error {
		called = true
		return fn(ctx)
	})
	if !called {
		t.Fatalf("the call was refused: %v", err)
	}
}

func breakerAdmit(t testing.TB, b *Breaker) permit {
	t.Helper()
	p, err := b.admit(t.Context(), call{})
	if err != nil {
		t.Fatalf("the call was refused: %v", err)
	}
	return p
}

func breakerSettle(t testing.TB, b *Breaker, p permit, o Outcome) {
	t.Helper()
	b.settle(t.Context(), call{}, p, o, nil)
}

// wantRefused checks that Do, admit and ready all refuse, and run nothing.
func wantRefused(t testing.TB, b *Breaker, sentinel error, after time.Duration) {
	t.Helper()
	_, admitErr := b.admit(t.Context(), call{})
	doErr := b.Do(t.Context(), func(context.Context) error {
		t.Error("the breaker refused and made the call nevertheless")
		return nil
	})
	for _, err := range []error{b.ready(t.Context(), call{}), admitErr, doErr} {
		refusal, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, sentinel) {
			t.Fatalf("got %v, want %v", err, sentinel)
		}
		if refusal.Name != b.Name() || refusal.RetryAfter != after {
			t.Fatalf("got %+v, want it from %s, retry after %v", *refusal, b.Name(), after)
		}
	}
}

func wantBreakerState(t testing.TB, b *Breaker, want State) {
	t.Helper()
	if got := b.Status().State; got != want {
		t.Fatalf("the breaker is %v, want %v", got, want)
	}
}

// breakerLog keeps the events of a breaker.
type breakerLog struct {
	mu     sync.Mutex
	events []Event
}

func (l *breakerLog) Observe(_ context.Context, e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *breakerLog) of(kind EventKind) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.events), func(e Event) bool { return e.Kind != kind })
}

func (l *breakerLog) changes() string {
	var words []string
	for _, e := range l.of(EventBreakerState) {
		words = append(words, e.From.String()+" to "+e.To.String())
	}
	return strings.Join(words, ", ")
}

func TestBreakerOpensOnExactlyTheNthFailureInARow(t *testing.T) {
	for n := 1; n <= 20; n++ {
		b := givenBreaker(t, BreakerPolicy{Failures: n})
		for i := range n {
			if s := b.Status(); s.State != Closed || s.Failures != i {
				t.Fatalf("failures=%d: %+v after %d failures", n, s, i)
			}
			breakerDo(t, b, breakerFail)
		}
		wantBreakerState(t, b, Open)
	}
}

func TestBreakerFailuresDefaultToFive(t *testing.T) {
	b := givenBreaker(t, BreakerPolicy{})
	for range 4 {
		breakerDo(t, b, breakerFail)
	}
	wantBreakerState(t, b, Closed)
	breakerDo(t, b, breakerFail)
	wantBreakerState(t, b, Open)
}

func TestBreakerSuccessBetweenFailuresStartsTheRowAnew(t *testing.T) {
	b := givenBreaker(t, BreakerPolicy{Failures: 3})
	for range 10 {
		breakerDo(t, b, breakerFail)
		breakerDo(t, b, breakerFail)
		breakerDo(t, b, breakerPass)
	}
	if s := b.Status(); s.State != Closed || s.Failures != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestBreakerNeutralNeitherCountsNorResets(t *testing.T) {
	b := givenBreaker(t, BreakerPolicy{Failures: 2})
	for range 10 {
		breakerDo(t, b, breakerShrug)
	}
	breakerDo(t, b, breakerFail)
	breakerDo(t, b, breakerShrug)
	if s := b.Status(); s.State != Closed || s.Failures != 1 {
		t.Fatalf("%+v", s)
	}
	breakerDo(t, b, breakerFail)
	wantBreakerState(t, b, Open)
}

func TestBreakerCountsFailuresInARowHoweverSlowlyTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Failures: 3})
		breakerDo(t, b, breakerFail)
		time.Sleep(24 * time.Hour)
		breakerDo(t, b, breakerFail)
		time.Sleep(24 * time.Hour)
		breakerDo(t, b, breakerFail)
		wantBreakerState(t, b, Open)
	})
}

func TestBreakerWithinCountsOnlyWhatIsRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Failures: 3, Within: 10 * time.Second})
		for range 50 {
			breakerDo(t, b, breakerFail)
			breakerDo(t, b, breakerPass) // does not reset
			time.Sleep(5 * time.Second)
		}
		if s := b.Status(); s.State != Closed || s.Failures != 1 {
			t.Fatalf("%+v: the failure 10 s ago counts", s)
		}
		breakerDo(t, b, breakerFail)
		time.Sleep(5*time.Second - 1)
		breakerDo(t, b, breakerFail)
		wantBreakerState(t, b, Open)
	})
}

func TestBreakerRateIsJudgedOnceEnoughCallsWereSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := BreakerPolicy{Rate: 0.5, Of: 10, Within: 10 * time.Second}

		b := givenBreaker(t, p)
		for range 9 {
			breakerDo(t, b, breakerFail)
		}
		wantBreakerState(t, b, Closed)
		time.Sleep(9 * time.Second)
		breakerDo(t, b, breakerFail)
		wantBreakerState(t, b, Open)

		b = givenBreaker(t, p)
		for range 6 {
			breakerDo(t, b, breakerPass)
		}
		for range 5 {
			breakerDo(t, b, breakerFail)
		}
		if s := b.Status(); s.State != Closed || s.Failures != 5 {
			t.Fatalf("%+v at 5 failures of 11 calls", s)
		}
		breakerDo(t, b, breakerFail)
		wantBreakerState(t, b, Open)
	})
}

func TestBreakerRateIsJudgedOnASuccessToo(t *testing.T) {
	log := &breakerLog{}
	b := givenBreaker(t, BreakerPolicy{Rate: 0.9, Of: 10, Within: time.Minute}, log)
	for range 9 {
		breakerDo(t, b, breakerFail)
	}
	breakerDo(t, b, breakerShrug) // not a call that a rate is taken of
	wantBreakerState(t, b, Closed)
	breakerDo(t, b, breakerPass)
	wantBreakerState(t, b, Open)
	if got := log.changes(); got != "closed to open" {
		t.Fatal(got)
	}
}

func TestBreakerRateForgetsCallsThatAreTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Rate: 0.5, Of: 10, Within: 10 * time.Second})
		for range 9 {
			breakerDo(t, b, breakerFail)
		}
		time.Sleep(10 * time.Second)
		breakerDo(t, b, breakerFail)
		if s := b.Status(); s.State != Closed || s.Failures != 1 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestBreakerThatClosesForgetsItsWindow(t *testing.T) {
	for name, p := range map[string]BreakerPolicy{
		"within": {Failures: 3, Within: time.Hour, Recovery: time.Second},
		"rate":   {Rate: 0.1, Of: 3, Within: time.Hour, Recovery: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := givenBreaker(t, p)
				for range 3 {
					breakerDo(t, b, breakerFail)
				}
				wantBreakerState(t, b, Open)
				time.Sleep(time.Second)
				breakerDo(t, b, breakerPass)
				if s := b.Status(); s.State != Closed || s.Failures != 0 {
					t.Fatalf("%+v", s)
				}
				breakerDo(t, b, breakerFail)
				breakerDo(t, b, breakerFail)
				wantBreakerState(t, b, Closed)
				breakerDo(t, b, breakerFail)
				wantBreakerState(t, b, Open)
			})
		})
	}
}

func TestBreakerSlowSuccessIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Failures: 2, Slow: time.Second})
		lasting := func(d time.Duration, err error) func(context.Context) error {
			return func(context.Context) error {
				time.Sleep(d)
				return err
			}
		}

		time.Sleep(time.Hour) // it is the call that is slow, not the breaker that is old
		breakerDo(t, b, lasting(time.Second, nil))
		if got := b.Status().Failures; got != 0 {
			t.Fatalf("%d failures after a call of exactly the time allowed", got)
		}
		if err := b.Do(t.Context(), lasting(time.Second+1, nil)); err != nil {
			t.Fatalf("a slow success came back as %v", err)
		}
		if got := b.Status().Failures; got != 1 {
			t.Fatalf("%d failures after a slow call", got)
		}
		breakerDo(t, b, lasting(time.Minute, Neutral(errBreakerCallee)))
		if got := b.Status().Failures; got != 1 {
			t.Fatalf("%d failures: a slow neutral counted, or reset", got)
		}
		breakerDo(t, b, lasting(time.Minute, nil))
		wantBreakerState(t, b, Open)
	})
}

func TestBreakerJudgesByItsPolicy(t *testing.T) {
	errNotFound, errTeapot, errPanics, errNonsense := errors.New("404"), errors.New("418"), errors.New("boom"), errors.New("?")
	b := givenBreaker(t, BreakerPolicy{Failures: 100, Failure: func(err error) Outcome {
		switch {
		case errors.Is(err, errNotFound):
			return OutcomeSuccess
		case errors.Is(err, errTeapot):
			return OutcomeNeutral
		case errors.Is(err, errPanics):
			panic("the judge panics")
		case errors.Is(err, errNonsense):
			return Outcome(7)
		}
		return OutcomeFailure
	}})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	errLeaving := errors.New("leaving")
	left, leave := context.WithCancelCause(t.Context())
	leave(errLeaving)
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	<-late.Done()

	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		want Outcome
	}{
		{"no error", t.Context(), nil, OutcomeSuccess},
		{"an error that is an answer", t.Context(), errNotFound, OutcomeSuccess},
		{"an ignored error", t.Context(), errTeapot, OutcomeNeutral},
		{"any other", t.Context(), errBreakerCallee, OutcomeFailure},
		{"a judge that panics", t.Context(), errPanics, OutcomeFailure},
		{"a judge that talks nonsense", t.Context(), errNonsense, OutcomeFailure},
		{"an error that panics when it is asked", t.Context(), breakerErrorPanics{}, OutcomeFailure},
		{"marked neutral", t.Context(), Neutral(errBreakerCallee), OutcomeNeutral},
		{"the caller cancelled", cancelled, context.Canceled, OutcomeNeutral},
		{"the caller cancelled and said why", left, fmt.Errorf("get: %w", errLeaving), OutcomeNeutral},
		{"the caller cancelled, the callee failed", left, errBreakerCallee, OutcomeFailure},
		{"a cancellation that is not the caller's", t.Context(), context.Canceled, OutcomeFailure},
		{"a deadline that passed", late, context.DeadlineExceeded, OutcomeFailure},
		{"a bulkhead that was full", t.Context(), &Error{Kind: KindBulkheadFull}, OutcomeNeutral},
		{"a panic, whatever its value", t.Context(), &PanicError{Value: errTeapot}, OutcomeFailure},
	} {
		if got := b.outcome(test.ctx, permit{}, test.err, b.policy.Failure); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

type breakerErrorPanics struct{}

func (breakerErrorPanics) Error() string   { return "panics in Is" }
func (breakerErrorPanics) Is(error) bool   { panic("asked") }
func (breakerErrorPanics) Unwrap() []error { panic("asked") }

func TestBreakerOpenRefusesUntilTheRecoveryTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: 30 * time.Second})
		wantRefused(t, b, ErrBreakerOpen, 30*time.Second)
		time.Sleep(30*time.Second - 1)
		wantRefused(t, b, ErrBreakerOpen, 1)
		if s := b.Status(); s.State != Open || s.RetryAfter != 1 {
			t.Fatalf("%+v", s)
		}

		time.Sleep(time.Nanosecond)
		if s := b.Status(); s.State != Open || s.RetryAfter != 0 {
			t.Fatalf("%+v: nobody has probed yet", s)
		}
		if err := b.ready(t.Context(), call{}); err != nil {
			t.Fatalf("ready: %v", err)
		}
		wantBreakerState(t, b, Open) // ready changes nothing
		breakerDo(t, b, breakerPass)
		wantBreakerState(t, b, Closed)
	})
}

func TestBreakerRecoveryDefaultsToThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{})
		wantRefused(t, b, ErrBreakerOpen, 30*time.Second)
	})
}

func TestBreakerNeverRecoversByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, recovery := range []time.Duration{time.Second, Forever} {
			b := givenOpenBreaker(t, BreakerPolicy{Recovery: recovery})
			time.Sleep(100 * 365 * 24 * time.Hour)
			if s := b.Status(); s.State != Open || (s.RetryAfter > 0) != (recovery == Forever) {
				t.Fatalf("%+v", s)
			}
			if got := stateOf(b.cb.State()); got != Open {
				t.Fatalf("the library went %v on its own", got)
			}
		}
	})
}

func TestBreakerLateFailuresDoNotExtendTheRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Failures: 1, Recovery: 10 * time.Second})
		var late []permit
		for range 5 {
			late = append(late, breakerAdmit(t, b))
		}
		breakerDo(t, b, breakerFail)
		for _, p := range late {
			time.Sleep(time.Second)
			breakerSettle(t, b, p, OutcomeFailure)
		}
		wantRefused(t, b, ErrBreakerOpen, 5*time.Second)
		time.Sleep(5 * time.Second)
		breakerDo(t, b, breakerPass)
		wantBreakerState(t, b, Closed)
	})
}

func TestBreakerResultsOfAnEarlierStateDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Failures: 1, Recovery: time.Second})
		good, bad := breakerAdmit(t, b), breakerAdmit(t, b)
		breakerDo(t, b, breakerFail)

		// The call that is under way finishes, and its caller gets the result.
		breakerSettle(t, b, good, OutcomeSuccess)
		wantBreakerState(t, b, Open)

		time.Sleep(time.Second)
		probe := breakerAdmit(t, b)
		breakerSettle(t, b, bad, OutcomeFailure)
		wantBreakerState(t, b, HalfOpen)
		breakerSettle(t, b, probe, OutcomeSuccess)
		wantBreakerState(t, b, Closed)
	})
}

func TestBreakerEarlierSuccessesDoNotCloseIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Failures: 1, Recovery: time.Second})
		early := breakerAdmit(t, b)
		breakerDo(t, b, breakerFail)
		time.Sleep(time.Second)
		breakerAdmit(t, b)
		breakerSettle(t, b, early, OutcomeSuccess)
		wantBreakerState(t, b, HalfOpen)
		wantRefused(t, b, ErrBreakerOpen, 0) // nor has it given the probe's place away
	})
}

func TestBreakerHalfOpenAdmitsNoMoreThanItsProbes(t *testing.T) {
	for _, probes := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(probes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second, Probes: probes})
				time.Sleep(time.Second)

				release := make(chan struct{})
				var inside, refused atomic.Int32
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						err := b.Do(t.Context(), func(context.Context) error {
							inside.Add(1)
							<-release
							return nil
						})
						if errors.Is(err, ErrBreakerOpen) {
							refused.Add(1)
						}
					})
				}
				synctest.Wait()
				if int(inside.Load()) != probes || int(refused.Load()) != 50-probes {
					t.Fatalf("%d calls passed and %d were refused", inside.Load(), refused.Load())
				}
				wantBreakerState(t, b, HalfOpen)
				wantRefused(t, b, ErrBreakerOpen, 0)

				close(release)
				wg.Wait()
				wantBreakerState(t, b, Closed)
			})
		})
	}
}

func TestBreakerClosesOnTheLastOfItsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second, Probes: 3})
		time.Sleep(time.Second)
		breakerDo(t, b, breakerPass)
		breakerDo(t, b, breakerPass)
		wantBreakerState(t, b, HalfOpen)
		breakerDo(t, b, breakerPass)
		wantBreakerState(t, b, Closed)
	})
}

func TestBreakerOneFailedProbeOpensForAFreshRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: 10 * time.Second, Probes: 3})
		time.Sleep(13 * time.Second)
		breakerDo(t, b, breakerPass)
		breakerDo(t, b, breakerPass)
		breakerDo(t, b, breakerFail)
		wantRefused(t, b, ErrBreakerOpen, 10*time.Second)

		// The successes of the first half-open period are forgotten.
		time.Sleep(10 * time.Second)
		breakerDo(t, b, breakerPass)
		wantBreakerState(t, b, HalfOpen)
	})
}

func TestBreakerNeutralProbeGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second})
		time.Sleep(time.Second)
		for range 10 {
			breakerDo(t, b, breakerShrug)
			wantBreakerState(t, b, HalfOpen)
		}
		breakerDo(t, b, breakerPass)
		wantBreakerState(t, b, Closed)
	})
}

func TestBreakerProbesOfAnEarlierPeriodKeepTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second, Probes: 2})
		time.Sleep(time.Second)
		hanging, failing := breakerAdmit(t, b), breakerAdmit(t, b)
		breakerSettle(t, b, failing, OutcomeFailure)
		time.Sleep(time.Second)

		// One of the two places is still taken.
		second := breakerAdmit(t, b)
		wantRefused(t, b, ErrBreakerOpen, 0)
		breakerSettle(t, b, second, OutcomeFailure)
		time.Sleep(time.Second)

		// Its result is not this period's, but its place is free again.
		breakerSettle(t, b, hanging, OutcomeSuccess)
		first, second := breakerAdmit(t, b), breakerAdmit(t, b)
		breakerSettle(t, b, first, OutcomeSuccess)
		wantBreakerState(t, b, HalfOpen)
		breakerSettle(t, b, second, OutcomeSuccess)
		wantBreakerState(t, b, Closed)
	})
}

func TestBreakerWhoseProbesAllHangIsFreedByReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second})
		time.Sleep(time.Second)
		hanging := breakerAdmit(t, b)
		b.Reset()
		breakerDo(t, b, breakerFail)
		time.Sleep(time.Second)

		probe := breakerAdmit(t, b)
		breakerSettle(t, b, hanging, OutcomeFailure)
		wantBreakerState(t, b, HalfOpen)
		wantRefused(t, b, ErrBreakerOpen, 0) // the old probe frees no place that it does not have
		breakerSettle(t, b, probe, OutcomeSuccess)
		wantBreakerState(t, b, Closed)
	})
}

// breakerEndings are the ways in which a call can end.
var breakerEndings = map[string]struct {
	fn   func(context.Context) error
	want Outcome
}{
	"returned error": {breakerFail, OutcomeFailure},
	"panic":          {func(context.Context) error { panic("boom") }, OutcomeFailure},
	"goexit":         {func(context.Context) error { goruntime.Goexit(); return nil }, OutcomeFailure},
	"neutral":        {breakerShrug, OutcomeNeutral},
	"success":        {breakerPass, OutcomeSuccess},
}

func TestBreakerProbeGivesItsPlaceBackHoweverItEnds(t *testing.T) {
	for _, rethrow := range []bool{false, true} {
		for name, ending := range breakerEndings {
			t.Run(fmt.Sprintf("%s, rethrow %v", name, rethrow), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := &breakerLog{}
					b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second}, log)
					b.rethrow = rethrow
					time.Sleep(time.Second)

					done := make(chan any)
					go func() {
						defer close(done)
						defer func() {
							if v := recover(); v != nil {
								done <- v
							}
						}()
						_ = b.Do(t.Context(), ending.fn)
					}()
					if v := <-done; (v != nil) != (rethrow && name == "panic") {
						t.Fatalf("Do panicked with %v", v)
					}

					switch ending.want {
					case OutcomeFailure:
						wantBreakerState(t, b, Open)
						time.Sleep(time.Second)
					case OutcomeNeutral:
						wantBreakerState(t, b, HalfOpen)
					case OutcomeSuccess:
						wantBreakerState(t, b, Closed)
					}
					executed := log.of(EventBreakerExecuted)
					if e := executed[len(executed)-1]; len(executed) != 2 || e.Outcome != ending.want || (e.Err == nil) != (name == "success") {
						t.Fatalf("%d executed, the last %+v", len(executed), e)
					}
					breakerDo(t, b, breakerPass)
					wantBreakerState(t, b, Closed)
				})
			})
		}
	}
}

func TestBreakerDoReturnsWhatTheCalleeDid(t *testing.T) {
	b := givenBreaker(t, BreakerPolicy{})
	if err := b.Do(t.Context(), breakerFail); err != errBreakerCallee {
		t.Errorf("error: %v", err)
	}
	if err := b.Do(t.Context(), breakerPass); err != nil {
		t.Errorf("success: %v", err)
	}
	err := b.Do(t.Context(), func(context.Context) error { panic("boom") })
	if e, ok := errors.AsType[*PanicError](err); !ok || e.Value != "boom" {
		t.Errorf("panic: %v", err)
	}
	if err := b.Do(t.Context(), nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("nil: %v", err)
	}
}

func TestBreakerSettlingNothingDoesNothing(t *testing.T) {
	log := &breakerLog{}
	b := givenBreaker(t, BreakerPolicy{Failures: 1}, log)
	breakerSettle(t, b, permit{}, OutcomeFailure)
	wantBreakerState(t, b, Closed)
	if got := log.of(EventBreakerExecuted); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestBreakerForceOpenHoldsUntilReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenBreaker(t, BreakerPolicy{Recovery: time.Second})
		under := breakerAdmit(t, b)
		b.ForceOpen()
		breakerSettle(t, b, under, OutcomeSuccess)
		time.Sleep(time.Hour)
		wantRefused(t, b, ErrBreakerOpen, 0)
		if s := b.Status(); s != (BreakerStatus{Name: "part", State: Open, Forced: true}) {
			t.Fatalf("%+v", s)
		}
		b.Reset()
		if s := b.Status(); s != (BreakerStatus{Name: "part", State: Closed}) {
			t.Fatalf("%+v", s)
		}
		breakerDo(t, b, breakerPass)
	})
}

func TestBreakerForceClosedNeverOpens(t *testing.T) {
	for name, p := range map[string]BreakerPolicy{
		"row":    {Failures: 1},
		"within": {Failures: 1, Within: time.Hour},
		"rate":   {Rate: 0.1, Of: 1, Within: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			b := givenBreaker(t, p)
			b.ForceOpen()
			b.ForceClosed()
			for range 100 {
				breakerDo(t, b, breakerFail)
			}
			if s := b.Status(); s != (BreakerStatus{Name: "part", State: Closed, Forced: true}) {
				t.Fatalf("%+v", s)
			}
			under := breakerAdmit(t, b)
			b.Reset()
			breakerSettle(t, b, under, OutcomeFailure)
			if s := b.Status(); s != (BreakerStatus{Name: "part", State: Closed}) {
				t.Fatalf("%+v", s)
			}
			breakerDo(t, b, breakerFail)
			wantBreakerState(t, b, Open)
		})
	}
}

func TestBreakerResetForgetsWhatWasCounted(t *testing.T) {
	for name, p := range map[string]BreakerPolicy{
		"row":    {Failures: 3},
		"within": {Failures: 3, Within: time.Hour},
		"rate":   {Rate: 0.1, Of: 3, Within: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			b := givenBreaker(t, p)
			breakerDo(t, b, breakerFail)
			breakerDo(t, b, breakerFail)
			under := breakerAdmit(t, b)
			b.Reset()
			breakerSettle(t, b, under, OutcomeFailure)
			if s := b.Status(); s != (BreakerStatus{Name: "part"}) {
				t.Fatalf("%+v", s)
			}
			breakerDo(t, b, breakerFail)
			breakerDo(t, b, breakerFail)
			wantBreakerState(t, b, Closed)
		})
	}
}

func TestBreakerResetCancelsTheRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &breakerLog{}
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: 10 * time.Second}, log)
		time.Sleep(9 * time.Second)
		b.Reset()
		time.Sleep(500 * time.Millisecond)
		breakerDo(t, b, breakerFail)
		wantRefused(t, b, ErrBreakerOpen, 10*time.Second) // a fresh one
		time.Sleep(9 * time.Second)
		wantRefused(t, b, ErrBreakerOpen, time.Second)
		b.Reset()
		time.Sleep(time.Hour)
		wantBreakerState(t, b, Closed)
		if got := log.changes(); got != "closed to open, open to closed, closed to open, open to closed" {
			t.Fatal(got)
		}
	})
}

func TestBreakerNeedsRefusesWhileDependenciesAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &breakerLog{}
		deps := map[string]*Breaker{}
		give := func(name string, recovery time.Duration) *Breaker {
			deps[name] = newBreaker(nil, newLife(), name, BreakerPolicy{Failures: 1, Recovery: recovery}, nil)
			t.Cleanup(deps[name].close)
			return deps[name]
		}
		short, long, fine := give("short", time.Second), give("long", time.Minute), give("fine", time.Hour)
		p := BreakerPolicy{Failures: 1, Needs: []string{"long", "fine", "missing", "short", "part"}}
		b := newBreaker(newSink([]Observer{log}), newLife(), "part", p, func(name string) *Breaker { return deps[name] })
		defer b.close()
		deps["part"] = b
		breakerDo(t, b, breakerPass)

		breakerDo(t, short, breakerFail)
		breakerDo(t, long, breakerFail)
		wantRefused(t, b, ErrDependencyOpen, time.Minute)
		err := b.ready(t.Context(), call{key: "key"})
		if !strings.Contains(err.Error(), "open: long, short") || errors.Is(err, ErrBreakerOpen) {
			t.Fatalf("%v", err)
		}
		if e, _ := errors.AsType[*Error](err); e.Key != "key" {
			t.Fatalf("%+v", e)
		}
		if s := b.Status(); s.State != Closed {
			t.Fatalf("%+v", s)
		}
		// When a dependency's time is over it no longer counts, probed or not.
		time.Sleep(time.Second)
		wantRefused(t, b, ErrDependencyOpen, 59*time.Second)
		if err := b.ready(t.Context(), call{}); strings.Contains(err.Error(), "short") {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		wantBreakerState(t, long, Open)
		breakerDo(t, b, breakerPass)
		breakerAdmit(t, long)
		wantBreakerState(t, long, HalfOpen)
		breakerDo(t, b, breakerPass)

		fine.ForceOpen()
		time.Sleep(24 * time.Hour)
		wantRefused(t, b, ErrDependencyOpen, 0)
		fine.Reset()
		breakerDo(t, b, breakerPass)

		if got := len(log.of(EventBreakerRejected)); got != 11 {
			t.Fatalf("%d refusals were told", got)
		}
		// Its own state is never a dependency's.
		b.ForceOpen()
		wantRefused(t, b, ErrBreakerOpen, 0)
	})
}

func TestBreakerDependencyRefusalTakesNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dep := givenBreaker(t, BreakerPolicy{})
		b := newBreaker(nil, newLife(), "b", BreakerPolicy{Failures: 1, Recovery: time.Second, Needs: []string{"dep"}}, func(string) *Breaker { return dep })
		defer b.close()
		breakerDo(t, b, breakerFail)
		time.Sleep(time.Second)
		dep.ForceOpen()
		wantRefused(t, b, ErrDependencyOpen, 0)
		wantBreakerState(t, b, Open)
		dep.Reset()
		breakerDo(t, b, breakerPass)
		wantBreakerState(t, b, Closed)
	})
}

func TestBreakersMayNeedEachOther(t *testing.T) {
	all := map[string]*Breaker{}
	find := func(name string) *Breaker { return all[name] }
	for _, name := range []string{"a", "b"} {
		all[name] = newBreaker(nil, newLife(), name, BreakerPolicy{Failures: 3, Recovery: 1, Needs: []string{"a", "b"}}, find)
		defer all[name].close()
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 500 {
				b := all[string("ab"[i%2])]
				_ = b.Do(t.Context(), func(context.Context) error {
					if j%3 == 0 {
						return errBreakerCallee
					}
					return all["a"].Do(t.Context(), breakerPass)
				})
			}
		})
	}
	wg.Wait()
}

func TestBreakerEventsTellEveryChangeOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &breakerLog{}
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second}, log)
		wantRefused(t, b, ErrBreakerOpen, time.Second)
		time.Sleep(time.Second)
		breakerDo(t, b, func(context.Context) error {
			if got := log.changes(); !strings.HasSuffix(got, "open to half-open") {
				t.Errorf("%s: the probe runs before its state is told", got)
			}
			return errBreakerCallee
		})
		time.Sleep(time.Second)
		breakerDo(t, b, breakerPass)
		b.Reset()
		b.ForceOpen()
		b.ForceOpen()
		b.ForceClosed()
		b.Reset()

		var kinds []string
		for _, e := range log.events {
			word := strings.TrimPrefix(e.Kind.String(), "protect.breaker.")
			switch e.Kind {
			case EventBreakerState:
				word = e.From.String() + ">" + e.To.String()
			case EventBreakerExecuted:
				word = e.Outcome.String()
			}
			kinds = append(kinds, word)
			if e.Name != "part" || e.Layer != LayerBreaker || e.Time.IsZero() {
				t.Errorf("%+v", e)
			}
		}
		want := "installed failure closed>open rejected rejected rejected open>half-open failure half-open>open " +
			"open>half-open success half-open>closed closed>open open>closed"
		if got := strings.Join(kinds, " "); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

func TestBreakerRefusalsAreToldBeforeTheCallerKnows(t *testing.T) {
	log := &breakerLog{}
	dep := givenBreaker(t, BreakerPolicy{})
	b := newBreaker(newSink([]Observer{log}), newLife(), "part", BreakerPolicy{Needs: []string{"dep"}}, func(string) *Breaker { return dep })
	defer b.close()
	told := 0
	check := func() {
		t.Helper()
		for _, ask := range []func() error{
			func() error { return b.ready(t.Context(), call{}) },
			func() error { _, err := b.admit(t.Context(), call{}); return err },
			func() error { return b.Do(t.Context(), breakerPass) },
		} {
			err := ask()
			told++
			rejected := log.of(EventBreakerRejected)
			if err == nil || len(rejected) != told || rejected[told-1].Err != err {
				t.Fatalf("%v; %d told, want %d", err, len(rejected), told)
			}
		}
	}
	b.ForceOpen()
	check()
	b.Reset()
	dep.ForceOpen()
	check()
}

func TestBreakerEventsSayWhoseCallItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &breakerLog{}
		b := givenBreaker(t, BreakerPolicy{Failures: 1}, log)
		time.Sleep(time.Hour) // a duration is not the breaker's age
		c := call{key: "key", entity: "entity", attrs: []slog.Attr{slog.Int("n", 1)}}
		p, err := b.admit(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.settle(t.Context(), c, p, OutcomeFailure, errBreakerCallee)
		refusal := b.ready(t.Context(), c)

		for _, e := range log.events[1:] {
			if e.Key != "key" || e.Entity != "entity" || len(e.Attrs) != 1 {
				t.Errorf("%+v", e)
			}
		}
		if e := log.of(EventBreakerExecuted)[0]; e.Duration != time.Second || e.Outcome != OutcomeFailure || e.Err != errBreakerCallee {
			t.Errorf("%+v", e)
		}
		if e := log.of(EventBreakerRejected)[0]; e.Err != refusal {
			t.Errorf("%+v", e)
		}
		if e, _ := errors.AsType[*Error](refusal); e.Key != "key" || e.Entity != "" {
			t.Errorf("%+v", *e)
		}
	})
}

func TestBreakerObserversMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *Breaker
		var changes []string
		b = givenBreaker(t, BreakerPolicy{Failures: 1, Recovery: time.Second}, ObserverFunc(func(ctx context.Context, e Event) {
			if b == nil || e.Kind != EventBreakerState {
				return
			}
			changes = append(changes, e.To.String())
			_ = b.Status()
			_ = b.Do(ctx, breakerPass)
			if e.To == Open && len(changes) == 1 {
				b.Reset()
			}
		}))
		breakerDo(t, b, breakerFail)
		wantBreakerState(t, b, Closed)
		b.ForceOpen()
		if got := strings.Join(changes, " "); got != "open closed open" {
			t.Fatal(got)
		}
	})
}

func TestBreakerJudgesMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *Breaker
		asked := 0
		b = givenBreaker(t, BreakerPolicy{Failures: 1, Recovery: time.Second, Failure: func(error) Outcome {
			asked++
			if s := b.Status(); s.State != Closed {
				t.Errorf("%+v", s)
			}
			_ = b.Do(t.Context(), breakerPass)
			b.Reset()
			return OutcomeFailure
		}})
		breakerDo(t, b, breakerFail)
		wantBreakerState(t, b, Closed) // the failure is of before the reset
		if asked != 1 {
			t.Fatalf("asked %d times", asked)
		}
	})
}

func TestBreakerObserversMayPanicOrEndTheGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &breakerLog{}
		broken := ObserverFunc(func(_ context.Context, e Event) {
			if e.Kind == EventBreakerState {
				goruntime.Goexit()
			}
			panic("observer")
		})
		b := givenBreaker(t, BreakerPolicy{Failures: 1, Recovery: time.Second}, log, broken)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = b.Do(t.Context(), breakerFail)
		}()
		<-done
		wantBreakerState(t, b, Open)
		time.Sleep(time.Second)
		go func() { _ = b.Do(t.Context(), breakerPass) }()
		synctest.Wait()
		if got := log.changes(); !strings.HasPrefix(got, "closed to open, open to half-open") {
			t.Fatal(got)
		}
	})
}

func TestBreakerClosedForGoodRefusesAndLeavesNothing(t *testing.T) {
	log := &breakerLog{}
	b := givenBreaker(t, BreakerPolicy{Failures: 1}, log)
	under := breakerAdmit(t, b)
	b.close()
	b.close()
	wantRefused(t, b, ErrClosed, 0)

	b.ForceOpen()
	b.Reset()
	b.ForceClosed()
	breakerSettle(t, b, under, OutcomeFailure)
	wantRefused(t, b, ErrClosed, 0)
	if s := b.Status(); s != (BreakerStatus{Name: "part"}) {
		t.Fatalf("%+v", s)
	}
	if got := log.changes(); got != "" {
		t.Fatal(got)
	}
}

func TestBreakerClosedForGoodLeavesNoTimer(t *testing.T) {
	b := givenOpenBreaker(t, BreakerPolicy{})
	b.close()
	// Closed is the one state in which the library has none.
	if got := b.cb.State(); got != circuitbreaker.StateClosed {
		t.Fatalf("the library is left %v", got)
	}
}

func TestBreakersShareNothing(t *testing.T) {
	p := BreakerPolicy{Failures: 1}
	a, b := givenBreaker(t, p), givenBreaker(t, p)
	breakerDo(t, a, breakerFail)
	wantBreakerState(t, a, Open)
	wantBreakerState(t, b, Closed)
	breakerDo(t, b, breakerPass)
}

func TestBreakerStartsNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Second, Probes: 2})
		b.Reset()
		breakerDo(t, b, breakerFail)
		if n := strings.Count(goroutineStacks(), "go-circuitbreaker"); n != 0 {
			t.Fatalf("%d goroutines of the library", n)
		}
	})
}

// goroutineStacks formats the stacks of all goroutines.
func goroutineStacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:goruntime.Stack(buf, true)])
}

func TestBreakerAdmitAndSettleAllocateNothing(t *testing.T) {
	for name, p := range map[string]BreakerPolicy{
		"row":    {},
		"slow":   {Slow: time.Hour},
		"within": {Within: time.Hour},
		"rate":   {Rate: 1, Of: math.MaxInt32, Within: time.Hour},
	} {
		b := givenBreaker(t, p)
		ctx := t.Context()
		allocs := testing.AllocsPerRun(1000, func() {
			if b.ready(ctx, call{}) != nil {
				t.Fatal("refused")
			}
			p, _ := b.admit(ctx, call{})
			b.settle(ctx, call{}, p, b.outcome(ctx, p, nil, nil), nil)
			if b.Do(ctx, breakerPass) != nil {
				t.Fatal("refused")
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations a call", name, allocs)
		}
	}
}
