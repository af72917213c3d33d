package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

var errBackend = errors.New("backend: 503")

func succeed(context.Context) (string, error) { return "fine", nil }
func fail(context.Context) (string, error)    { return "", errBackend }

// newRuntime returns a Runtime that is closed when the test ends.
func newRuntime(t *testing.T, opts ...protect.Option) *protect.Runtime {
	t.Helper()
	rt := protect.New(opts...)
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return rt
}

func configure(t *testing.T, rt *protect.Runtime, key string, p protect.Policy) {
	t.Helper()
	if err := rt.Configure(key, p); err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}

func TestConfiguredKeyHoldsWithoutOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t, protect.WithStores(protect.OpenSimStore))
		configure(t, rt, "test", protect.Policy{
			Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: time.Second},
			Limit:   &protect.LimitPolicy{Tokens: 1, Window: time.Second},
			Pool:    &protect.PoolPolicy{Size: 1},
		})
		if _, err := protect.Execute(t.Context(), rt, "test", succeed); err != nil {
			t.Fatalf("first call: %v", err)
		}
		_, err := protect.Execute(t.Context(), rt, "test", succeed)
		wantErr(t, "second call", err, protect.ErrRateLimited)
		refusal, _ := errors.AsType[*protect.Error](err)
		if refusal.Key != "test" || refusal.RetryAfter != time.Second {
			t.Errorf("refusal = %+v", refusal)
		}
		time.Sleep(refusal.RetryAfter)
		if _, err := protect.Execute(t.Context(), rt, "test", succeed); err != nil {
			t.Errorf("after RetryAfter: %v", err)
		}
	})
}

func TestUseLimiterCountsForEachKeyOperationAndEntity(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "api", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 100, Window: time.Hour}})
	configure(t, rt, "other", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 10, Window: time.Hour}})
	calls := func(key, op, entity string) int {
		for n := 0; ; n++ {
			if _, err := protect.Execute(t.Context(), rt, key, succeed, protect.UseLimiter(op, entity)); err != nil {
				wantErr(t, key, err, protect.ErrRateLimited)
				if refusal, _ := errors.AsType[*protect.Error](err); refusal.Entity != entity {
					t.Errorf("the refusal names %q, want %q", refusal.Entity, entity)
				}
				return n
			}
		}
	}
	for _, c := range []struct {
		key, op, entity string
		want            int
	}{
		{"api", "api_calls", "user:456", 100},
		{"api", "api_calls", "user:457", 100},
		{"api", "uploads", "user:456", 100},
		{"other", "api_calls", "user:456", 10},
		{"other", "a:b", "c", 10},
		{"other", "a", "b:c", 10},
	} {
		if got := calls(c.key, c.op, c.entity); got != c.want {
			t.Errorf("%s %s %s: %d calls passed, want %d", c.key, c.op, c.entity, got, c.want)
		}
	}
	// A status shows the bucket of calls that say neither.
	if _, err := protect.Execute(t.Context(), rt, "api", succeed); err != nil {
		t.Errorf("without an entity: %v", err)
	}
	if s, err := rt.Status("api"); err != nil || s.Limiter.Used != 1 || s.Limiter.Entity != "" {
		t.Errorf("status %+v, %v", s.Limiter, err)
	}
}

func TestUseLimiterWithoutALimitNeedsThatLimiter(t *testing.T) {
	rt := newRuntime(t)
	_, err := protect.Execute(t.Context(), rt, "api", succeed, protect.UseLimiter("api_calls", "system"))
	wantErr(t, "missing limiter", err, protect.ErrNotFound)

	l, err := rt.NewLimiter("api_calls", protect.LimitPolicy{Tokens: 2, Window: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := protect.Execute(t.Context(), rt, "api", succeed, protect.UseLimiter("api_calls", "system")); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Status(t.Context(), "system"); err != nil || s.Used != 1 {
		t.Errorf("status = %+v, %v: the call did not count in the limiter's own bucket", s, err)
	}
}

func TestBreakerOpensThroughExecute(t *testing.T) {
	boom := func(context.Context) (string, error) { panic(errBackend) }
	for name, callee := range map[string]func(context.Context) (string, error){"error": fail, "panic": boom} {
		for _, pooled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,pooled=%v", name, pooled), func(t *testing.T) {
				rt := newRuntime(t)
				p := protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 3, Recovery: time.Hour}}
				if pooled {
					p.Pool = &protect.PoolPolicy{Size: 1}
				}
				configure(t, rt, "api", p)
				for range 3 {
					_, err := protect.Execute(t.Context(), rt, "api", callee)
					wantErr(t, "the callee's error", err, errBackend)
				}
				called := false
				_, err := protect.Execute(t.Context(), rt, "api", func(context.Context) (string, error) {
					called = true
					return "", nil
				})
				wantErr(t, "fourth call", err, protect.ErrBreakerOpen)
				if called {
					t.Error("an open breaker let the call through")
				}
			})
		}
	}
}

func TestOpenBreakerSpendsNoToken(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "api", protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 10, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: time.Hour},
	})
	_, _ = protect.Execute(t.Context(), rt, "api", fail)
	for range 100 {
		_, err := protect.Execute(t.Context(), rt, "api", succeed)
		wantErr(t, "while open", err, protect.ErrBreakerOpen)
	}
	s, err := rt.Status("api")
	if err != nil || s.Limiter.Used != 1 {
		t.Errorf("limiter = %+v, %v: want 1 used", s.Limiter, err)
	}
}

func TestTokenOfACallThatNeverWentOutIsGivenBack(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "api", protect.Policy{
		Limit:    &protect.LimitPolicy{Tokens: 10, Window: time.Hour},
		Bulkhead: &protect.BulkheadPolicy{Max: 1},
	})
	_, err := protect.Execute(t.Context(), rt, "api", func(ctx context.Context) (string, error) {
		for range 20 {
			_, err := protect.Execute(ctx, rt, "api", succeed)
			wantErr(t, "inside", err, protect.ErrBulkheadFull)
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := rt.Status("api"); s.Limiter.Used != 1 {
		t.Errorf("used = %d, want 1", s.Limiter.Used)
	}
}

func TestLayersRefuseInOrder(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	configure(t, rt, "api", protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 1, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: time.Hour},
		Pool:    &protect.PoolPolicy{Size: 1},
	})
	_, _ = protect.Execute(t.Context(), rt, "api", succeed)
	events.reset()

	_, err := protect.Execute(t.Context(), rt, "api", succeed)
	wantErr(t, "limited", err, protect.ErrRateLimited)
	if got, want := events.kinds(), []protect.EventKind{
		protect.EventStart, protect.EventLimiterDenied, protect.EventTriggered, protect.EventStop,
	}; !slices.Equal(got, want) {
		t.Errorf("a limited call saw %v, want %v", got, want)
	}

	b, err := rt.Breaker("api")
	if err != nil {
		t.Fatal(err)
	}
	b.ForceOpen()
	events.reset()
	_, err = protect.Execute(t.Context(), rt, "api", succeed)
	wantErr(t, "open", err, protect.ErrBreakerOpen)
	if got, want := events.kinds(), []protect.EventKind{
		protect.EventStart, protect.EventBreakerRejected, protect.EventTriggered, protect.EventStop,
	}; !slices.Equal(got, want) {
		t.Errorf("a refused call saw %v, want %v", got, want)
	}
}

func TestEventsOfOneCall(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	configure(t, rt, "api", protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 10, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{},
		Pool:    &protect.PoolPolicy{Size: 1},
	})
	events.reset()
	_, _ = protect.Execute(t.Context(), rt, "api", fail, protect.UseLimiter("calls", "ada"), protect.Attr("amount", 100))
	if got, want := events.kinds(), []protect.EventKind{
		protect.EventStart, protect.EventLimiterAllowed, protect.EventPoolCheckout, protect.EventPoolCheckin,
		protect.EventBreakerExecuted, protect.EventException, protect.EventStop,
	}; !slices.Equal(got, want) {
		t.Fatalf("events = %v, want %v", got, want)
	}
	for _, e := range events.all() {
		if e.Key != "api" || e.Time.IsZero() {
			t.Errorf("%v: key %q, time %v", e.Kind, e.Key, e.Time)
		}
		if len(e.Attrs) != 1 || e.Attrs[0].Key != "amount" {
			t.Errorf("%v: attrs %v", e.Kind, e.Attrs)
		}
	}
	stop := events.all()[6]
	if stop.Outcome != protect.OutcomeFailure || !errors.Is(stop.Err, errBackend) || stop.Duration <= 0 || stop.Entity != "ada" {
		t.Errorf("stop = %+v", stop)
	}
}

func TestTimeoutEndsACallThatListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		start := time.Now()
		_, err := protect.Execute(t.Context(), rt, "api", func(ctx context.Context) (string, error) {
			select {
			case <-time.After(300 * time.Millisecond):
				return "late", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}, protect.Timeout(50*time.Millisecond))
		wantErr(t, "timed out", err, protect.ErrTimeout)
		wantErr(t, "timed out", err, context.DeadlineExceeded)
		if got := time.Since(start); got != 50*time.Millisecond {
			t.Errorf("took %v, want 50ms", got)
		}
	})
}

func TestLateResultStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		for _, want := range []error{nil, errBackend} {
			got, err := protect.Execute(t.Context(), rt, "api", func(context.Context) (string, error) {
				time.Sleep(time.Second)
				return "late", want
			}, protect.Timeout(50*time.Millisecond))
			if got != "late" || err != want {
				t.Errorf("got %q, %v, want late, %v", got, err, want)
			}
		}
	})
}

func TestTimeoutBoundsWaitingAndRunningTogether(t *testing.T) {
	for name, p := range map[string]protect.Policy{
		"bulkhead": {Bulkhead: &protect.BulkheadPolicy{Max: 1, Wait: time.Minute}},
		"pool":     {Pool: &protect.PoolPolicy{Size: 1, Wait: time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := newRuntime(t)
				configure(t, rt, "api", p)
				go protect.Execute(t.Context(), rt, "api", func(context.Context) (string, error) {
					time.Sleep(30 * time.Millisecond)
					return "", nil
				})
				synctest.Wait()
				start := time.Now()
				_, err := protect.Execute(t.Context(), rt, "api", func(ctx context.Context) (string, error) {
					if got := time.Since(start); got != 30*time.Millisecond {
						t.Errorf("waited %v, want 30ms", got)
					}
					<-ctx.Done()
					return "", ctx.Err()
				}, protect.Timeout(50*time.Millisecond))
				wantErr(t, "timed out", err, protect.ErrTimeout)
				if got := time.Since(start); got != 50*time.Millisecond {
					t.Errorf("took %v, want 50ms", got)
				}
			})
		})
	}
}

// item is a pooled instance that knows which one it is.
type item struct{ id int }

// items returns a pool of them.
func items(t *testing.T, rt *protect.Runtime, name string, p protect.PoolPolicy) *protect.Pool[*item] {
	t.Helper()
	var made atomic.Int64
	pool, err := protect.NewPool(rt, name, p, protect.Factory[*item]{
		New: func(context.Context) (*item, error) { return &item{int(made.Add(1))}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestCallsOnAPoolRunAtOnceAndHoldUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		pool := items(t, rt, "db", protect.PoolPolicy{Size: 10})
		start := time.Now()
		var calls sync.WaitGroup
		for range 10 {
			calls.Go(func() {
				_, err := protect.ExecuteOn(t.Context(), rt, "api", pool, func(context.Context, *item) (int, error) {
					time.Sleep(100 * time.Millisecond)
					return 0, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()

		other := items(t, rt, "other", protect.PoolPolicy{Prefill: 1})
		configure(t, rt, "api", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}})
		if h := rt.Health(); h.Pools["db"].Active != 10 || len(rt.Pools()) != 2 {
			t.Errorf("health %+v, pools %v", h, rt.Pools())
		}
		if _, err := rt.Status("api"); err != nil {
			t.Error(err)
		}
		wantErr(t, "Close of the other", other.Close(t.Context()), nil)
		if took := time.Since(start); took != 0 {
			t.Errorf("all of that waited %v for the calls", took)
		}
		calls.Wait()
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("ten calls took %v", took)
		}
	})
}

func TestNestedCallsNeedAnInstanceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		a, b := items(t, rt, "a", protect.PoolPolicy{Size: 1, Wait: time.Second}), items(t, rt, "b", protect.PoolPolicy{Size: 1})
		_, err := protect.ExecuteOn(t.Context(), rt, "outer", a, func(ctx context.Context, _ *item) (int, error) {
			on := func(context.Context, *item) (int, error) { return 0, nil }
			_, err := protect.ExecuteOn(ctx, rt, "inner", b, on)
			wantErr(t, "on another pool", err, nil)
			_, err = protect.ExecuteOn(ctx, rt, "inner", a, on)
			wantErr(t, "on the same pool", err, protect.ErrPoolTimeout)
			return 0, nil
		})
		wantErr(t, "the outer call", err, nil)
	})
}

func TestLateCallKeepsItsInstanceUntilItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		pool := items(t, rt, "db", protect.PoolPolicy{Size: 1, Wait: time.Minute})
		start := time.Now()
		var late *item
		go protect.ExecuteOn(t.Context(), rt, "api", pool, func(_ context.Context, i *item) (int, error) {
			late = i
			time.Sleep(300 * time.Millisecond)
			return 0, nil
		}, protect.Timeout(50*time.Millisecond))
		time.Sleep(60 * time.Millisecond)
		_, err := protect.ExecuteOn(t.Context(), rt, "api", pool, func(_ context.Context, i *item) (int, error) {
			if waited := time.Since(start); waited != 300*time.Millisecond || i != late {
				t.Errorf("instance %d was lent after %v, want %d when it came back, at 300ms", i.id, waited, late.id)
			}
			return 0, nil
		})
		wantErr(t, "the next call", err, nil)
	})
}

func TestPanicOnOnePoolLeavesTheOtherAlone(t *testing.T) {
	rt := newRuntime(t)
	a, b := items(t, rt, "a", protect.PoolPolicy{Size: 1}), items(t, rt, "b", protect.PoolPolicy{Size: 1})
	call := func(pool *protect.Pool[*item], fn func()) (id int, err error) {
		_, err = protect.ExecuteOn(t.Context(), rt, "api", pool, func(_ context.Context, i *item) (int, error) {
			id = i.id
			fn()
			return 0, nil
		})
		return id, err
	}
	for range 2 {
		if id, err := call(b, func() {}); id != 1 || err != nil {
			t.Errorf("the other pool lent %d, %v, want the instance that it had", id, err)
		}
		if _, err := call(a, func() { panic("boom") }); protect.KindOf(err) != protect.KindPanic {
			t.Errorf("got %v, want the panic", err)
		}
	}
	if id, err := call(a, func() {}); id != 3 || err != nil {
		t.Errorf("after two panics it lent %d, %v, want a third instance", id, err)
	}
}

// A policy may come before its pool: until then it bounds the calls alone.
func TestPoolStartedUnderAKeyTakesThePlaceOfItsPermits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		configure(t, rt, "api", protect.Policy{Pool: &protect.PoolPolicy{Size: 1, Wait: time.Hour}})
		leave := hold(rt, "api")
		waiting := make(chan error)
		go func() {
			_, err := protect.Execute(t.Context(), rt, "api", succeed)
			waiting <- err
		}()
		synctest.Wait()

		pool := items(t, rt, "api", protect.PoolPolicy{Size: 2})

		wantErr(t, "who waited for a permit", <-waiting, nil)
		if s, err := rt.Status("api"); err != nil || s.Pool.Size != 2 || s.Pool.Idle != 1 {
			t.Errorf("status %+v, %v: the call did not run on the pool", s.Pool, err)
		}
		wantErr(t, "who had one", leave(), nil)
		wantErr(t, "Close of the pool", pool.Close(t.Context()), nil)
		leave = hold(rt, "api")
		if s, err := rt.Status("api"); err != nil || s.Pool.Size != 1 || s.Pool.Active != 1 {
			t.Errorf("status %+v, %v: no permits stand where the pool was", s.Pool, err)
		}
		wantErr(t, "on a permit again", leave(), nil)
	})
}

// Permits are a pool like any other, and who finds them may close them. The
// policy holds on.
func TestPermitsThatWereClosedAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		configure(t, rt, "api", protect.Policy{Pool: &protect.PoolPolicy{Size: 1}})
		permits, err := protect.PoolOf[struct{}](rt, "api")
		wantErr(t, "PoolOf", err, nil)
		wantErr(t, "Close", permits.Close(t.Context()), nil)
		leave := hold(rt, "api")
		if s, err := rt.Status("api"); err != nil || s.Pool.Size != 1 || s.Pool.Active != 1 {
			t.Errorf("status %+v, %v: nothing bounds the calls", s.Pool, err)
		}
		wantErr(t, "Execute", leave(), nil)
	})
}

// All refusals are of one type, and say who refused whom, and why.
func TestEveryRefusalSaysWhoseItIs(t *testing.T) {
	hour := time.Hour
	rt := newRuntime(t)
	down, err := rt.NewBreaker("down", protect.BreakerPolicy{Failures: 1, Recovery: hour})
	wantErr(t, "NewBreaker", err, nil)
	_ = down.Do(t.Context(), func(context.Context) error { return errBackend })
	for _, c := range []struct {
		kind   protect.Kind
		policy protect.Policy
		name   string
		after  time.Duration
		opts   []protect.ExecuteOption
	}{
		{protect.KindRateLimited, protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: hour}}, "api", hour, nil},
		{protect.KindBreakerOpen, protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: hour}}, "api", hour, nil},
		{protect.KindDependencyOpen, protect.Policy{Breaker: &protect.BreakerPolicy{Needs: []string{"down"}}}, "api", hour, nil},
		{protect.KindBulkheadFull, protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 1}}, "api", 0, nil},
		{protect.KindPoolTimeout, protect.Policy{Pool: &protect.PoolPolicy{Size: 1, Wait: 1}}, "api", 0, nil},
		{protect.KindTimeout, protect.Policy{Timeout: 1}, "", 0, nil},
		{protect.KindNotFound, protect.Policy{}, "limiter", 0, []protect.ExecuteOption{protect.UseLimiter("limiter", "")}},
		{protect.KindNotFound, protect.Policy{}, "breaker", 0, []protect.ExecuteOption{protect.UseBreaker("breaker")}},
		{protect.KindNotFound, protect.Policy{}, "pool", 0, []protect.ExecuteOption{protect.UsePool("pool")}},
	} {
		rt.Remove("api")
		configure(t, rt, "api", c.policy)
		var err error
		_, outer := protect.Execute(t.Context(), rt, "api", func(ctx context.Context) (string, error) {
			_, err = protect.Execute(ctx, rt, "api", succeed, c.opts...)
			return "", errBackend
		}, c.opts...)
		if err == nil && outer != errBackend {
			err = outer // refused at once
		}
		if err == nil {
			_, err = protect.Execute(t.Context(), rt, "api", succeed, c.opts...)
		}
		refusal, ok := err.(*protect.Error)
		if !ok || refusal.Kind != c.kind || refusal.Key != "api" || refusal.Name != c.name {
			t.Errorf("%v: got %#v, want it of %q, from %q", c.kind, err, "api", c.name)
			continue
		}
		if after := refusal.RetryAfter; after > c.after || after < c.after-time.Minute {
			t.Errorf("%v: retry after %v, want about %v", c.kind, after, c.after)
		}
		if c.kind == protect.KindDependencyOpen && !strings.Contains(refusal.Err.Error(), "down") {
			t.Errorf("%v does not name the dependency", err)
		}
	}
}

func TestExecuteHasFiveSecondsByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		deadline := func(ctx context.Context, opts ...protect.ExecuteOption) time.Duration {
			left, err := protect.Execute(ctx, rt, "api", func(ctx context.Context) (time.Duration, error) {
				d, ok := ctx.Deadline()
				if !ok {
					return -1, nil
				}
				return time.Until(d), nil
			}, opts...)
			if err != nil {
				t.Fatal(err)
			}
			return left
		}
		if got := deadline(t.Context()); got != 5*time.Second {
			t.Errorf("default: %v", got)
		}
		early, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := deadline(early); got != time.Second {
			t.Errorf("the caller's earlier deadline: %v", got)
		}
		if got := deadline(t.Context(), protect.Timeout(protect.Forever)); got != -1 {
			t.Errorf("forever: %v", got)
		}
		configure(t, rt, "api", protect.Policy{Timeout: 7 * time.Second})
		if got := deadline(t.Context()); got != 7*time.Second {
			t.Errorf("the policy's: %v", got)
		}
		if got := deadline(t.Context(), protect.Timeout(time.Minute)); got != time.Minute {
			t.Errorf("the option's: %v", got)
		}
	})
}

func TestGuardHasNoDeadlineUnlessItsPolicySaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		g := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast"})
		for _, want := range []time.Duration{0, time.Minute, protect.Forever} {
			if want != 0 {
				configure(t, rt, "w.W.Forecast", protect.Policy{Timeout: want})
			}
			err := g.Do(t.Context(), "", func(ctx context.Context, _ weather) error {
				d, ok := ctx.Deadline()
				if ok != (want == time.Minute) || ok && time.Until(d) != want {
					t.Errorf("a deadline in %v (%v), with a timeout of %v", time.Until(d), ok, want)
				}
				return nil
			})
			wantErr(t, "Do", err, nil)
		}
	})
}

// One shape of errors, whatever the layers.
func TestErrorsAreTheSameWhateverTheLayers(t *testing.T) {
	policies := map[string]protect.Policy{
		"none":     {},
		"limiter":  {Limit: &protect.LimitPolicy{Tokens: 1000, Window: time.Hour}},
		"breaker":  {Breaker: &protect.BreakerPolicy{Failures: 1000}},
		"bulkhead": {Bulkhead: &protect.BulkheadPolicy{Max: 1}},
		"pool":     {Pool: &protect.PoolPolicy{Size: 1}},
		"all": {
			Limit:    &protect.LimitPolicy{Tokens: 1000, Window: time.Hour},
			Breaker:  &protect.BreakerPolicy{Failures: 1000},
			Bulkhead: &protect.BulkheadPolicy{Max: 1}, Pool: &protect.PoolPolicy{Size: 1},
		},
	}
	endings := map[string]struct {
		call func(ctx context.Context, cancel context.CancelFunc) (string, error)
		kind protect.Kind
		is   error
	}{
		"error":   {func(context.Context, context.CancelFunc) (string, error) { return "", errBackend }, protect.KindOperation, errBackend},
		"panic":   {func(context.Context, context.CancelFunc) (string, error) { panic(errBackend) }, protect.KindPanic, errBackend},
		"timeout": {func(ctx context.Context, _ context.CancelFunc) (string, error) { <-ctx.Done(); return "", ctx.Err() }, protect.KindTimeout, context.DeadlineExceeded},
		"cancel": {func(ctx context.Context, cancel context.CancelFunc) (string, error) {
			cancel()
			<-ctx.Done()
			return "", ctx.Err()
		}, protect.KindOperation, context.Canceled},
	}
	for policy, p := range policies {
		for ending, e := range endings {
			t.Run(policy+","+ending, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rt := newRuntime(t)
					configure(t, rt, "api", p)
					for range 2 { // the second call finds everything given back
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						_, err := protect.Execute(ctx, rt, "api", func(ctx context.Context) (string, error) {
							return e.call(ctx, cancel)
						}, protect.Timeout(10*time.Millisecond))
						if got := protect.KindOf(err); got != e.kind {
							t.Errorf("kind = %v, want %v", got, e.kind)
						}
						wantErr(t, ending, err, e.is)
					}
				})
			})
		}
	}
}

func TestGoexitHoldsNothing(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "api", protect.Policy{
		Breaker:  &protect.BreakerPolicy{Failures: 2, Recovery: time.Hour},
		Bulkhead: &protect.BulkheadPolicy{Max: 1}, Pool: &protect.PoolPolicy{Size: 1},
	})
	for range 2 {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = protect.Execute(t.Context(), rt, "api", func(context.Context) (string, error) {
				goexit()
				return "", nil
			})
		})
		wg.Wait()
	}
	s, err := rt.Status("api")
	if err != nil {
		t.Fatal(err)
	}
	if s.Bulkhead.Active != 0 || s.Pool.Active != 0 {
		t.Errorf("still held: bulkhead %+v, pool %+v", s.Bulkhead, s.Pool)
	}
	if s.Breaker.State != protect.Open {
		t.Errorf("two calls that ended their goroutine left the breaker %v, want open", s.Breaker.State)
	}
}

func TestRethrowGivesEverythingBackFirst(t *testing.T) {
	rt := newRuntime(t, protect.WithRethrow())
	configure(t, rt, "api", protect.Policy{
		Breaker:  &protect.BreakerPolicy{Failures: 2, Recovery: time.Hour},
		Bulkhead: &protect.BulkheadPolicy{Max: 1},
	})
	for range 2 {
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("recovered %v, want boom", v)
				}
			}()
			_, _ = protect.Execute(t.Context(), rt, "api", func(context.Context) (string, error) { panic("boom") })
		}()
	}
	s, _ := rt.Status("api")
	if s.Bulkhead.Active != 0 || s.Breaker.State != protect.Open {
		t.Errorf("bulkhead %+v, breaker %+v", s.Bulkhead, s.Breaker)
	}
}

func TestExecuteOnHandsTheInstanceOver(t *testing.T) {
	rt := newRuntime(t)
	pool, err := protect.NewPool(rt, "db", protect.PoolPolicy{Size: 1}, protect.Factory[*int]{
		New: func(context.Context) (*int, error) { return new(42), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := protect.ExecuteOn(t.Context(), rt, "query", pool, func(_ context.Context, conn *int) (int, error) {
		if s := pool.Status(); s.Active != 1 {
			t.Errorf("status = %+v while running", s)
		}
		return *conn, nil
	})
	if got != 42 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestUsePoolHoldsAnInstanceOfThatPool(t *testing.T) {
	rt := newRuntime(t)
	_, err := protect.Execute(t.Context(), rt, "query", succeed, protect.UsePool("db"))
	wantErr(t, "missing pool", err, protect.ErrNotFound)
	pool, err := protect.NewPool(rt, "db", protect.PoolPolicy{Size: 1}, protect.Factory[int]{
		New: func(context.Context) (int, error) { return 1, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = protect.Execute(t.Context(), rt, "query", func(context.Context) (int, error) {
		return pool.Status().Active, nil
	}, protect.UsePool("db"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = protect.Execute(t.Context(), rt, "query", succeed, protect.UseBreaker("none"))
	wantErr(t, "missing breaker", err, protect.ErrNotFound)
}

func TestNothingToCallIsInvalid(t *testing.T) {
	rt := newRuntime(t)
	_, err := protect.Execute[int](t.Context(), rt, "api", nil)
	wantErr(t, "nil function", err, protect.ErrInvalid)
	_, err = protect.ExecuteOn[int, int](t.Context(), rt, "api", nil, func(context.Context, int) (int, error) { return 0, nil })
	wantErr(t, "nil pool", err, protect.ErrInvalid)
	_, err = protect.Execute(t.Context(), rt, "api", succeed, protect.Timeout(-1))
	wantErr(t, "negative timeout", err, protect.ErrInvalid)

	pool, err := protect.NewPool(rt, "db", protect.PoolPolicy{}, protect.Factory[int]{New: func(context.Context) (int, error) { return 0, nil }})
	wantErr(t, "NewPool", err, nil)
	_, err = protect.ExecuteOn[int, int](t.Context(), rt, "api", pool, nil)
	wantErr(t, "nil function on a pool", err, protect.ErrInvalid)
	on := func(context.Context, int) (int, error) { return 0, nil }
	_, err = protect.ExecuteOn(t.Context(), rt, "api", pool, on, protect.UsePool("db"))
	wantErr(t, "two pools", err, protect.ErrInvalid)
	_, err = protect.ExecuteOn(t.Context(), rt, "api", pool, on, nil)
	wantErr(t, "a nil option", err, nil)

	wantErr(t, "nil function of a guard", guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast"}).Do(t.Context(), "", nil), protect.ErrInvalid)
	_, err = protect.NewPooledGuards[weather](rt, nil, protect.Spec{Key: "w.W.Pooled"})
	wantErr(t, "a guard without its pool", err, protect.ErrInvalid)
	_, err = protect.NewGuards[weather](rt, &station{}, protect.Spec{})
	wantErr(t, "a guard without a key", err, protect.ErrInvalid)
}

func TestPartsNeedANameAndSettingsThatHold(t *testing.T) {
	rt := newRuntime(t)
	factory := protect.Factory[int]{New: func(context.Context) (int, error) { return 0, nil }}
	for _, c := range []struct {
		name string
		bad  bool
	}{{"", false}, {"part", true}} {
		limit, breaker, pool := protect.LimitPolicy{Tokens: 1, Window: time.Hour}, protect.BreakerPolicy{}, protect.PoolPolicy{}
		if c.bad {
			limit.Tokens, breaker.Failures, pool.Size = 0, -1, -1
		}
		_, err := rt.NewLimiter(c.name, limit)
		wantErr(t, "NewLimiter", err, protect.ErrInvalid)
		_, err = rt.NewBreaker(c.name, breaker)
		wantErr(t, "NewBreaker", err, protect.ErrInvalid)
		_, err = protect.NewPool(rt, c.name, pool, factory)
		wantErr(t, "NewPool", err, protect.ErrInvalid)
	}
	if names := slices.Concat(rt.Limiters(), rt.Breakers(), rt.Pools()); len(names) != 0 {
		t.Errorf("there are %v", names)
	}
}

// The process-wide Runtime is what a nil one means. It is not closed here, for
// nothing opens it again.
func TestNoRuntimeIsTheDefault(t *testing.T) {
	configure(t, protect.Default(), "api", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 2, Window: time.Hour}})
	defer protect.Default().Remove("api")
	if protect.Default().Scope("") != protect.Default() {
		t.Error("a scope without a name is another one")
	}
	if _, err := protect.Execute(t.Context(), nil, "api", succeed); err != nil {
		t.Fatal(err)
	}
	g := guard(t, nil, &station{}, protect.Spec{Key: "w.W.Forecast"})
	if _, err := forecast(t.Context(), g, "", "Oslo"); err != nil {
		t.Fatal(err)
	}
	pool, err := protect.NewPool(nil, "db", protect.PoolPolicy{}, protect.Factory[int]{New: func(context.Context) (int, error) { return 0, nil }})
	wantErr(t, "NewPool", err, nil)
	defer func() { wantErr(t, "Close", pool.Close(t.Context()), nil) }()
	if got, err := protect.PoolOf[int](nil, "db"); got != pool || err != nil {
		t.Errorf("PoolOf: %v, %v", got, err)
	}
	_, err = protect.ExecuteOn(t.Context(), nil, "api", pool, func(context.Context, int) (int, error) { return 0, nil })
	wantErr(t, "ExecuteOn", err, nil)
	_, err = protect.Execute(t.Context(), nil, "api", succeed)
	wantErr(t, "the third call", err, protect.ErrRateLimited)
}

func TestFirstOfReturnsTheFirstSuccess(t *testing.T) {
	calls := ""
	step := func(name string, err error) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { calls += name; return name, err }
	}
	errA, errB := errors.New("a"), errors.New("b")

	got, err := protect.FirstOf(t.Context(), step("a", errA), step("b", nil), step("c", nil))
	if got != "b" || err != nil || calls != "ab" {
		t.Errorf("got %q, %v after %s", got, err, calls)
	}
	_, err = protect.FirstOf(t.Context(), step("a", errA), func(context.Context) (string, error) { panic("boom") }, nil, step("b", errB))
	for _, want := range []error{protect.ErrAllFailed, errA, errB} {
		wantErr(t, "all failed", err, want)
	}
	if _, ok := errors.AsType[*protect.PanicError](err); !ok {
		t.Error("the panic is not among the causes")
	}
	_, err = protect.FirstOf[int](t.Context())
	wantErr(t, "nothing to try", err, protect.ErrAllFailed)

	ctx, cancel := context.WithCancel(t.Context())
	calls = ""
	_, err = protect.FirstOf(ctx, func(context.Context) (string, error) { cancel(); return "", errA }, step("b", nil))
	wantErr(t, "cancelled", err, context.Canceled)
	if calls != "" {
		t.Error("went on after the caller cancelled")
	}
}
