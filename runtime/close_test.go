package runtime_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	limiter "github.com/sethvargo/go-limiter"

	protect "github.com/protectgen/protectgen/runtime"
)

// hold makes a call that stays until the returned function is called, which
// returns its error.
func hold(rt *protect.Runtime, key string, opts ...protect.ExecuteOption) (leave func() error) {
	gate, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := protect.Execute(context.Background(), rt, key, func(context.Context) (int, error) {
			<-gate
			return 0, nil
		}, append(opts, protect.Timeout(protect.Forever))...)
		done <- err
	}()
	synctest.Wait()
	return func() error {
		close(gate)
		return <-done
	}
}

// closing begins to close rt and returns what that came to.
func closing(rt *protect.Runtime) <-chan error {
	done := make(chan error, 1)
	go func() { done <- rt.Close(context.Background()) }()
	synctest.Wait()
	return done
}

func notYet(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("Close returned too early: %v", err)
	default:
	}
}

func TestClosingAnOldViewLeavesTheNewScopeAlone(t *testing.T) {
	rt := newRuntime(t)
	old := rt.Scope("eu")
	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	eu := rt.Scope("eu")
	configure(t, eu, "api", protect.Policy{Breaker: &protect.BreakerPolicy{}})

	if err := old.Close(t.Context()); err != nil {
		t.Errorf("closing again: %v", err)
	}

	if _, err := protect.Execute(t.Context(), eu, "api", succeed); err != nil {
		t.Errorf("a call in the new scope: %v", err)
	}
	if _, ok := old.Policy("api"); ok || len(old.Keys())+len(old.Breakers()) != 0 {
		t.Errorf("the old view shows %v and %v of the new scope", old.Keys(), old.Breakers())
	}
	if got, want := rt.Keys(), []string{"eu/api"}; !slices.Equal(got, want) {
		t.Errorf("keys = %v, want %v", got, want)
	}
}

func TestCloseWaitsForScopesThatAreClosingAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		eu := rt.Scope("eu")
		leave := hold(eu, "api")
		scope := closing(eu)

		whole := closing(rt)
		notYet(t, whole)

		if err := leave(); err != nil {
			t.Errorf("the call under way: %v", err)
		}
		if err := <-whole; err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-scope; err != nil {
			t.Errorf("Close of the scope: %v", err)
		}
	})
}

// What is made under the name of a scope that ends would be dropped with it,
// and closed by nobody.
func TestNothingIsMadeInAScopeThatIsClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		eu := rt.Scope("eu")
		leave := hold(eu, "api")
		scope := closing(eu)
		notYet(t, scope)

		limit := protect.LimitPolicy{Tokens: 1, Window: time.Hour}
		var closed atomic.Int64
		factory := protect.Factory[int]{
			New:   func(context.Context) (int, error) { return 0, nil },
			Close: func(int) error { closed.Add(1); return nil },
		}
		_, err := rt.NewLimiter("eu/limiter", limit)
		wantErr(t, "NewLimiter", err, protect.ErrClosed)
		_, err = rt.NewBreaker("eu/west/breaker", protect.BreakerPolicy{})
		wantErr(t, "NewBreaker", err, protect.ErrClosed)
		_, err = protect.NewPool(rt, "eu/pool", protect.PoolPolicy{Prefill: 1}, factory)
		wantErr(t, "NewPool", err, protect.ErrClosed)
		if closed.Load() != 1 {
			t.Errorf("the instance of the refused pool was closed %d times", closed.Load())
		}
		wantErr(t, "Configure", rt.Configure("eu/key", protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 1}}), protect.ErrClosed)
		_, err = protect.NewGuards[weather](rt, &station{}, protect.Spec{Key: "eu/w.W.Forecast"})
		wantErr(t, "NewGuards", err, protect.ErrClosed)
		if _, err := rt.NewLimiter("europe/limiter", limit); err != nil {
			t.Errorf("a name that only begins alike: %v", err)
		}

		_ = leave()
		if err := <-scope; err != nil {
			t.Fatal(err)
		}
		if _, err := rt.NewLimiter("eu/limiter", limit); err != nil {
			t.Errorf("once the scope has ended: %v", err)
		}
	})
}

func TestScopeInsideOneThatIsClosingHasEndedWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t)
		leave := hold(rt.Scope("eu"), "api")
		done := closing(rt.Scope("eu"))

		west := rt.Scope("eu/west")
		_, err := protect.Execute(t.Context(), west, "api", succeed)
		wantErr(t, "while it closes", err, protect.ErrClosed)

		_ = leave()
		wantErr(t, "Close of the scope", <-done, nil)
		wantErr(t, "Close", rt.Close(t.Context()), nil)
		_, err = protect.Execute(t.Context(), west, "api", succeed)
		wantErr(t, "after Close", err, protect.ErrClosed)
		_, err = west.NewBreaker("api", protect.BreakerPolicy{})
		wantErr(t, "NewBreaker after Close", err, protect.ErrClosed)
	})
}

func TestCloseRefusesWhoeverWaits(t *testing.T) {
	for name, p := range map[string]protect.Policy{
		"limiter":  {Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour, Wait: 2 * time.Hour}},
		"bulkhead": {Bulkhead: &protect.BulkheadPolicy{Max: 1, Wait: protect.Forever}},
		"pool":     {Pool: &protect.PoolPolicy{Size: 1, Wait: protect.Forever}},
	} {
		t.Run(name, func(t *testing.T) {
			stores := protect.WithStores(protect.OpenSimStore)
			synctest.Test(t, func(t *testing.T) {
				rt := newRuntime(t, stores)
				configure(t, rt, "api", p)
				leave := hold(rt, "api")
				waiting := make(chan error, 1)
				go func() {
					_, err := protect.Execute(t.Context(), rt, "api", succeed, protect.Timeout(protect.Forever))
					waiting <- err
				}()
				synctest.Wait()
				start := time.Now()

				done := closing(rt)

				wantErr(t, "who waits", <-waiting, protect.ErrClosed)
				if waited := time.Since(start); waited != 0 {
					t.Errorf("refused after %v", waited)
				}
				notYet(t, done)
				if err := leave(); err != nil {
					t.Errorf("the call under way: %v", err)
				}
				if err := <-done; err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		})
	}
}

func TestAfterCloseNothingWorksAndNothingBreaks(t *testing.T) {
	rt := protect.New()
	ctx := t.Context()
	limit := protect.LimitPolicy{Tokens: 9, Window: time.Hour, Wait: time.Hour}
	factory := protect.Factory[int]{New: func(context.Context) (int, error) { return 0, nil }}
	configure(t, rt, "api", protect.Policy{Limit: &limit, Breaker: &protect.BreakerPolicy{}, Bulkhead: &protect.BulkheadPolicy{Max: 1}})
	l, err := rt.NewLimiter("limiter", limit)
	wantErr(t, "NewLimiter", err, nil)
	b, err := rt.NewBreaker("breaker", protect.BreakerPolicy{})
	wantErr(t, "NewBreaker", err, nil)
	pool, err := protect.NewPool(rt, "pool", protect.PoolPolicy{}, factory)
	wantErr(t, "NewPool", err, nil)
	g := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast"})
	pooled, err := protect.NewPooledGuards(rt, pool, protect.Spec{Key: "w.W.Pooled"})
	wantErr(t, "NewPooledGuards", err, nil)
	eu := rt.Scope("eu")
	wantErr(t, "Close", rt.Close(ctx), nil)

	nothing := func(context.Context) error { return nil }
	none := func(_ any, err error) error { return err }
	for _, view := range []*protect.Runtime{rt, eu, rt.Scope("eu"), rt.Scope("us").Scope("west")} {
		for what, err := range map[string]error{
			"Configure":  view.Configure("api", protect.Policy{}),
			"Status":     none(view.Status("api")),
			"NewLimiter": none(view.NewLimiter("limiter", limit)),
			"NewBreaker": none(view.NewBreaker("breaker", protect.BreakerPolicy{})),
			"NewPool":    none(protect.NewPool(view, "pool", protect.PoolPolicy{}, factory)),
			"NewGuards":  none(protect.NewGuards[weather](view, &station{}, protect.Spec{Key: "k"})),
			"Limiter":    none(view.Limiter("limiter")),
			"Breaker":    none(view.Breaker("breaker")),
			"PoolOf":     none(protect.PoolOf[int](view, "pool")),
			"Execute":    none(protect.Execute(ctx, view, "api", succeed)),
			"ExecuteOn":  none(protect.ExecuteOn(ctx, view, "api", pool, func(context.Context, int) (int, error) { return 0, nil })),
		} {
			if !errors.Is(err, protect.ErrClosed) {
				t.Errorf("%s: got %v, want %v", what, err, protect.ErrClosed)
			}
		}
		view.Remove("api")
		if _, ok := view.Policy("api"); ok {
			t.Error("a policy is there still")
		}
		if names := slices.Concat(view.Keys(), view.Limiters(), view.Breakers(), view.Pools()); len(names) != 0 {
			t.Errorf("there are %v", names)
		}
		if h := view.Health(); h.Healthy || len(h.Problems) != 1 {
			t.Errorf("health = %+v", h)
		}
		wantErr(t, "Close again", view.Close(ctx), nil)
	}
	for what, err := range map[string]error{
		"Limiter.Take":   l.Take(ctx, "me"),
		"Limiter.Do":     l.Do(ctx, "me", nothing),
		"Limiter.Status": none(l.Status(ctx, "me")),
		"Limiter.Reset":  l.Reset(ctx, "me"),
		"Breaker.Do":     b.Do(ctx, nothing),
		"Pool.Do":        pool.Do(ctx, func(context.Context, int) error { return nil }),
		"Guard.Do":       none(forecast(ctx, g, "", "Oslo")),
		"With":           none(forecast(ctx, g.With(&station{}), "", "Oslo")),
		"pooled":         pooled[0].Do(ctx, "", func(context.Context, int) error { return nil }),
	} {
		if !errors.Is(err, protect.ErrClosed) {
			t.Errorf("%s: got %v, want %v", what, err, protect.ErrClosed)
		}
	}
	b.ForceOpen()
	b.ForceClosed()
	b.Reset()
	wantErr(t, "Breaker.Do after commands", b.Do(ctx, nothing), protect.ErrClosed)
	if s := b.Status(); s != (protect.BreakerStatus{Name: "breaker"}) {
		t.Errorf("breaker = %+v", s)
	}
	if s := pool.Status(); s.Active+s.Idle+s.Waiting != 0 {
		t.Errorf("pool = %+v", s)
	}
	wantErr(t, "Pool.Close", pool.Close(ctx), nil)
}

// closings counts how often a store is closed.
type closings struct {
	limiter.Store
	n *atomic.Int64
}

func (s closings) Close(ctx context.Context) error {
	s.n.Add(1)
	return s.Store.Close(ctx)
}

func TestStoreOfAChangeThatFailedIsClosed(t *testing.T) {
	var opened, closed atomic.Int64
	rt := newRuntime(t, protect.WithStores(func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
		opened.Add(1)
		store, err := protect.OpenSimStore(name, tokens, window)
		return closings{store, &closed}, err
	}))
	if _, err := rt.NewBreaker("api", protect.BreakerPolicy{Failures: 1}); err != nil {
		t.Fatal(err)
	}
	err := rt.Configure("api", protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 1, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{Failures: 2}, // the name is taken
	})
	wantErr(t, "Configure", err, protect.ErrInvalid)
	if opened.Load() != 1 || closed.Load() != 1 {
		t.Errorf("%d stores were opened and %d closed, want 1 of both", opened.Load(), closed.Load())
	}
}

// lateStore is closed when somebody lets it be.
type lateStore struct {
	limiter.Store
	let chan struct{}
}

func (s lateStore) Close(context.Context) error {
	<-s.let
	return nil
}

// A store that does not come to an end keeps nobody from changing policies. It
// is not forgotten: the Runtime is not closed before it is.
func TestStoresThatCloseLateDoNotHoldUpChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let, letEU := make(chan struct{}), make(chan struct{})
		rt := protect.New(protect.WithStores(func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
			store, err := protect.OpenSimStore(name, tokens, window)
			if strings.HasPrefix(name, "eu/") {
				return lateStore{store, letEU}, err
			}
			return lateStore{store, let}, err
		}))
		limit := func(tokens uint64) protect.Policy {
			return protect.Policy{Limit: &protect.LimitPolicy{Tokens: tokens, Window: time.Hour}}
		}
		configure(t, rt, "eu/api", limit(1))
		configure(t, rt, "a", limit(1))
		configure(t, rt, "b", limit(1))
		if _, err := rt.NewBreaker("c", protect.BreakerPolicy{Failures: 1}); err != nil {
			t.Fatal(err)
		}
		eu := rt.Scope("eu")

		start := time.Now()
		taken := limit(1)
		taken.Breaker = &protect.BreakerPolicy{Failures: 2}
		for _, change := range []struct {
			name string
			do   func() error
			want error
		}{
			{"a limit with other settings", func() error { return rt.Configure("a", limit(2)) }, nil},
			{"two at once", func() error { return rt.ConfigureAll(map[string]protect.Policy{"a": limit(3)}, "b") }, nil},
			{"a change that fails", func() error { return rt.Configure("c", taken) }, protect.ErrInvalid},
			{"a key without a limit", func() error { return eu.Configure("api", protect.Policy{}) }, nil},
		} {
			wantErr(t, change.name, change.do(), change.want)
			if took := time.Since(start); took != time.Second {
				t.Errorf("%s took %v", change.name, took)
			}
			start = time.Now()
		}

		// The scope has a store of its own to wait for, and the Runtime all.
		closing := func(rt *protect.Runtime) error {
			soon, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return rt.Close(soon)
		}
		wantErr(t, "Close of the scope", closing(eu), context.DeadlineExceeded)
		close(letEU)
		wantErr(t, "Close of the scope, once its store is closed", closing(eu), nil)
		wantErr(t, "Close of the Runtime", closing(rt), context.DeadlineExceeded)
		close(let)
		wantErr(t, "Close of the Runtime, once its stores are closed", closing(rt), nil)
	})
}

// Nor does an instance of a pool that became smaller.
func TestInstancesThatCloseLateDoNotHoldUpChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		rt := protect.New()
		sizes := func(n int) protect.Policy { return protect.Policy{Pool: &protect.PoolPolicy{Size: n, Prefill: n}} }
		for _, name := range []string{"a", "b"} {
			pool, err := protect.NewPool(rt, name, *sizes(3).Pool, protect.Factory[int]{
				New:   func(context.Context) (int, error) { return 0, nil },
				Close: func(int) error { <-let; return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := protect.NewPooledGuards(rt, pool, protect.Spec{Key: name + ".Get", Policy: sizes(3)}); err != nil {
				t.Fatal(err)
			}
		}

		start := time.Now()
		wantErr(t, "two at once", rt.ConfigureAll(map[string]protect.Policy{"a.Get": sizes(2), "b.Get": sizes(1)}), nil)
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %v", took)
		}
		if s, err := rt.Status("a.Get"); err != nil || s.Pool.Size != 2 {
			t.Errorf("the pool is %+v (%v)", s.Pool, err)
		}

		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantErr(t, "Close", rt.Close(soon), context.DeadlineExceeded)
		close(let)
		wantErr(t, "Close, once the instances are closed", rt.Close(t.Context()), nil)
	})
}

// What a change leaves without use is closed, whatever becomes of its caller.
func TestObserverThatEndsTheGoroutineOfAChangeLeavesNothingOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Int64
		rt := newRuntime(t, protect.WithObserver(protect.ObserverFunc(func(_ context.Context, e protect.Event) {
			if e.Kind == protect.EventBreakerInstalled {
				goexit()
			}
		})), protect.WithStores(func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
			store, err := protect.OpenSimStore(name, tokens, window)
			return closings{store, &closed}, err
		}))
		configure(t, rt, "api", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}, Pool: &protect.PoolPolicy{}})
		permits, err := protect.PoolOf[struct{}](rt, "api")
		if err != nil {
			t.Fatal(err)
		}

		go func() { _ = rt.Configure("api", protect.Policy{Breaker: &protect.BreakerPolicy{}}) }()
		synctest.Wait()

		if _, err := protect.Execute(t.Context(), rt, "api", fail); !errors.Is(err, errBackend) {
			t.Errorf("under the new policy: %v", err)
		}
		if n := closed.Load(); n != 1 {
			t.Errorf("the store of the old policy was closed %d times", n)
		}
		err = permits.Do(t.Context(), func(context.Context, struct{}) error { return nil })
		wantErr(t, "a permit of the old policy", err, protect.ErrClosed)
	})
}

func TestBreakerIsClosedWithItsRuntime(t *testing.T) {
	rt := protect.New()
	b, err := rt.NewBreaker("api", protect.BreakerPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Do", b.Do(t.Context(), func(context.Context) error { return nil }), protect.ErrClosed)
	b.ForceOpen()
	if s := b.Status(); s.State != protect.Closed || s.Forced {
		t.Errorf("a command is obeyed after Close: %+v", s)
	}
}

func TestCloseSeesOffTheCallsOfPartsToo(t *testing.T) {
	for name, do := range map[string]func(*protect.Runtime) func(func(context.Context) error) error{
		"breaker": func(rt *protect.Runtime) func(func(context.Context) error) error {
			b, err := rt.NewBreaker("part", protect.BreakerPolicy{})
			wantErr(t, "NewBreaker", err, nil)
			return func(fn func(context.Context) error) error { return b.Do(context.Background(), fn) }
		},
		"limiter": func(rt *protect.Runtime) func(func(context.Context) error) error {
			l, err := rt.NewLimiter("part", protect.LimitPolicy{Tokens: 9, Window: time.Hour})
			wantErr(t, "NewLimiter", err, nil)
			return func(fn func(context.Context) error) error { return l.Do(context.Background(), "", fn) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := protect.New()
				eu := rt.Scope("eu")
				call := do(eu)
				leave, left := make(chan struct{}), make(chan error, 1)
				go func() {
					left <- call(func(context.Context) error { <-leave; return nil })
				}()
				synctest.Wait()
				done := closing(eu)

				notYet(t, done)
				wantErr(t, "a call while it closes", call(func(context.Context) error {
					t.Error("the call was made")
					return nil
				}), protect.ErrClosed)
				whole := closing(rt)
				notYet(t, whole)

				close(leave)
				wantErr(t, "the call under way", <-left, nil)
				wantErr(t, "Close of the scope", <-done, nil)
				wantErr(t, "Close", <-whole, nil)
			})
		})
	}
}

func TestNoTokenIsTakenByHandWhileItsRuntimeCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New()
		l, err := rt.NewLimiter("part", protect.LimitPolicy{Tokens: 9, Window: time.Hour})
		wantErr(t, "NewLimiter", err, nil)
		leave := hold(rt, "api")
		done := closing(rt)

		wantErr(t, "Take", l.Take(t.Context(), ""), protect.ErrClosed)

		wantErr(t, "the call under way", leave(), nil)
		wantErr(t, "Close", <-done, nil)
	})
}

// Calls by hand leave their Runtime however they end.
func TestCloseOutlastsEveryEndOfACallByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New()
		b, err := rt.NewBreaker("breaker", protect.BreakerPolicy{Failures: 1})
		wantErr(t, "NewBreaker", err, nil)
		l, err := rt.NewLimiter("limiter", protect.LimitPolicy{Tokens: 1, Window: time.Hour})
		wantErr(t, "NewLimiter", err, nil)
		for _, fn := range []func(context.Context) error{
			func(context.Context) error { panic("no") },
			func(context.Context) error { goexit(); return nil },
			func(context.Context) error { return nil }, // refused by then
		} {
			for range 2 {
				go func() { _ = b.Do(t.Context(), fn) }()
				go func() { _ = l.Do(t.Context(), "", fn) }()
				synctest.Wait()
			}
		}
		wantErr(t, "Close", <-closing(rt), nil)
	})
}
