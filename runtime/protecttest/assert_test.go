package protecttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	limiter "github.com/sethvargo/go-limiter"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/protecttest"
)

// fakeTB is a test that remembers what was reported. Any other method than
// those that an assertion needs panics.
type fakeTB struct {
	testing.TB
	helper bool
	errors []string
}

func (t *fakeTB) Helper()                           { t.helper = true }
func (t *fakeTB) Error(args ...any)                 { t.errors = append(t.errors, fmt.Sprint(args...)) }
func (t *fakeTB) Errorf(format string, args ...any) { t.Error(fmt.Sprintf(format, args...)) }

// reports fails unless the assertion reports exactly want.
func reports(t *testing.T, assertion func(testing.TB), want ...string) {
	t.Helper()
	var fake fakeTB
	assertion(&fake)
	if !slices.Equal(fake.errors, want) {
		t.Errorf("reported %q, want %q", fake.errors, want)
	}
	if !fake.helper {
		t.Error("the assertion is no Helper: reports would name its own line")
	}
}

func TestAssertState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New()
		defer rt.Close(context.Background())
		state := func(name string, want protect.State) func(testing.TB) {
			return func(t testing.TB) { protecttest.AssertState(t, rt, name, want) }
		}
		reports(t, state("api", protect.Closed), "protect: not found: api: there is no breaker of that name; there are none")

		b, err := rt.NewBreaker("api", protect.BreakerPolicy{Failures: 2})
		if err != nil {
			t.Fatal(err)
		}
		reports(t, state("db", protect.Closed), "protect: not found: db: there is no breaker of that name; there are api")
		reports(t, state("api", protect.Closed))
		reports(t, state("api", protect.Open), "breaker api is closed, want open: 0 failures, forced false, next probe in 0s")

		for range 2 {
			_ = b.Do(t.Context(), func(context.Context) error { return errDown })
		}
		time.Sleep(10 * time.Second)
		reports(t, state("api", protect.Open))
		reports(t, state("api", protect.HalfOpen), "breaker api is open, want half-open: 2 failures, forced false, next probe in 20s")
	})
}

func TestAssertBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New(protect.WithStores(protecttest.Stores()))
		defer rt.Close(context.Background())
		bucket := func(name, entity string, remaining uint64) func(testing.TB) {
			return func(t testing.TB) { protecttest.AssertBucket(t, rt, name, entity, remaining) }
		}
		reports(t, bucket("api", "", 1), "protect: not found: api: there is no limiter of that name; there are none")

		l, err := rt.NewLimiter("api", protect.LimitPolicy{Tokens: 3, Window: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Take(t.Context(), "ann"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it takes nothing
			reports(t, bucket("api", "ann", 2))
			reports(t, bucket("api", "bob", 3))
		}
		reports(t, bucket("api", "ann", 3), `limiter api has 2 of 3 tokens left for "ann", want 3`)
	})
}

// mute is a store that does not answer.
type mute struct{ *protecttest.Store }

func (mute) Peek(context.Context, string) (tokens, remaining, reset uint64, err error) {
	return 0, 0, 0, errDown
}

func TestAssertBucketOfAStoreThatFails(t *testing.T) {
	rt := protect.New(protect.WithStores(func(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
		return mute{protecttest.NewStore(tokens, window)}, nil
	}))
	defer rt.Close(context.Background())
	if _, err := rt.NewLimiter("api", protect.LimitPolicy{Tokens: 3, Window: time.Minute}); err != nil {
		t.Fatal(err)
	}
	reports(t, func(t testing.TB) { protecttest.AssertBucket(t, rt, "api", "", 3) },
		"limiter api: protect: limiter failed: api: down")
}

func TestAssertIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// given a pool and two keys with bulkheads, behind a limit that does
		// not answer
		rt := protect.New(protect.WithStores(func(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
			return mute{protecttest.NewStore(tokens, window)}, nil
		}))
		defer rt.Close(context.Background())
		pool, err := protect.NewPool(rt, "conns", protect.PoolPolicy{Size: 1}, protect.Factory[int]{
			New: func(context.Context) (int, error) { return 1, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"a", "b"} {
			policy := protect.Policy{
				Limit:    &protect.LimitPolicy{Tokens: 9, Window: time.Minute},
				Bulkhead: &protect.BulkheadPolicy{Max: 1, Wait: time.Hour},
			}
			if err := rt.Configure(key, policy); err != nil {
				t.Fatal(err)
			}
		}
		idle := func(t testing.TB) { protecttest.AssertIdle(t, rt) }
		reports(t, idle)

		// when one call is in each and one more waits for two of them
		release := make(chan struct{})
		failures := make(chan error, 10)
		inPool := func() {
			failures <- pool.Do(context.Background(), func(context.Context, int) error { <-release; return nil })
		}
		under := func(key string) {
			_, err := protect.Execute(context.Background(), rt, key, func(context.Context) (int, error) { <-release; return 0, nil }, protect.Timeout(protect.Forever))
			failures <- err
		}
		go inPool()
		go inPool()
		go under("b")
		go under("a")
		go under("a")
		synctest.Wait()

		// then each is told of, until all are done
		reports(t, idle,
			"bulkhead a is busy: 1 active, 1 waiting",
			"bulkhead b is busy: 1 active, 0 waiting",
			"pool conns is busy: 1 active, 1 waiting")
		close(release)
		synctest.Wait()
		reports(t, idle)
		for range 5 {
			if err := <-failures; err != nil {
				t.Error(err)
			}
		}
	})
}

// A Close that was not waited for hides nothing.
func TestAssertIdleOfAClosedRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New()
		pool, err := protect.NewPool(rt, "conns", protect.PoolPolicy{}, protect.Factory[int]{
			New:   func(context.Context) (int, error) { return 1, nil },
			Close: func(int) error { return context.Canceled },
		})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		go func() {
			_ = pool.Do(context.Background(), func(context.Context, int) error { <-release; return nil })
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := rt.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		idle := func(t testing.TB) { protecttest.AssertIdle(t, rt) }
		reports(t, idle, "the Runtime is closed and still busy: a call, an instance or a store has not come to its end")
		close(release)
		synctest.Wait()
		reports(t, idle)
	})
}

func TestAssertionsWithoutARuntimeAreOfTheDefault(t *testing.T) {
	if err := protect.Default().Configure("default", protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 9, Window: time.Minute},
		Breaker: &protect.BreakerPolicy{},
	}); err != nil {
		t.Fatal(err)
	}
	defer protect.Default().Remove("default")
	protecttest.AssertState(t, nil, "default", protect.Closed)
	protecttest.AssertBucket(t, nil, "default", "", 9)
	protecttest.AssertIdle(t, nil)
}

func TestABulkheadOfSeveralKeysIsToldOfOnce(t *testing.T) {
	rt := protect.New()
	defer rt.Close(context.Background())
	policy := protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 1}}
	guards, err := protect.NewGuards(rt, "backend",
		protect.Spec{Key: "a", Policy: policy, Bulkhead: "shared"}, protect.Spec{Key: "b", Policy: policy, Bulkhead: "shared"})
	if err != nil {
		t.Fatal(err)
	}
	err = guards[0].Do(t.Context(), "", func(context.Context, string) error {
		reports(t, func(t testing.TB) { protecttest.AssertIdle(t, rt) }, "bulkhead shared is busy: 1 active, 0 waiting")
		return errDown
	})
	if !errors.Is(err, errDown) {
		t.Error(err)
	}
}
