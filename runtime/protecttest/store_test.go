package protecttest_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	limiter "github.com/sethvargo/go-limiter"
	"pgregory.net/rapid"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/protecttest"
)

func TestALimitObeysTheTestsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New(protect.WithStores(protecttest.Stores()))
		defer rt.Close(context.Background())
		l, err := rt.NewLimiter("api", protect.LimitPolicy{Tokens: 2, Window: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		take := func() error { return l.Take(t.Context(), "ann") }

		for range 2 {
			if err := take(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
		}
		refusal, ok := errors.AsType[*protect.Error](take())
		if !ok || refusal.Kind != protect.KindRateLimited || refusal.RetryAfter != 40*time.Minute {
			t.Fatalf("the third call is %v, want it refused for 40m", refusal)
		}

		time.Sleep(refusal.RetryAfter - time.Nanosecond)
		if err := take(); !errors.Is(err, protect.ErrRateLimited) {
			t.Errorf("just before the end of the window: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if err := take(); err != nil {
			t.Errorf("at the end of the window: %v", err)
		}
	})
}

func TestAWaitForATokenTakesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New(protect.WithStores(protecttest.Stores()))
		defer rt.Close(context.Background())
		l, err := rt.NewLimiter("api", protect.LimitPolicy{Tokens: 1, Window: time.Hour, Wait: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for range 3 {
			if err := l.Take(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 2*time.Hour {
			t.Errorf("three calls took %v, want 2h", d)
		}
	})
}

func TestEachLimiterHasItsOwnStore(t *testing.T) {
	open := protecttest.Stores()
	a, errA := open("a", 1, time.Hour)
	b, errB := open("b", 2, time.Minute)
	if errA != nil || errB != nil || a == b {
		t.Fatalf("stores %p (%v) and %p (%v)", a, errA, b, errB)
	}
	if _, _, _, ok, err := a.Take(t.Context(), "k"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if tokens, left, err := b.Get(t.Context(), "k"); tokens != 2 || left != 2 || err != nil {
		t.Errorf("b has %d of %d (%v)", left, tokens, err)
	}
}

func TestABucketHasTheSettingsOfItsStore(t *testing.T) {
	s := protecttest.NewStore(5, time.Minute)
	for _, err := range []error{s.Set(t.Context(), "k", 6, time.Minute), s.Set(t.Context(), "k", 5, time.Hour)} {
		if !errors.Is(err, protect.ErrInvalid) {
			t.Errorf("other settings are %v", err)
		}
	}
}

func TestAClosedStoreIsStopped(t *testing.T) {
	ctx := t.Context()
	s := protecttest.NewStore(5, time.Minute)
	for range 2 {
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	_, _, _, _, take := s.Take(ctx, "k")
	_, _, _, _, upTo := s.TakeUpTo(ctx, "k", 1)
	_, _, _, peek := s.Peek(ctx, "k")
	_, _, get := s.Get(ctx, "k")
	for name, err := range map[string]error{
		"Take": take, "TakeUpTo": upTo, "Peek": peek, "Get": get,
		"Refund": s.Refund(ctx, "k", 1), "Burst": s.Burst(ctx, "k", 1), "Set": s.Set(ctx, "k", 5, time.Minute),
	} {
		if err != limiter.ErrStopped {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABurstHasNoEnd(t *testing.T) {
	ctx := t.Context()
	s := protecttest.NewStore(5, time.Hour)
	if _, _, _, ok, err := s.Take(ctx, "k"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for range 2 {
		if err := s.Burst(ctx, "k", math.MaxUint64); err != nil {
			t.Fatal(err)
		}
	}
	if _, left, err := s.Get(ctx, "k"); left != math.MaxUint64 || err != nil {
		t.Errorf("%d are left (%v)", left, err)
	}
}

// naive is a store that keeps a diary: every token that was taken, given back
// or added, with the window that it belongs to. What it answers it counts anew
// each time.
type naive struct {
	tokens uint64
	window time.Duration
	diary  map[string][]diaryEntry
}

type diaryEntry struct {
	what  string // taken, back or added
	n     uint64
	start time.Time // of the window
}

// now returns the key's running window, and what is left in it.
func (m *naive) now(key string) (left uint64, start time.Time, running bool) {
	left = m.tokens
	for _, e := range m.diary[key] {
		if time.Since(e.start) >= m.window {
			continue // a window that is over
		}
		switch e.what {
		case "taken":
			left--
		default:
			left += e.n
		}
		start, running = e.start, true
		if left == m.tokens { // all is back
			running = false
		}
	}
	if !running {
		return m.tokens, time.Time{}, false
	}
	return left, start, true
}

func (m *naive) write(key, what string, n uint64, start time.Time) {
	m.diary[key] = append(m.diary[key], diaryEntry{what, n, start})
	if _, _, running := m.now(key); !running {
		m.diary[key] = nil
	}
}

func (m *naive) reset(start time.Time, running bool) uint64 {
	if !running {
		return 0
	}
	return uint64(start.Add(m.window).UnixNano())
}

func TestAStoreAgainstAModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(unhurried{t}, againstTheModel)
	})
}

// unhurried hides the deadline of a test from rapid, which asks no one else for
// it: inside a bubble there is none.
type unhurried struct{ *testing.T }

func againstTheModel(t *rapid.T) {
	ctx := context.Background()
	m := &naive{
		tokens: rapid.Uint64Range(1, 4).Draw(t, "tokens"),
		window: time.Duration(rapid.Int64Range(1, 10).Draw(t, "window")),
		diary:  map[string][]diaryEntry{},
	}
	s := protecttest.NewStore(m.tokens, m.window)
	key := rapid.SampledFrom([]string{"a", "b", ""})
	ends := []uint64{0, 1} // of windows, for refunds

	type answer struct {
		tokens, remaining, reset uint64
		ok                       bool
		err                      error
	}
	take := func(t *rapid.T, k string, limit uint64, got answer) {
		left, start, running := m.now(k)
		limit = min(limit, m.tokens)
		want := answer{tokens: limit, reset: m.reset(start, running)}
		if taken := int64(m.tokens) - int64(left); limit > 0 && taken < int64(limit) {
			if !running {
				start = time.Now()
			}
			m.write(k, "taken", 1, start)
			want.ok, want.reset = true, m.reset(start, true)
			want.remaining = uint64(int64(limit) - taken - 1)
		}
		if got != want {
			t.Fatalf("take %q up to %d: %+v, want %+v", k, limit, got, want)
		}
		ends = append(ends, got.reset)
	}

	t.Repeat(map[string]func(*rapid.T){
		"Take": func(t *rapid.T) {
			k := key.Draw(t, "key")
			var got answer
			got.tokens, got.remaining, got.reset, got.ok, got.err = s.Take(ctx, k)
			take(t, k, m.tokens, got)
		},
		"TakeUpTo": func(t *rapid.T) {
			k, limit := key.Draw(t, "key"), rapid.Uint64Range(0, 6).Draw(t, "limit")
			var got answer
			got.tokens, got.remaining, got.reset, got.ok, got.err = s.TakeUpTo(ctx, k, limit)
			take(t, k, limit, got)
		},
		"Refund": func(t *rapid.T) {
			k, end := key.Draw(t, "key"), rapid.SampledFrom(ends).Draw(t, "end")
			if left, start, running := m.now(k); running && m.reset(start, running) == end && left < m.tokens {
				m.write(k, "back", 1, start)
			}
			if err := s.Refund(ctx, k, end); err != nil {
				t.Fatal(err)
			}
		},
		"Burst": func(t *rapid.T) {
			k, n := key.Draw(t, "key"), rapid.Uint64Range(0, 3).Draw(t, "n")
			if _, start, running := m.now(k); running {
				m.write(k, "added", n, start)
			}
			if err := s.Burst(ctx, k, n); err != nil {
				t.Fatal(err)
			}
		},
		"Set": func(t *rapid.T) {
			k := key.Draw(t, "key")
			m.diary[k] = nil
			if err := s.Set(ctx, k, m.tokens, m.window); err != nil {
				t.Fatal(err)
			}
		},
		"time passes": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.Int64Range(0, 6).Draw(t, "d")))
		},
		"": func(t *rapid.T) {
			for _, k := range []string{"a", "b", ""} {
				left, start, running := m.now(k)
				want := fmt.Sprint(m.tokens, left, m.reset(start, running), nil)
				tokens, remaining, reset, err := s.Peek(ctx, k)
				if got := fmt.Sprint(tokens, remaining, reset, err); got != want {
					t.Fatalf("peek %q: %s, want %s", k, got, want)
				}
				if tokens, remaining, err := s.Get(ctx, k); tokens != m.tokens || remaining != left || err != nil {
					t.Fatalf("get %q: %d of %d (%v), want %d of %d", k, remaining, tokens, err, left, m.tokens)
				}
			}
		},
	})
}

// What a Limiter makes of the store, scaled limits and refunds included.
func TestALimiterOverTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := protect.New(protect.WithStores(protecttest.Stores()))
		defer rt.Close(context.Background())
		scale := 1.0
		policy := protect.Policy{
			Limit:   &protect.LimitPolicy{Tokens: 10, Window: time.Minute, Scale: func() float64 { return scale }},
			Breaker: &protect.BreakerPolicy{Failures: 1},
		}
		if err := rt.Configure("k", policy); err != nil {
			t.Fatal(err)
		}
		call := func(err error) error {
			_, err = protect.Execute(t.Context(), rt, "k", func(context.Context) (int, error) { return 0, err })
			return err
		}
		for range 4 {
			if err := call(nil); err != nil {
				t.Fatal(err)
			}
		}
		protecttest.AssertBucket(t, rt, "k", "", 6)

		scale = 0.5
		protecttest.AssertBucket(t, rt, "k", "", 1)
		var kinds []protect.Kind
		for range 3 {
			kinds = append(kinds, protect.KindOf(call(nil)))
		}
		if want := []protect.Kind{protect.KindNone, protect.KindRateLimited, protect.KindRateLimited}; !slices.Equal(kinds, want) {
			t.Errorf("under half the limit: %v, want %v", kinds, want)
		}

		scale = 1
		protecttest.AssertBucket(t, rt, "k", "", 5)
		if err := call(errDown); err != errDown {
			t.Fatal(err)
		}
		if err := call(nil); !errors.Is(err, protect.ErrBreakerOpen) {
			t.Errorf("after a failure: %v", err)
		}
		protecttest.AssertBucket(t, rt, "k", "", 4)
	})
}
