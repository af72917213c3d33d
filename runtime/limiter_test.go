package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/sethvargo/go-limiter/noopstore"
	"go.uber.org/goleak"
)

func mustLimiter(t testing.TB, p LimitPolicy, open storeOpener, observers ...Observer) *Limiter {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	l, err := newLimiter(newSink(observers), newLife(), "l", p, open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close(context.Background()) })
	return l
}

// opens returns an opener of a store that is there already.
func opens(s limiter.Store) storeOpener {
	return func(string, uint64, time.Duration) (limiter.Store, error) { return s, nil }
}

// onBubbleTime opens stores in memory that live by a synctest bubble's time.
func onBubbleTime(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
	return newBubbleStore(tokens, window), nil
}

// plainly opens the library's store, with its five methods.
func plainly(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
	return memorystore.New(&memorystore.Config{Tokens: tokens, Interval: window, DisablePurge: true})
}

// plainlyOnBubbleTime opens stores on bubble time with five methods.
func plainlyOnBubbleTime(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
	return struct{ limiter.Store }{newBubbleStore(tokens, window).cur}, nil
}

func refused(t *testing.T, err error) *Error {
	t.Helper()
	refusal, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, ErrRateLimited) || refusal.RetryAfter <= 0 {
		t.Fatalf("got %v, want a refusal that says when to come back", err)
	}
	return refusal
}

// passes counts how many of n calls pass.
func passes(t *testing.T, l *Limiter, entity string, n int) (passed int) {
	t.Helper()
	for range n {
		switch err := l.Take(t.Context(), entity); {
		case err == nil:
			passed++
		case !errors.Is(err, ErrRateLimited):
			t.Fatal(err)
		}
	}
	return passed
}

type limiterRecorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *limiterRecorder) Observe(_ context.Context, e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *limiterRecorder) kinds() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, e := range r.events {
		names = append(names, strings.TrimPrefix(e.Kind.String(), "protect.limiter."))
	}
	return strings.Join(names, " ")
}

// eachStore runs a test over a store of every sort, in a bubble.
func eachStore(t *testing.T, test func(t *testing.T, open storeOpener)) {
	for name, open := range map[string]storeOpener{"exact": onBubbleTime, "plain": plainlyOnBubbleTime} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, open) })
		})
	}
}

func TestLimiterDeniesTheCallAfterTheLast(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 5, Window: time.Minute}, open)
		for range 5 {
			if err := l.Take(t.Context(), "user:123"); err != nil {
				t.Fatal(err)
			}
		}
		refusal := refused(t, l.Take(t.Context(), "user:123"))
		if want := (Error{Kind: KindRateLimited, Name: "l", Entity: "user:123", RetryAfter: time.Minute}); *refusal != want {
			t.Errorf("got %+v, want %+v", *refusal, want)
		}
		if n := passes(t, l, "service:payments", 10); n != 5 {
			t.Errorf("%d calls of another entity passed", n)
		}
	})
}

func TestLimiterAdmitsAfterExactlyRetryAfter(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Minute}, open)
		for range 5 {
			time.Sleep(17 * time.Second)
			if err := l.Take(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(23 * time.Second)
			// Denied calls do not extend the denial
			first := refused(t, l.Take(t.Context(), "a")).RetryAfter
			time.Sleep(first / 2)
			refused(t, l.Take(t.Context(), "a"))
			time.Sleep(first - first/2 - 1)
			if last := refused(t, l.Take(t.Context(), "a")).RetryAfter; last != 1 {
				t.Fatalf("a nanosecond before the token: RetryAfter %v", last)
			}
			time.Sleep(time.Nanosecond)
		}
	})
}

func TestLimiterAdmitsAfterRetryAfterInRealTime(t *testing.T) {
	l := mustLimiter(t, LimitPolicy{Tokens: 2, Window: 20 * time.Millisecond}, nil)
	for range 5 {
		for {
			err := l.Take(t.Context(), "a")
			if err != nil {
				time.Sleep(refused(t, err).RetryAfter)
				break
			}
		}
		if err := l.Take(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
}

// Windows are fixed: this is the most that can pass, at the worst moment.
func TestLimiterPassesAtMostTwiceTheLimitAroundABoundary(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 10, Window: time.Second}, open)
		l.Take(t.Context(), "a")
		time.Sleep(time.Second - 1)
		if n := passes(t, l, "a", 30); n != 9 {
			t.Errorf("%d more calls passed at the end of a window", n)
		}
		time.Sleep(time.Nanosecond)
		if n := passes(t, l, "a", 30); n != 10 {
			t.Errorf("%d calls passed at the start of the next", n)
		}
		time.Sleep(time.Second - 1)
		if n := passes(t, l, "a", 30); n != 0 {
			t.Errorf("%d calls passed at its end", n)
		}
	})
}

func TestLimiterWaitsForAToken(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 2, Window: time.Second, Wait: 1500 * time.Millisecond}, open)
		start := time.Now()
		for i, want := range []time.Duration{0, 0, time.Second, time.Second, 2 * time.Second} {
			if err := l.Take(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != want {
				t.Errorf("call %d passed after %v, want %v", i, got, want)
			}
		}
	})
}

func TestLimiterDoesNotWaitInVain(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		deadline, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for name, test := range map[string]struct {
			ctx    context.Context
			policy LimitPolicy
		}{
			"the token comes after Wait":         {t.Context(), LimitPolicy{Tokens: 1, Window: time.Minute, Wait: time.Minute - 1}},
			"the token comes after the deadline": {deadline, LimitPolicy{Tokens: 1, Window: time.Minute, Wait: Forever}},
			"the limit is scaled to nothing":     {t.Context(), LimitPolicy{Tokens: 1, Window: time.Minute, Wait: Forever, Scale: func() float64 { return 0 }}},
		} {
			start := time.Now()
			l := mustLimiter(t, test.policy, open)
			l.take(t.Context(), call{}, "a")
			_, err := l.take(test.ctx, call{}, "a")
			refused(t, err)
			if waited := time.Since(start); waited != 0 {
				t.Errorf("%s: waited %v to be refused", name, waited)
			}
		}
	})
}

func TestLimiterWaitersCompeteWithoutSpinning(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		// Given 2 tokens a second, and 10 callers who wait up to 3.5 s
		l := mustLimiter(t, LimitPolicy{Tokens: 2, Window: time.Second, Wait: 3500 * time.Millisecond}, open)
		counting := &countingStore{ExactStore: l.store}
		l.store = counting
		start := time.Now()
		var passed [5]atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				switch err := l.Take(t.Context(), "a"); {
				case err == nil:
					passed[time.Since(start)/time.Second].Add(1)
				case !errors.Is(err, ErrRateLimited):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// Then each window passes two of them, and the last two give up
		for second, want := range []int64{2, 2, 2, 2, 0} {
			if got := passed[second].Load(); got != want {
				t.Errorf("second %d: %d callers passed, want %d", second, got, want)
			}
		}
		// having asked once in each window
		if n := counting.takes.Load(); n != 10+8+6+4 {
			t.Errorf("the store was asked %d times", n)
		}
	})
}

func TestLimiterWaitersDoNotSpinOnAStoreWhoseClockIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Given a store that refuses, and says that a token is there already
		store := &scriptedStore{take: func() (uint64, uint64, uint64, bool, error) { return 1, 0, 1, false, nil }}
		l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Minute, Wait: 10 * time.Second}, opens(store))
		if r := refused(t, l.Take(t.Context(), "a")); r.RetryAfter != 1 {
			t.Errorf("RetryAfter %v", r.RetryAfter)
		}
		if store.asked > 200 {
			t.Errorf("asked %d times in 10 s", store.asked)
		}
	})
}

func TestLimiterWaitEndsWithItsContext(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Minute, Wait: Forever}, open)
		l.Take(t.Context(), "a")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if err := l.Take(ctx, "a"); err != context.Canceled {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestLimiterTakesNothingForAContextThatIsDone(t *testing.T) {
	l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Take(ctx, "a"); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if n := passes(t, l, "a", 3); n != 1 {
		t.Errorf("%d calls passed", n)
	}
}

func TestLimiterScale(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		for name, test := range map[string]struct {
			scale func() float64
			want  int
		}{
			"half":      {func() float64 { return 0.5 }, 50},
			"rounded":   {func() float64 { return 0.7 }, 70},
			"up":        {func() float64 { return 0.005 }, 1},
			"nothing":   {func() float64 { return 0 }, 0},
			"negative":  {func() float64 { return -1 }, 0},
			"above one": {func() float64 { return 7 }, 100},
			"infinite":  {func() float64 { return math.Inf(1) }, 100},
			"NaN":       {func() float64 { return math.NaN() }, 100},
			"panic":     {func() float64 { panic("no idea") }, 100},
		} {
			l := mustLimiter(t, LimitPolicy{Tokens: 100, Window: time.Hour, Scale: test.scale}, open)
			if n := passes(t, l, "a", 150); n != test.want {
				t.Errorf("%s: %d calls passed, want %d", name, n, test.want)
			}
			status, err := l.Status(t.Context(), "a")
			if err != nil || status.Limit != uint64(test.want) || status.Used != uint64(test.want) || status.Remaining != 0 || !status.Limited {
				t.Errorf("%s: status %+v, %v", name, status, err)
			}
		}
	})
}

func TestLimiterScaleWithinAWindow(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		// Given 30 of 100 used
		factor := 1.0
		l := mustLimiter(t, LimitPolicy{Tokens: 100, Window: time.Hour, Scale: func() float64 { return factor }}, open)
		passes(t, l, "a", 30)
		// When the limit goes down to 50, what was used stays used
		factor = 0.5
		if n := passes(t, l, "a", 100); n != 20 {
			t.Errorf("%d calls passed under the lower limit", n)
		}
		// and below what was used, the next token is that of the next window
		factor = 0.1
		if r := refused(t, l.Take(t.Context(), "a")); r.RetryAfter != time.Hour {
			t.Errorf("RetryAfter %v", r.RetryAfter)
		}
		status, _ := l.Status(t.Context(), "a")
		if status.Limit != 10 || status.Used != 50 || status.Remaining != 0 || !status.Limited {
			t.Errorf("status %+v", status)
		}
		// When it goes up again, the refusals have cost nothing
		factor = 1
		if n := passes(t, l, "a", 100); n != 50 {
			t.Errorf("%d calls passed under the higher limit", n)
		}
	})
}

func TestLimiterScaledToNothingStartsNoWindow(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		factor := 0.0
		l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Minute, Scale: func() float64 { return factor }}, open)
		refused(t, l.Take(t.Context(), "a"))
		time.Sleep(30 * time.Second)
		factor = 1
		passes(t, l, "a", 1)
		if r := refused(t, l.Take(t.Context(), "a")); r.RetryAfter != time.Minute {
			t.Errorf("RetryAfter %v, want the whole window that began with the first token", r.RetryAfter)
		}
	})
}

func TestLimiterStatusIsExactAndTakesNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 3, Window: time.Minute}, open)
		is := func(when string, want LimiterStatus) {
			t.Helper()
			want.Name, want.Entity, want.Limit, want.Window = "l", "a", 3, time.Minute
			for range 5 {
				got, err := l.Status(t.Context(), "a")
				if !got.ResetAt.Equal(want.ResetAt) {
					t.Fatalf("%s: the window ends at %v, want %v", when, got.ResetAt, want.ResetAt)
				}
				got.ResetAt = want.ResetAt
				if err != nil || got != want {
					t.Fatalf("%s: %+v, %v; want %+v", when, got, err, want)
				}
			}
		}
		is("before the first call", LimiterStatus{Remaining: 3})
		time.Sleep(time.Second)
		end := time.Now().Add(time.Minute)
		passes(t, l, "a", 2)
		is("after two calls", LimiterStatus{Used: 2, Remaining: 1, ResetAt: end})
		passes(t, l, "a", 2)
		is("with nothing left", LimiterStatus{Used: 3, ResetAt: end, Limited: true})
		time.Sleep(time.Minute)
		is("in the next window", LimiterStatus{Remaining: 3})
		if n := passes(t, l, "a", 5); n != 3 {
			t.Errorf("%d calls passed after all those looks", n)
		}
	})
}

func TestLimiterResetIsForOneBucket(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 3, Window: time.Minute}, open)
		passes(t, l, "a", 5)
		passes(t, l, "b", 5)
		if err := l.Reset(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if s, err := l.Status(t.Context(), "a"); err != nil || s.Used != 0 || !s.ResetAt.IsZero() {
			t.Errorf("status %+v, %v", s, err)
		}
		if n := passes(t, l, "a", 5); n != 3 {
			t.Errorf("%d calls of the reset entity passed", n)
		}
		if n := passes(t, l, "b", 5); n != 0 {
			t.Errorf("%d calls of the other entity passed", n)
		}
	})
}

func TestLimiterRefund(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 3, Window: time.Minute}, open)
		take := func() receipt {
			t.Helper()
			r, err := l.take(t.Context(), call{}, "a")
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		// A token comes back, though the call was cancelled
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		passes(t, l, "a", 2)
		l.refund(cancelled, call{}, take())
		if n := passes(t, l, "a", 5); n != 1 {
			t.Errorf("%d calls passed with one token back", n)
		}
		// A bucket is never lifted above its limit
		time.Sleep(time.Minute)
		r := take()
		for range 5 {
			l.refund(t.Context(), call{}, r)
			l.refund(t.Context(), call{}, receipt{})
		}
		if n := passes(t, l, "a", 9); n != 3 {
			t.Errorf("%d calls passed after many refunds", n)
		}
		// A token of a window that is over stays away
		time.Sleep(time.Minute)
		r = take()
		time.Sleep(time.Minute)
		passes(t, l, "a", 2)
		l.refund(t.Context(), call{}, r)
		if n := passes(t, l, "a", 5); n != 1 {
			t.Errorf("%d calls passed after a late refund", n)
		}
		// and an entity that is gone is not created by it
		r.bucket = "never seen"
		l.refund(t.Context(), call{}, r)
		if n := passes(t, l, "never seen", 9); n != 3 {
			t.Errorf("%d calls of an entity passed that was refunded before its first", n)
		}
	})
}

func TestLimiterRefundGoesOnAfterItsCallWasCancelled(t *testing.T) {
	store := &scriptedStore{take: func() (uint64, uint64, uint64, bool, error) { return 2, 0, 5000, true, nil }}
	l := mustLimiter(t, LimitPolicy{Tokens: 2, Window: time.Hour}, opens(store))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := l.take(ctx, call{}, "a")
	if err != nil {
		t.Fatal(err)
	}
	store.take = func() (uint64, uint64, uint64, bool, error) {
		// The end of the window, computed anew, a little off
		return 2, 0, 4000, true, store.ctx.Err()
	}
	cancel()
	l.refund(ctx, call{}, r)
	if store.burst != 2 {
		t.Errorf("%d tokens were given back, want that of the look and that of the call", store.burst)
	}
	if _, bounded := store.ctx.Deadline(); !bounded {
		t.Error("a refund may take for ever")
	}
}

func TestLimiterDo(t *testing.T) {
	l := mustLimiter(t, LimitPolicy{Tokens: 3, Window: time.Hour}, nil)
	if err := l.Do(t.Context(), "a", nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a function: %v", err)
	}
	if err := l.Do(t.Context(), "a", func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	failure := errors.New("failure")
	if err := l.Do(t.Context(), "a", func(context.Context) error { return failure }); err != failure {
		t.Errorf("got %v, want the callee's own error", err)
	}
	err := l.Do(t.Context(), "a", func(context.Context) error { panic("no") })
	if p, ok := errors.AsType[*PanicError](err); !ok || p.Value != "no" {
		t.Errorf("got %v, want the panic", err)
	}
	refused(t, l.Do(t.Context(), "a", func(context.Context) error {
		t.Error("called without a token")
		return nil
	}))
	l.rethrow = true
	defer func() {
		if v := recover(); v != "on" {
			t.Errorf("recovered %v, want the panic to pass on", v)
		}
	}()
	_ = l.Do(t.Context(), "b", func(context.Context) error { panic("on") })
}

func TestLimiterWithAStoreThatFails(t *testing.T) {
	failure := errors.New("connection refused")
	for name, take := range map[string]func() (uint64, uint64, uint64, bool, error){
		"error":    func() (uint64, uint64, uint64, bool, error) { return 0, 0, 0, false, failure },
		"panic":    func() (uint64, uint64, uint64, bool, error) { panic(failure) },
		"nonsense": func() (uint64, uint64, uint64, bool, error) { return 0, 0, 0, false, nil },
	} {
		for _, onError := range []OnError{Deny, Allow, Local} {
			t.Run(name+" "+onError.String(), func(t *testing.T) {
				events := &limiterRecorder{}
				store := &scriptedStore{take: take}
				l := mustLimiter(t, LimitPolicy{Tokens: 2, Window: time.Hour, OnError: onError}, opens(store), events)
				var errs []error
				for range 3 {
					errs = append(errs, l.Take(t.Context(), "a"))
				}
				var want string
				switch onError {
				case Deny:
					want = "error error error"
					for _, err := range errs {
						if !errors.Is(err, ErrLimiterFailed) || name != "nonsense" && !errors.Is(err, failure) {
							t.Errorf("got %v", err)
						}
					}
				case Allow:
					want = "error error error"
					if err := errors.Join(errs...); err != nil {
						t.Error(err)
					}
				case Local:
					want = "error allowed error allowed error denied"
					if errs[0] != nil || errs[1] != nil {
						t.Error(errs)
					}
					refused(t, errs[2])
				}
				if got := events.kinds(); got != want {
					t.Errorf("events %q, want %q", got, want)
				}
			})
		}
	}
}

func TestLimiterCountsLocallyUntilTheStoreAnswers(t *testing.T) {
	// Given a store that fails
	working := newMemoryStore(3, time.Hour)
	down := true
	store := &scriptedStore{take: func() (uint64, uint64, uint64, bool, error) {
		if down {
			return 0, 0, 0, false, errors.New("down")
		}
		return working.Take(t.Context(), "a")
	}}
	l := mustLimiter(t, LimitPolicy{Tokens: 3, Window: time.Hour, OnError: Local}, opens(store))
	if n := passes(t, l, "a", 5); n != 3 {
		t.Errorf("%d calls passed on local count", n)
	}
	if s, err := l.Status(t.Context(), "a"); err != nil || s.Used != 3 {
		t.Errorf("status %+v, %v", s, err)
	}
	// When it answers again
	down = false
	if n := passes(t, l, "a", 5); n != 3 {
		t.Errorf("%d calls passed once the store was back", n)
	}
}

func TestLimiterGivesALocalTokenBackLocally(t *testing.T) {
	store := &scriptedStore{take: func() (uint64, uint64, uint64, bool, error) { return 0, 0, 0, false, errors.New("down") }}
	l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour, OnError: Local}, opens(store))
	r, err := l.take(t.Context(), call{}, "a")
	if err != nil {
		t.Fatal(err)
	}
	l.refund(t.Context(), call{}, r)
	if n := passes(t, l, "a", 3); n != 1 {
		t.Errorf("%d calls passed", n)
	}
}

func TestLimiterReportsWhatElseFails(t *testing.T) {
	failure := errors.New("connection refused")
	for name, fail := range map[string]func() error{
		"error": func() error { return failure },
		"panic": func() error { panic(failure) },
	} {
		t.Run(name, func(t *testing.T) {
			events := &limiterRecorder{}
			l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour}, opens(&scriptedStore{
				take: func() (uint64, uint64, uint64, bool, error) {
					return 1, 0, uint64(time.Now().UnixNano()) + 1e12, true, nil
				},
				other: fail,
			}), events)
			r, err := l.take(t.Context(), call{}, "a")
			if err != nil {
				t.Fatal(err)
			}
			l.refund(t.Context(), call{}, r)
			if _, err := l.Status(t.Context(), "a"); !errors.Is(err, ErrLimiterFailed) || !errors.Is(err, failure) {
				t.Errorf("Status: %v", err)
			}
			if err := l.Reset(t.Context(), "a"); !errors.Is(err, ErrLimiterFailed) || !errors.Is(err, failure) {
				t.Errorf("Reset: %v", err)
			}
			if err := l.close(t.Context()); !errors.Is(err, failure) {
				t.Errorf("close: %v", err)
			}
			if got := events.kinds(); got != "allowed error error error" {
				t.Errorf("events %q", got)
			}
		})
	}
}

func TestLimiterStoreErrorOfTheCallersOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, onError := range []OnError{Deny, Allow, Local} {
			// Given a store that gives up with the caller
			ctx, cancel := context.WithCancel(t.Context())
			events := &limiterRecorder{}
			l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour, OnError: onError}, opens(&scriptedStore{
				take: func() (uint64, uint64, uint64, bool, error) {
					cancel()
					time.Sleep(time.Second)
					return 0, 0, 0, false, errors.New("i/o timeout")
				},
			}), events)
			// Then its error is the caller's, and not the store's failure
			if err := l.Take(ctx, "a"); err != context.Canceled {
				t.Errorf("%v: got %v", onError, err)
			}
			deadline, cancelDeadline := context.WithTimeout(t.Context(), time.Second)
			defer cancelDeadline()
			if err := l.Take(deadline, "a"); err != context.DeadlineExceeded {
				t.Errorf("%v: got %v", onError, err)
			}
			if got := events.kinds(); got != "" {
				t.Errorf("%v: events %q", onError, got)
			}
		}
	})
}

func TestLimiterOpensWhatItIsGiven(t *testing.T) {
	failure := errors.New("no route to host")
	leak := &scriptedStore{}
	for name, open := range map[string]storeOpener{
		"error":           func(string, uint64, time.Duration) (limiter.Store, error) { return nil, failure },
		"panic":           func(string, uint64, time.Duration) (limiter.Store, error) { panic(failure) },
		"store and error": func(string, uint64, time.Duration) (limiter.Store, error) { return leak, failure },
		"nothing":         func(string, uint64, time.Duration) (limiter.Store, error) { return nil, nil },
		"nil and error": func(string, uint64, time.Duration) (limiter.Store, error) {
			var none *scriptedStore
			return none, failure
		},
	} {
		l, err := newLimiter(nil, newLife(), "l", LimitPolicy{Tokens: 7, Window: time.Hour, OnError: Local}, open)
		if l != nil || !errors.Is(err, ErrLimiterFailed) || name != "nothing" && !errors.Is(err, failure) {
			t.Errorf("%s: got %v, %v", name, l, err)
		}
	}
	if leak.closed != 1 {
		t.Error("a store was left open")
	}
	mustLimiter(t, LimitPolicy{Tokens: 7, Window: time.Hour}, func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
		if name != "l" || tokens != 7 || window != time.Hour {
			t.Errorf("opened with %q, %d, %v", name, tokens, window)
		}
		return &scriptedStore{}, nil
	})
}

func TestLimiterWorksOnAnyStore(t *testing.T) {
	noop, err := noopstore.New()
	if err != nil {
		t.Fatal(err)
	}
	l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour, Scale: func() float64 { return 1 }}, opens(noop))
	if n := passes(t, l, "a", 10); n != 10 {
		t.Errorf("%d calls passed a store that lets everything pass", n)
	}
	r, _ := l.take(t.Context(), call{}, "a")
	l.refund(t.Context(), call{}, r)
	if s, err := l.Status(t.Context(), "a"); err != nil || s.Used != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	l = mustLimiter(t, LimitPolicy{Tokens: 2, Window: time.Hour}, plainly)
	if n := passes(t, l, "a", 10); n != 2 {
		t.Errorf("%d calls passed", n)
	}
}

func TestLimiterEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &limiterRecorder{}
		l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Second, Wait: time.Second}, onBubbleTime, events)
		c := call{key: "k", entity: "e", attrs: []slog.Attr{slog.Int("amount", 100)}}
		for range 2 {
			if _, err := l.take(t.Context(), c, "b"); err != nil {
				t.Fatal(err)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, refusal := l.take(short, c, "b")
		for i, want := range []Event{
			{Kind: EventLimiterAllowed},
			{Kind: EventLimiterAllowed, Duration: time.Second},
			{Kind: EventLimiterDenied, Err: refusal},
		} {
			got := events.events[i]
			if got.Kind != want.Kind || got.Duration != want.Duration || got.Err != want.Err ||
				got.Key != "k" || got.Entity != "e" || got.Name != "l" || got.Layer != LayerLimiter || len(got.Attrs) != 1 {
				t.Errorf("event %d: %+v", i, got)
			}
		}
		if got := events.kinds(); got != "allowed allowed denied" {
			t.Errorf("events %q", got)
		}
	})
}

func TestLimiterMayBeUsedByItsObserver(t *testing.T) {
	var l *Limiter
	calls := 0
	l = mustLimiter(t, LimitPolicy{Tokens: 2, Window: time.Hour}, nil, ObserverFunc(func(ctx context.Context, e Event) {
		if calls++; calls < 3 {
			_ = l.Take(ctx, e.Entity)
			_, _ = l.Status(ctx, e.Entity)
		}
	}))
	l.Take(t.Context(), "a")
	if calls != 3 {
		t.Errorf("%d events", calls)
	}
}

func TestLimiterClose(t *testing.T) {
	store := &scriptedStore{}
	l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour, OnError: Local}, opens(store))
	// When the limiter is closed, twice
	for range 2 {
		if err := l.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	// Then nothing works any more, and the store was closed once
	_, statusErr := l.Status(t.Context(), "a")
	for name, err := range map[string]error{
		"Take":   l.Take(t.Context(), "a"),
		"Do":     l.Do(t.Context(), "a", func(context.Context) error { return nil }),
		"Reset":  l.Reset(t.Context(), "a"),
		"Status": statusErr,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.refund(t.Context(), call{}, receipt{store: l.store, bucket: "a", reset: 1})
	if store.closed != 1 || store.asked != 0 {
		t.Errorf("closed %d times, asked %d times", store.closed, store.asked)
	}
	if _, _, err := l.local.Get(t.Context(), "a"); err != limiter.ErrStopped {
		t.Errorf("the local store: %v", err)
	}
}

func TestLimiterCloseOutlastsWhateverTheStoreDoes(t *testing.T) {
	failure := errors.New("gone already")
	for name, closing := range map[string]func() error{
		"error":  func() error { return failure },
		"panic":  func() error { panic(failure) },
		"goexit": func() error { runtime.Goexit(); return nil },
	} {
		l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour}, opens(&scriptedStore{other: closing}))
		if err := l.close(t.Context()); !errors.Is(err, ErrLimiterFailed) || name != "goexit" && !errors.Is(err, failure) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimiterCloseEndsWaits(t *testing.T) {
	eachStore(t, func(t *testing.T, open storeOpener) {
		l := mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour, Wait: Forever}, open)
		l.Take(t.Context(), "a")
		start := time.Now()
		waiting := make(chan error)
		go func() { waiting <- l.Take(t.Context(), "a") }()
		synctest.Wait()
		l.close(t.Context())
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the wait went on for %v", waited)
		}
	})
}

func TestLimiterClosedDuringACallIsNoFailureOfItsStore(t *testing.T) {
	for _, onError := range []OnError{Deny, Allow, Local} {
		events := &limiterRecorder{}
		var l *Limiter
		l = mustLimiter(t, LimitPolicy{Tokens: 1, Window: time.Hour, OnError: onError}, opens(&scriptedStore{
			take: func() (uint64, uint64, uint64, bool, error) {
				l.close(t.Context())
				return 0, 0, 0, false, limiter.ErrStopped
			},
		}), events)
		if err := l.Take(t.Context(), "a"); !errors.Is(err, ErrClosed) {
			t.Errorf("%v: got %v", onError, err)
		}
		if got := events.kinds(); got != "" {
			t.Errorf("%v: events %q", onError, got)
		}
	}
}

func TestLimiterCloseRacesWithTakes(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 50 {
		events := &limiterRecorder{}
		l := mustLimiter(t, LimitPolicy{Tokens: 10, Window: time.Hour, Wait: Forever}, nil, events)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					if err := l.Take(t.Context(), "a"); err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		wg.Go(func() { l.close(t.Context()) })
		wg.Wait()
		if got := events.kinds(); strings.Contains(got, "error") {
			t.Fatalf("closing was told as a failure of the store: %q", got)
		}
	}
}

func TestLimiterAdmitsExactlyItsLimitConcurrently(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, open := range map[string]storeOpener{"memory": nil, "plain": plainly} {
		l := mustLimiter(t, LimitPolicy{Tokens: 100, Window: time.Hour}, open)
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					if l.Take(t.Context(), "a") == nil {
						passed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n := passed.Load(); n != 100 {
			t.Errorf("%s: %d calls passed", name, n)
		}
	}
}

func TestLimiterDoesNotAllocate(t *testing.T) {
	for name, p := range map[string]LimitPolicy{
		"plain":  {Tokens: 1 << 40, Window: time.Hour},
		"scaled": {Tokens: 1 << 40, Window: time.Hour, Wait: time.Second, Scale: func() float64 { return 0.5 }},
	} {
		l := mustLimiter(t, p, nil)
		ctx, c := t.Context(), call{key: "key", entity: "entity"}
		l.take(ctx, c, "a")
		if n := testing.AllocsPerRun(1000, func() { l.take(ctx, c, "a") }); n != 0 {
			t.Errorf("%s: take allocates %v times", name, n)
		}
		if n := testing.AllocsPerRun(1000, func() { l.Take(ctx, "a") }); n != 0 {
			t.Errorf("%s: Take allocates %v times", name, n)
		}
	}
}

func TestBucketOfKeepsPairsApart(t *testing.T) {
	buckets := map[string]string{}
	for _, pair := range [][2]string{
		{"", ""}, {"", "a"}, {"", "\x00"}, {"", "\x00\x00"}, {"", "\x00a"}, {"", "\x001:ab"}, {"", "\x00\x001:ab"},
		{"a", ""}, {"a", "b"}, {"ab", ""}, {"a:b", "c"}, {"a", "b:c"}, {"1:a", ""}, {"\x00", "a"}, {"\x00a", ""}, {"1", ":ab"}, {"11:", "a"},
	} {
		bucket := bucketOf(pair[0], pair[1])
		if other, taken := buckets[bucket]; taken {
			t.Errorf("%q has the bucket of %s", pair, other)
		}
		buckets[bucket] = fmt.Sprintf("%q", pair)
	}
	if n := testing.AllocsPerRun(100, func() { bucketOf("", "an entity") }); n != 0 {
		t.Errorf("an entity alone allocates %v times", n)
	}
}

func FuzzBucketOfKeepsPairsApart(f *testing.F) {
	f.Add("a:b", "c", "a", "b:c")
	f.Add("", "\x001:ab", "a", "b")
	f.Add("", "\x00\x00", "", "\x00")
	f.Add("1", "1:a", "11", ":a")
	f.Fuzz(func(t *testing.T, op1, entity1, op2, entity2 string) {
		same := op1 == op2 && entity1 == entity2
		if (bucketOf(op1, entity1) == bucketOf(op2, entity2)) != same {
			t.Errorf("(%q, %q) and (%q, %q) have the bucket %q", op1, entity1, op2, entity2, bucketOf(op1, entity1))
		}
	})
}

// scriptedStore is a store with five methods that does what a test says. A
// missing script succeeds.
type scriptedStore struct {
	take   func() (tokens, remaining, reset uint64, ok bool, err error)
	other  func() error
	asked  int
	closed int
	burst  uint64          // tokens given
	ctx    context.Context // of the last Take
}

func (s *scriptedStore) Take(ctx context.Context, _ string) (tokens, remaining, reset uint64, ok bool, err error) {
	s.asked++
	s.ctx = ctx
	return s.take()
}

// Get answers as if something was used, so that no look ends with it.
func (s *scriptedStore) Get(context.Context, string) (tokens, remaining uint64, err error) {
	return 2, 1, s.do()
}

func (s *scriptedStore) Set(context.Context, string, uint64, time.Duration) error { return s.do() }

func (s *scriptedStore) Burst(_ context.Context, _ string, n uint64) error {
	s.burst += n
	return s.do()
}

func (s *scriptedStore) Close(context.Context) error {
	s.closed++
	return s.do()
}

func (s *scriptedStore) do() error {
	if s.other == nil {
		return nil
	}
	return s.other()
}

// countingStore counts the takes of another store.
type countingStore struct {
	ExactStore
	takes atomic.Int64
}

func (s *countingStore) Take(ctx context.Context, key string) (tokens, remaining, reset uint64, ok bool, err error) {
	s.takes.Add(1)
	return s.ExactStore.Take(ctx, key)
}

func BenchmarkLimiterTake(b *testing.B) {
	const tokens = 1 << 40
	ctx := context.Background()
	b.Run("bare memorystore", func(b *testing.B) {
		store, err := plainly("", tokens, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			store.Take(ctx, "a")
		}
	})
	b.Run("limiter", func(b *testing.B) {
		l := mustLimiter(b, LimitPolicy{Tokens: tokens, Window: time.Hour}, nil)
		b.ReportAllocs()
		for b.Loop() {
			l.take(ctx, call{}, "a")
		}
	})
	b.Run("bare memorystore in parallel", func(b *testing.B) {
		store, err := plainly("", tokens, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				store.Take(ctx, "a")
			}
		})
	})
	b.Run("limiter in parallel", func(b *testing.B) {
		l := mustLimiter(b, LimitPolicy{Tokens: tokens, Window: time.Hour}, nil)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.take(ctx, call{}, "a")
			}
		})
	})
}

func TestLimiterTakesTheQuickWayOnlyWhenNothingButATokenDecides(t *testing.T) {
	plain := LimitPolicy{Tokens: 1, Window: time.Hour}
	scaled := plain
	scaled.Scale = func() float64 { return 0 }
	if n := passes(t, mustLimiter(t, scaled, nil), "a", 1); n != 0 {
		t.Error("the scale was not asked")
	}
	watched := newSink([]Observer{ObserverFunc(func(context.Context, Event) {})})
	foreign := func(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
		return newMemoryStore(tokens, window), nil
	}
	for _, c := range []struct {
		name string
		sink *sink
		open storeOpener
		want bool
	}{
		{"in memory", nil, nil, true},
		{"watched", watched, nil, false},
		{"somebody else's store", nil, foreign, false},
	} {
		l, err := newLimiter(c.sink, newLife(), "l", plain, c.open)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.fast != nil; got != c.want {
			t.Errorf("%s: quick is %v, want %v", c.name, got, c.want)
		}
		_ = l.close(t.Context())
	}
}
