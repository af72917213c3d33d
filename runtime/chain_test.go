package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	limiter "github.com/sethvargo/go-limiter"

	protect "github.com/protectgen/protectgen/runtime"
)

func (r *recorder) count(kind protect.EventKind) int {
	n := 0
	for _, k := range r.kinds() {
		if k == kind {
			n++
		}
	}
	return n
}

// A refusal is told of by the call that it refused, not again by those around.
func TestRefusalFurtherInIsToldOfOnce(t *testing.T) {
	limited := protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}}
	ends := map[string]func(error) (int, error){
		"returned": func(err error) (int, error) { return 0, err },
		"panicked": func(err error) (int, error) { panic(err) },
	}
	for name, c := range map[string]struct {
		policy   protect.Policy
		callee   func(context.Context) (string, error)
		sentinel error
	}{
		"limited":   {limited, succeed, protect.ErrRateLimited},
		"timed out": {protect.Policy{Timeout: 1}, func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }, protect.ErrTimeout},
	} {
		for way, end := range ends {
			t.Run(name+" and "+way, func(t *testing.T) {
				var events recorder
				rt := newRuntime(t, protect.WithObserver(&events))
				configure(t, rt, "inner", c.policy)
				_, _ = protect.Execute(t.Context(), rt, "inner", succeed)
				events.reset()
				_, err := protect.Execute(t.Context(), rt, "outer", func(ctx context.Context) (int, error) {
					_, err := protect.Execute(ctx, rt, "inner", c.callee)
					return end(err)
				})
				if !errors.Is(err, c.sentinel) {
					t.Fatal(err)
				}
				if got := events.count(protect.EventTriggered); got != 1 {
					t.Errorf("%d refusals were told of, want 1", got)
				}
			})
		}
	}
}

// slowStore answers only when its caller gives up.
type slowStore struct{ limiter.Store }

func (slowStore) Take(ctx context.Context, _ string) (tokens, remaining, reset uint64, ok bool, err error) {
	<-ctx.Done()
	return 0, 0, 0, false, ctx.Err()
}

func (slowStore) Get(ctx context.Context, _ string) (tokens, remaining uint64, err error) {
	<-ctx.Done()
	return 0, 0, ctx.Err()
}

func (slowStore) Close(context.Context) error { return nil }

// The deadline of a call is a timeout wherever it passes, but for the layers
// that have a wait and a refusal of their own.
func TestDeadlineThatPassesOnTheWayInIsATimeout(t *testing.T) {
	slow := protect.WithStores(func(string, uint64, time.Duration) (limiter.Store, error) { return slowStore{}, nil })
	synctest.Test(t, func(t *testing.T) {
		var events recorder
		rt := newRuntime(t, slow, protect.WithObserver(&events))
		configure(t, rt, "limited", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}})
		pool, err := protect.NewPool(rt, "db", protect.PoolPolicy{}, protect.Factory[int]{
			New: func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() },
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, call := range map[string]func() error{
			"limiter": func() error {
				_, err := protect.Execute(t.Context(), rt, "limited", succeed, protect.Timeout(time.Second))
				return err
			},
			"factory": func() error {
				_, err := protect.ExecuteOn(t.Context(), rt, "pooled", pool, func(context.Context, int) (int, error) { return 0, nil }, protect.Timeout(time.Second))
				return err
			},
			"before": func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 0)
				defer cancel()
				_, err := protect.Execute(ctx, rt, "any", succeed)
				return err
			},
		} {
			events.reset()
			err := call()
			wantErr(t, name, err, protect.ErrTimeout)
			wantErr(t, name, err, context.DeadlineExceeded)
			if got := events.count(protect.EventTriggered); got != 1 {
				t.Errorf("%s: %d refusals were told of, want 1", name, got)
			}
		}
	})
}

func TestCallThatItsCallerCancelledIsNoException(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := protect.Execute(ctx, rt, "api", func(ctx context.Context) (int, error) {
		cancel()
		return 0, ctx.Err()
	})
	wantErr(t, "cancelled", err, context.Canceled)
	if got, want := events.kinds(), []protect.EventKind{protect.EventStart, protect.EventStop}; !slices.Equal(got, want) {
		t.Errorf("events = %v, want %v", got, want)
	}
}

// apart runs fn on a goroutine of its own, which may end inside.
func apart(fn func()) {
	var wg sync.WaitGroup
	wg.Go(fn)
	wg.Wait()
}

func TestJudgeThatEndsTheGoroutineKeepsNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exits := true
		rt := newRuntime(t)
		configure(t, rt, "api", protect.Policy{Breaker: &protect.BreakerPolicy{
			Failures: 1, Recovery: time.Second,
			Failure: func(error) protect.Outcome {
				if exits {
					goexit()
				}
				return protect.OutcomeFailure
			},
		}})
		for range 3 { // the first opens it, the others are probes
			apart(func() { _, _ = protect.Execute(t.Context(), rt, "api", fail) })
			if s, _ := rt.Status("api"); s.Breaker.State != protect.Open {
				t.Errorf("%v: the call did not count as a failure", s.Breaker.State)
			}
			time.Sleep(time.Second)
		}
		if _, err := protect.Execute(t.Context(), rt, "api", succeed); err != nil {
			t.Errorf("the next probe: %v", err)
		}
	})
}

func TestWhatACallWaitsForIsNotSlownessOfItsCallee(t *testing.T) {
	second := func() { time.Sleep(time.Second) }
	for name, test := range map[string]struct {
		policy  protect.Policy
		factory protect.Factory[int]
		holding bool // somebody is in when the call comes
	}{
		"bulkhead": {policy: protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 1, Wait: time.Minute}}, holding: true},
		"pool":     {holding: true},
		"new":      {factory: protect.Factory[int]{New: func(context.Context) (int, error) { second(); return 0, nil }}},
		"broken": {factory: protect.Factory[int]{
			Broken: func(error) bool { second(); return true },
			Close:  func(int) error { second(); return nil },
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var events recorder
				rt := newRuntime(t, protect.WithObserver(&events))
				if test.factory.New == nil {
					test.factory.New = func(context.Context) (int, error) { return 0, nil }
				}
				pool, err := protect.NewPool(rt, "pool", protect.PoolPolicy{Size: 1}, test.factory)
				wantErr(t, "NewPool", err, nil)
				test.policy.Breaker = &protect.BreakerPolicy{
					Failures: 1, Slow: 800 * time.Millisecond,
					Failure: func(error) protect.Outcome { return protect.OutcomeSuccess },
				}
				configure(t, rt, "api", test.policy)
				call := func(takes time.Duration) {
					_, err := protect.ExecuteOn(t.Context(), rt, "api", pool, func(context.Context, int) (string, error) {
						time.Sleep(takes)
						return "", errBackend
					})
					wantErr(t, "the call", err, errBackend)
				}
				if test.holding {
					go call(500 * time.Millisecond)
					synctest.Wait()
				}

				call(500 * time.Millisecond)

				if s, _ := rt.Status("api"); s.Breaker.State != protect.Closed {
					t.Errorf("the breaker is %v", s.Breaker.State)
				}
				for _, e := range events.all() {
					if e.Kind == protect.EventBreakerExecuted && e.Duration != 500*time.Millisecond {
						t.Errorf("the breaker saw a call of %v, want 500ms", e.Duration)
					}
				}
				call(time.Second)
				if s, _ := rt.Status("api"); s.Breaker.State != protect.Open {
					t.Errorf("the breaker is %v after a slow call", s.Breaker.State)
				}
			})
		})
	}
}

// exitOn is an observer that ends the goroutine that brings an event of a kind.
type exitOn struct {
	kind protect.EventKind
	name string
	on   bool
}

func (o *exitOn) Observe(_ context.Context, e protect.Event) {
	if o.on && e.Kind == o.kind && e.Name == o.name {
		goexit()
	}
}

func TestObserverThatEndsTheGoroutineTakesNothingAlong(t *testing.T) {
	for _, kind := range []protect.EventKind{
		protect.EventStart, protect.EventLimiterAllowed, protect.EventBreakerState,
		protect.EventPoolCheckout, protect.EventPoolCheckin, protect.EventBreakerExecuted, protect.EventException,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var events recorder
				observer := &exitOn{kind: kind, name: "api"}
				if kind == protect.EventStart || kind == protect.EventException {
					observer.name = "" // these are of no part
				}
				rt := newRuntime(t, protect.WithObserver(&events, observer), protect.WithStores(protect.OpenSimStore))
				configure(t, rt, "api", protect.Policy{
					Limit:    &protect.LimitPolicy{Tokens: 9, Window: time.Hour},
					Breaker:  &protect.BreakerPolicy{Failures: 1, Recovery: time.Second},
					Bulkhead: &protect.BulkheadPolicy{Max: 1},
					Pool:     &protect.PoolPolicy{Size: 1},
				})
				_, _ = protect.Execute(t.Context(), rt, "api", fail) // opens the breaker
				time.Sleep(time.Second)
				before, _ := rt.Status("api")
				events.reset()

				observer.on = true
				called := false
				apart(func() {
					_, _ = protect.Execute(t.Context(), rt, "api", func(ctx context.Context) (string, error) {
						called = true
						return fail(ctx)
					})
				})
				observer.on = false

				s, err := rt.Status("api")
				if err != nil || s.Bulkhead.Active != 0 || s.Pool.Active != 0 {
					t.Errorf("still held: %+v, %+v, %v", s.Bulkhead, s.Pool, err)
				}
				if spent := s.Limiter.Used - before.Limiter.Used; (spent == 1) != called {
					t.Errorf("%d tokens were spent, and called is %v", spent, called)
				}
				if starts, stops := events.count(protect.EventStart), events.count(protect.EventStop); starts != 1 || stops != 1 {
					t.Errorf("%d starts, %d stops", starts, stops)
				}
				time.Sleep(time.Second)
				if _, err := protect.Execute(t.Context(), rt, "api", succeed); err != nil {
					t.Errorf("the next probe: %v", err)
				}
			})
		})
	}
}

func TestChangeOfThePolicyUnderACallIsNoRejection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events recorder
		rt := newRuntime(t, protect.WithObserver(&events), protect.WithStores(protect.OpenSimStore))
		p := protect.Policy{
			Limit:   &protect.LimitPolicy{Tokens: 1, Window: time.Minute, Wait: time.Hour},
			Breaker: &protect.BreakerPolicy{},
		}
		configure(t, rt, "api", p)
		_, _ = protect.Execute(t.Context(), rt, "api", succeed)
		done := make(chan error, 1)
		go func() { // waits for a token, under the first breaker
			_, err := protect.Execute(t.Context(), rt, "api", succeed, protect.Timeout(protect.Forever))
			done <- err
		}()
		synctest.Wait()

		p.Breaker = &protect.BreakerPolicy{Failures: 1}
		configure(t, rt, "api", p)

		if err := <-done; err != nil {
			t.Errorf("the call under way: %v", err)
		}
		if n := events.count(protect.EventBreakerRejected) + events.count(protect.EventTriggered); n != 0 {
			t.Errorf("%d refusals were told of", n)
		}
	})
}

// A call that waits in a layer which goes away is told what its options lack
// under the new policy; a pool that was closed stays a closed pool.
func TestCallThatMeetsAClosedPartIsToldWhatHoldsNow(t *testing.T) {
	for name, c := range map[string]struct {
		policy protect.Policy
		use    protect.ExecuteOption
		change func(t *testing.T, rt *protect.Runtime, db *protect.Pool[*item])
		want   error
	}{
		"no limit any more": {
			protect.Policy{
				Limit: &protect.LimitPolicy{Tokens: 9, Window: time.Hour}, Bulkhead: &protect.BulkheadPolicy{Max: 1, Wait: protect.Forever},
			},
			protect.UseLimiter("calls", "ada"),
			func(t *testing.T, rt *protect.Runtime, _ *protect.Pool[*item]) {
				configure(t, rt, "api", protect.Policy{})
			},
			protect.ErrNotFound,
		},
		"neither limit nor permits any more": {
			protect.Policy{
				Limit: &protect.LimitPolicy{Tokens: 9, Window: time.Hour}, Pool: &protect.PoolPolicy{Size: 1, Wait: protect.Forever},
			},
			protect.UseLimiter("calls", "ada"),
			func(t *testing.T, rt *protect.Runtime, _ *protect.Pool[*item]) {
				configure(t, rt, "api", protect.Policy{})
			},
			protect.ErrNotFound,
		},
		"no breaker any more": {
			protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour, Wait: protect.Forever}},
			protect.UseBreaker("other"),
			func(t *testing.T, rt *protect.Runtime, _ *protect.Pool[*item]) { rt.Remove("other") },
			protect.ErrNotFound,
		},
		"no pool any more": {
			protect.Policy{},
			protect.UsePool("db"),
			func(t *testing.T, _ *protect.Runtime, db *protect.Pool[*item]) { go db.Close(context.Background()) },
			protect.ErrClosed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := newRuntime(t, protect.WithStores(protect.OpenSimStore))
				configure(t, rt, "api", c.policy)
				configure(t, rt, "other", protect.Policy{Breaker: &protect.BreakerPolicy{}})
				db := items(t, rt, "db", protect.PoolPolicy{Size: 1, Wait: protect.Forever})
				leave := hold(rt, "api", c.use)
				waiting := make(chan error)
				go func() {
					_, err := protect.Execute(t.Context(), rt, "api", succeed, c.use, protect.Timeout(protect.Forever))
					waiting <- err
				}()
				synctest.Wait()
				c.change(t, rt, db)
				synctest.Wait()
				wantErr(t, "who waited", <-waiting, c.want)
				wantErr(t, "who was in", leave(), nil)
			})
		})
	}
}

func TestTwoGuardsOfOneCallNeedTwoKeys(t *testing.T) {
	rt := newRuntime(t)
	_, err := protect.NewGuards[weather](rt, &station{},
		protect.Spec{Key: "w.W.A", Policy: protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 1}}},
		protect.Spec{Key: "w.W.A", Policy: protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 2}}},
	)
	wantErr(t, "one key twice", err, protect.ErrInvalid)
	if len(rt.Keys()) != 0 {
		t.Errorf("keys = %v", rt.Keys())
	}
}

func TestHealthNamesBulkheadsThatAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		configure(t, rt, "api", protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 1, Wait: time.Hour}})
		leave := hold(rt, "api")
		if h := rt.Health(); !h.Healthy {
			t.Errorf("nobody waits: %+v", h)
		}
		second := hold(rt, "api")
		if h := rt.Health(); !slices.Equal(h.Problems, []string{"bulkhead api is full: 1 waiting"}) {
			t.Errorf("health = %+v", h)
		}
		_, _ = leave(), second()
	})
}

func TestNoContextIsTheBackground(t *testing.T) {
	rt := newRuntime(t)
	var none context.Context
	if got, err := protect.Execute(none, rt, "api", succeed); got != "fine" || err != nil {
		t.Errorf("Execute: %q, %v", got, err)
	}
	if got, err := protect.FirstOf(none, succeed); got != "fine" || err != nil {
		t.Errorf("FirstOf: %q, %v", got, err)
	}
	g := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast"})
	if got, err := forecast(none, g, "", "Oslo"); got != "Oslo: sunny" || err != nil {
		t.Errorf("Do: %q, %v", got, err)
	}
}

func TestPartsAndClosesTakeNoContextAsTheBackground(t *testing.T) {
	rt := newRuntime(t)
	var none context.Context
	l, err := rt.NewLimiter("limiter", protect.LimitPolicy{Tokens: 2, Window: time.Hour, Wait: time.Millisecond})
	wantErr(t, "NewLimiter", err, nil)
	b, err := rt.NewBreaker("breaker", protect.BreakerPolicy{})
	wantErr(t, "NewBreaker", err, nil)
	p, err := protect.NewPool(rt, "pool", protect.PoolPolicy{}, protect.Factory[int]{
		New: func(context.Context) (int, error) { return 0, nil },
	})
	wantErr(t, "NewPool", err, nil)
	broken := func(ctx context.Context) error { return errors.Join(ctx.Err(), errBackend) }

	wantErr(t, "Take", l.Take(none, "me"), nil)
	wantErr(t, "Limiter.Do", l.Do(none, "me", broken), errBackend)
	wantErr(t, "Take of a token that is not there", l.Take(none, "me"), protect.ErrRateLimited)
	if s, err := l.Status(none, "me"); s.Used != 2 || err != nil {
		t.Errorf("Status: %+v, %v", s, err)
	}
	wantErr(t, "Reset", l.Reset(none, "me"), nil)
	wantErr(t, "Breaker.Do", b.Do(none, broken), errBackend)
	wantErr(t, "Pool.Do", p.Do(none, func(ctx context.Context, _ int) error { return broken(ctx) }), errBackend)
	wantErr(t, "Pool.Close", p.Close(none), nil)
	wantErr(t, "Runtime.Close", rt.Close(none), nil)
}

type errorThatPanics struct{}

func (errorThatPanics) Error() string   { return "panics when it is asked" }
func (errorThatPanics) Is(error) bool   { panic("asked") }
func (errorThatPanics) Unwrap() []error { panic("asked") }

func TestErrorThatPanicsWhenItIsAskedIsAFailure(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	configure(t, rt, "api", protect.Policy{
		Retry: &protect.RetryPolicy{Attempts: 3, Backoff: 1}, Breaker: &protect.BreakerPolicy{}, Bulkhead: &protect.BulkheadPolicy{Max: 1},
	})
	calls := 0
	_, err := protect.Execute(t.Context(), rt, "api", func(context.Context) (int, error) { calls++; return 0, errorThatPanics{} })
	if err != (errorThatPanics{}) || calls != 1 {
		t.Errorf("got %v after %d calls, want the callee's error after 1", err, calls)
	}
	if s, err := rt.Status("api"); err != nil || s.Breaker.Failures != 1 || s.Bulkhead.Active != 0 {
		t.Errorf("breaker %+v, bulkhead %+v, %v", s.Breaker, s.Bulkhead, err)
	}
	kinds := events.kinds()
	if got, want := kinds[len(kinds)-2:], []protect.EventKind{protect.EventException, protect.EventStop}; !slices.Equal(got, want) {
		t.Errorf("the last events are %v, want %v", got, want)
	}
}

func TestContextOfACallEndsWithIt(t *testing.T) {
	rt := newRuntime(t)
	var kept context.Context
	if _, err := protect.Execute(t.Context(), rt, "api", func(ctx context.Context) (int, error) { kept = ctx; return 0, nil }); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "after the call", kept.Err(), context.Canceled)
}

func TestPartThatOthersUseIsNotReplaced(t *testing.T) {
	rt := newRuntime(t)
	one := protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}}
	configure(t, rt, "api", one)
	g := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast", Policy: one, Limiter: "api"})

	err := rt.Configure("api", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 2, Window: time.Hour}})

	wantErr(t, "other settings for a limiter that is shared", err, protect.ErrInvalid)
	if _, err := forecast(t.Context(), g, "", "Oslo"); err != nil {
		t.Errorf("the one who shares it: %v", err)
	}
	_, err = protect.Execute(t.Context(), rt, "api", succeed)
	wantErr(t, "the shared bucket", err, protect.ErrRateLimited)
}

func TestTimeoutIsAFailureWhateverItsCallerDoesThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events recorder
		rt := newRuntime(t, protect.WithObserver(&events))
		ctx, cancel := context.WithCancel(t.Context())
		_, err := protect.Execute(ctx, rt, "api", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			cancel()
			return 0, context.Canceled
		}, protect.Timeout(time.Second))
		wantErr(t, "timed out", err, protect.ErrTimeout)
		all := events.all()
		if stop := all[len(all)-1]; stop.Outcome != protect.OutcomeFailure {
			t.Errorf("the stop says %v, want failure", stop.Outcome)
		}
	})
}

func TestCauseOfADeadlineThatPassedIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		errTooSlow := errors.New("too slow")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errTooSlow)
		defer cancel()
		_, err := protect.Execute(ctx, rt, "api", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, fmt.Errorf("get: %w", context.Cause(ctx))
		})
		wantErr(t, "the deadline", err, protect.ErrTimeout)
		wantErr(t, "its cause", err, errTooSlow)
	})
}

func TestNeededBreakersAreThoseOfTheScope(t *testing.T) {
	rt := newRuntime(t)
	eu := rt.Scope("eu")
	needs := protect.Policy{Breaker: &protect.BreakerPolicy{Needs: []string{"db"}}}
	g := guard(t, eu, &station{}, protect.Spec{Key: "w.W.Forecast", Policy: needs})
	configure(t, eu, "api", needs)
	db, err := eu.NewBreaker("db", protect.BreakerPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	// The whole Runtime sees to the scope's keys now, and its breakers are new.
	configure(t, rt, "eu/w.W.Forecast", protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 9}})
	rt.Remove("eu/w.W.Forecast")
	needs.Breaker = &protect.BreakerPolicy{Failures: 9, Needs: []string{"db"}}
	configure(t, rt, "eu/api", needs)

	db.ForceOpen()

	_, err = forecast(t.Context(), g, "", "Oslo")
	wantErr(t, "the guard", err, protect.ErrDependencyOpen)
	_, err = protect.Execute(t.Context(), eu, "api", succeed)
	wantErr(t, "Execute", err, protect.ErrDependencyOpen)
}
