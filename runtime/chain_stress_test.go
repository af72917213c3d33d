package runtime_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// What the simulation does step by step happens at once here, in real time and
// on all processors: calls that end in every way, policies that change, views
// that look, scopes that close. The race detector has its say, and at the end
// nothing is held.
func TestChainUnderStressHoldsNothing(t *testing.T) {
	const workers, calls = 8, 300
	var starts, stops, inside, made, closed atomic.Int64
	rt := protect.New(protect.WithObserver(protect.ObserverFunc(func(_ context.Context, e protect.Event) {
		switch e.Kind {
		case protect.EventStart:
			starts.Add(1)
		case protect.EventStop:
			stops.Add(1)
		}
	})))
	pool, err := protect.NewPool(rt, "db", protect.PoolPolicy{Size: 2, Overflow: 2, Wait: 5 * time.Millisecond}, protect.Factory[*int]{
		New: func(context.Context) (*int, error) {
			if rand.IntN(10) == 0 {
				return nil, errBackend
			}
			made.Add(1)
			return new(int), nil
		},
		Close:  func(*int) error { closed.Add(1); return nil },
		Check:  func(context.Context, *int) error { return nil },
		Broken: func(err error) bool { return errors.Is(err, errBackend) },
	})
	if err != nil {
		t.Fatal(err)
	}
	// On an instance of 2 + 2, and 3 at once.
	guards, err := protect.NewPooledGuards(rt, pool, protect.Spec{Key: "w.W.Q", Policy: protect.Policy{
		Limit:    &protect.LimitPolicy{Tokens: 1 << 40, Window: time.Hour},
		Breaker:  &protect.BreakerPolicy{Failures: 3, Recovery: time.Microsecond, Probes: 2},
		Bulkhead: &protect.BulkheadPolicy{Max: 3, Wait: 5 * time.Millisecond},
	}})
	if err != nil {
		t.Fatal(err)
	}
	callee := func(ctx context.Context, i int) error {
		switch i % 7 {
		case 0:
			return errBackend
		case 1:
			panic(errBackend)
		case 2:
			goexit()
		case 3:
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	call := func(i int) {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Microsecond)
		defer cancel()
		switch i % 3 {
		case 0:
			_ = guards[0].Do(ctx, "ada", func(ctx context.Context, instance *int) error {
				if n := inside.Add(1); n > 3 {
					t.Errorf("%d calls at once, want 3 at most", n)
				}
				defer inside.Add(-1)
				*instance++ // the race detector minds when it is lent twice
				return callee(ctx, i)
			})
		case 1:
			_, _ = protect.Execute(ctx, rt, "api", func(ctx context.Context) (int, error) { return 0, callee(ctx, i) })
		case 2:
			_, _ = protect.Execute(ctx, rt.Scope("eu"), "api", func(ctx context.Context) (int, error) { return 0, callee(ctx, i) })
		}
	}

	done := make(chan struct{})
	var changes sync.WaitGroup
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			p := protect.Policy{
				Breaker:  &protect.BreakerPolicy{Failures: 1 + i%3, Recovery: time.Microsecond},
				Bulkhead: &protect.BulkheadPolicy{Max: 1 + i%4, Wait: time.Millisecond},
				Pool:     &protect.PoolPolicy{Size: 1 + i%2, Wait: time.Millisecond},
			}
			if err := rt.Configure("api", p); err != nil {
				t.Errorf("Configure: %v", err)
			}
			if i%5 == 0 {
				rt.Remove("api")
			}
			eu := rt.Scope("eu")
			if err := eu.Configure("api", p); err != nil && !errors.Is(err, protect.ErrClosed) {
				t.Errorf("Configure in the scope: %v", err)
			}
			if i%7 == 0 {
				_ = eu.Close(context.Background())
			}
			_, _ = rt.Status("api")
			_ = rt.Health()
		}
	})
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := range calls {
				apart(func() { call(worker + i) })
			}
		})
	}
	wg.Wait()
	close(done)
	changes.Wait()

	s, err := rt.Status("w.W.Q")
	if err != nil || s.Bulkhead.Active != 0 || s.Bulkhead.Waiting != 0 || s.Pool.Active != 0 || s.Pool.Waiting != 0 {
		t.Errorf("still held: %+v, %+v, %v", s.Bulkhead, s.Pool, err)
	}
	if err := rt.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	if starts.Load() != workers*calls || stops.Load() != workers*calls {
		t.Errorf("%d starts and %d stops of %d calls", starts.Load(), stops.Load(), workers*calls)
	}
	if made.Load() == 0 || made.Load() != closed.Load() {
		t.Errorf("%d instances were made and %d closed", made.Load(), closed.Load())
	}
}
