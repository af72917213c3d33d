package runtime

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"
	"go.uber.org/goleak"
)

// The tests in this file are about the library alone. Each shows a trap that
// the store in memory is built around, and names the test of that defence. When
// one of them fails the library has changed, and the defence may go.

func bareStore(t *testing.T, c memorystore.Config) limiter.Store {
	t.Helper()
	store, err := memorystore.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(context.Background()) })
	return store
}

// inTheEnd waits for what a sweep or a window brings about in real time.
func inTheEnd(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 5000 {
		if holds() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("in 5 s: not %s", what)
}

// Defence: TestLimiterStatusIsExactAndTakesNothing.
func TestCanaryGetIsStale(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 2, Interval: time.Millisecond, DisablePurge: true})
	store.Take(t.Context(), "a")
	time.Sleep(2 * time.Millisecond)
	if _, remaining, _ := store.Get(t.Context(), "a"); remaining != 1 {
		t.Errorf("Get says %d remain after the window, want the stale 1", remaining)
	}
}

// Defence: TestMemoryStoreSetRefusesOtherSettings.
func TestCanarySetWithoutAnIntervalPanicsOnTake(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 2, Interval: time.Hour, DisablePurge: true})
	if err := store.Set(t.Context(), "a", 2, 0); err != nil {
		t.Fatalf("Set refuses: %v", err)
	}
	defer func() {
		if err, ok := recover().(error); !ok || err.Error() != "runtime error: integer divide by zero" {
			t.Errorf("Take recovered to %v, want a division by zero", err)
		}
	}()
	store.Take(t.Context(), "a")
}

// Defence: TestMemoryStoreMatchesWindowModel.
func TestCanaryPurgeDropsWindowsThatRun(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: time.Hour, SweepInterval: time.Millisecond, SweepMinTTL: time.Millisecond})
	store.Take(t.Context(), "a")
	inTheEnd(t, "admitted again within the hour", func() bool {
		_, _, _, ok, _ := store.Take(t.Context(), "a")
		return ok
	})
}

// Defence: TestMemoryStoreSetRefusesOtherSettings; a bucket has no settings.
func TestCanaryPurgeLosesWhatWasSet(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: time.Hour, SweepInterval: time.Millisecond, SweepMinTTL: time.Millisecond})
	if err := store.Set(t.Context(), "a", 50, time.Hour); err != nil {
		t.Fatal(err)
	}
	inTheEnd(t, "back to the store's own limit", func() bool {
		tokens, _, _, _, _ := store.Take(t.Context(), "a")
		return tokens == 1
	})
}

// Defence: TestLimiterClose; the store in memory starts no goroutine.
func TestCanaryPurgeGoroutineRunsUntilClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	store := bareStore(t, memorystore.Config{})
	if goleak.Find(before) == nil {
		t.Error("no goroutine")
	}
	store.Close(t.Context())
	goleak.VerifyNone(t, before)
}

// Defence: TestMemoryStoreForgetsIdleKeys, and the tests beside it.
func TestCanaryKeysAreKept(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: time.Nanosecond, DisablePurge: true})
	for i := range 10_000 {
		store.Take(t.Context(), strconv.Itoa(i))
	}
	for i := range 10_000 {
		if tokens, _, _ := store.Get(t.Context(), strconv.Itoa(i)); tokens == 0 {
			t.Fatalf("key %d is forgotten though its window is over", i)
		}
	}
}

// Defence: TestMemoryStoreBurstAddsToARunningWindowOnly, TestLimiterRefund.
func TestCanaryBurstOnAnAbsentKeyRaisesItsLimitForEver(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: time.Millisecond, DisablePurge: true})
	if err := store.Burst(t.Context(), "a", 10); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if tokens, _, _, _, _ := store.Take(t.Context(), "a"); tokens != 11 {
			t.Errorf("the limit is %d, want the raised 11", tokens)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Defence: LimitPolicy.Validate refuses it.
func TestCanaryNoTokensBecomeOne(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 0, Interval: time.Hour, DisablePurge: true})
	if tokens, _, _, ok, _ := store.Take(t.Context(), "a"); tokens != 1 || !ok {
		t.Errorf("0 tokens admit %v of %d", ok, tokens)
	}
	if err := (LimitPolicy{Window: time.Hour}).Validate(); !errors.Is(err, ErrInvalid) {
		t.Errorf("the policy is valid: %v", err)
	}
}

// There is no defence but to say so: LimitPolicy and Limiter do, and
// TestLimiterPassesAtMostTwiceTheLimitAroundABoundary holds it to twice.
func TestCanaryTwiceTheLimitPassesAroundABoundary(t *testing.T) {
	const window = 40 * time.Millisecond
	inTheEnd(t, "20 calls within one window's time", func() bool {
		store := bareStore(t, memorystore.Config{Tokens: 10, Interval: window, DisablePurge: true})
		_, _, reset, _, _ := store.Take(t.Context(), "a")
		end := time.Unix(0, int64(reset))
		time.Sleep(time.Until(end) - window/4)
		start, passed := time.Now(), 0
		take := func() {
			for range 12 {
				if _, _, _, ok, _ := store.Take(t.Context(), "a"); ok {
					passed++
				}
			}
		}
		take()
		time.Sleep(time.Until(end))
		take()
		return passed == 19 && time.Since(start) < window
	})
}

// The wall clock of the library and the time of the process part here as they
// do when somebody sets the clock back: what has passed for everyone else has
// not passed for the buckets.
//
// Defence: TestMemoryStoreKeepsItsLimitsInABubble,
// TestMemoryStoreIsRightAfterTheWallClockWasSet.
func TestCanaryBucketsLiveByTheSystemsWallClock(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: time.Minute, DisablePurge: true})
	synctest.Test(t, func(t *testing.T) {
		store.Take(t.Context(), "a")
		time.Sleep(time.Hour)
		_, _, reset, ok, _ := store.Take(t.Context(), "a")
		if ok {
			t.Error("an hour in the bubble has passed for the library")
		}
		if reset < uint64(time.Now().AddDate(10, 0, 0).UnixNano()) {
			t.Error("the library's time is that of the bubble")
		}
	})
}
