package runtime

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"sync"
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
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("in 10 s: not %s", what)
}

// Defence: TestLimiterStatusIsExactAndTakesNothing,
// TestMemoryStoreMatchesWindowModel.
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

// Defence: TestMemoryStoreStartsNoGoroutine.
func TestCanaryPurgeGoroutineRunsUntilClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	store := bareStore(t, memorystore.Config{})
	if goleak.Find(before) == nil {
		t.Error("no goroutine")
	}
	store.Close(t.Context())
	goleak.VerifyNone(t, before)
}

// Defence: TestMemoryStoreForgetsIdleKeys, TestMemoryStoreGivesMemoryBack.
func TestCanaryKeysAreKept(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: time.Nanosecond})
	for i := range 10_000 {
		store.Take(t.Context(), strconv.Itoa(i))
	}
	for i := range 10_000 {
		if tokens, _, _ := store.Get(t.Context(), strconv.Itoa(i)); tokens == 0 {
			t.Fatalf("key %d is forgotten though its window is over", i)
		}
	}
	// The first purge comes after six hours, and takes what began more than
	// twelve hours before, windows that are longer than that among it.
	if every := *inside[time.Duration](t, reflect.ValueOf(store), "sweepInterval"); every != 6*time.Hour {
		t.Errorf("a purge every %v", every)
	}
	if age := time.Duration(*inside[uint64](t, reflect.ValueOf(store), "sweepMinTTL")); age != 12*time.Hour {
		t.Errorf("keys are kept for %v", age)
	}
}

// A purge locks the store while it looks at every key, one after the other: a
// million of them for a tenth of a second. Here one key does not let it go on.
//
// Defence: the store in memory drops a generation as a whole, and never purges:
// TestMemoryStoreStartsNoGoroutine.
func TestCanaryPurgeStallsEveryone(t *testing.T) {
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: time.Hour, SweepInterval: time.Millisecond})
	store.Take(t.Context(), "a")
	bucket := inside[sync.RWMutex](t, bucketOfLibrary(store, "a"), "lock")
	all := inside[sync.RWMutex](t, reflect.ValueOf(store), "dataLock")

	bucket.Lock()
	defer bucket.Unlock()

	inTheEnd(t, "locked", func() bool {
		if all.TryLock() {
			all.Unlock()
			return false
		}
		return true
	})
	// It stays so until that key is free.
	for range 20 {
		time.Sleep(time.Millisecond)
		if all.TryLock() {
			all.Unlock()
			t.Fatal("the store was unlocked in the middle of a purge")
		}
	}
}

// bucketOfLibrary points to what the library keeps of a key.
func bucketOfLibrary(store limiter.Store, key string) reflect.Value {
	return reflect.ValueOf(store).Elem().FieldByName("data").MapIndex(reflect.ValueOf(key))
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

// Defence: LimitPolicy.Validate refuses it;
// TestValidateNamesEveryFieldThatCannotHold.
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

// A wall clock that was set back leaves a bucket whose last window, counted
// from its first, is still to come.
//
// Defence: TestMemoryStoreIsRightAfterTheWallClockWasSet.
func TestCanaryBucketWithAFutureDenies(t *testing.T) {
	const window = time.Millisecond
	store := bareStore(t, memorystore.Config{Tokens: 1, Interval: window, DisablePurge: true})
	before := uint64(time.Now().UnixNano())
	store.Take(t.Context(), "a")
	bucket := bucketOfLibrary(store, "a")
	if start := *inside[uint64](t, bucket, "startTime"); start < before || start > uint64(time.Now().UnixNano()) {
		t.Errorf("the bucket began at %d, want the wall clock's time", start)
	}

	*inside[uint64](t, bucket, "lastTick") = uint64(time.Hour / window)

	for range 5 {
		time.Sleep(2 * window)
		if _, _, _, ok, _ := store.Take(t.Context(), "a"); ok {
			t.Error("a call passed, want none for an hour")
		}
	}
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
