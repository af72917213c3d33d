package runtime

import (
	"context"
	"fmt"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sethvargo/go-limiter"
	"pgregory.net/rapid"
)

// handClock is the two clocks of a machine, moved by hand.
type handClock struct {
	mu   sync.Mutex
	time time.Duration
	off  time.Duration // of the wall clock, from the time
}

func (c *handClock) wall() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 1_700_000_000e9 + uint64(c.time+c.off)
}

func (c *handClock) mono() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

// pass lets time go by.
func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time += d
}

// step sets the wall clock.
func (c *handClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// libraryDouble does what the library's store does, at a time that a test can
// move; TestLibraryDoubleAnswersAsTheLibrary holds it to that.
type libraryDouble struct {
	tokens uint64
	window time.Duration
	now    func() uint64

	mu      sync.Mutex
	buckets map[string]*bucketDouble
}

type bucketDouble struct{ start, max, left, tick uint64 }

func (l *libraryDouble) bucket() *bucketDouble {
	return &bucketDouble{start: l.now(), max: l.tokens, left: l.tokens}
}

func (l *libraryDouble) Take(_ context.Context, key string) (tokens, remaining, reset uint64, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		b = l.bucket()
		l.buckets[key] = b
	}
	now := l.now()
	if now < b.start {
		b.start, b.tick = now, 0
	}
	tick := (now - b.start) / uint64(l.window)
	if b.tick < tick {
		b.left, b.tick = b.max, tick
	}
	if b.left > 0 {
		b.left--
		ok, remaining = true, b.left
	}
	return b.max, remaining, b.start + (tick+1)*uint64(l.window), ok, nil
}

func (l *libraryDouble) Get(_ context.Context, key string) (tokens, remaining uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[key]; b != nil {
		return b.max, b.left, nil
	}
	return 0, 0, nil
}

func (l *libraryDouble) Set(_ context.Context, key string, tokens uint64, _ time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets[key] = l.bucket()
	return nil
}

func (l *libraryDouble) Burst(_ context.Context, key string, tokens uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		b = l.bucket()
		b.max += tokens
		b.left = b.max
		l.buckets[key] = b
		return nil
	}
	b.left += tokens
	return nil
}

func (l *libraryDouble) Close(context.Context) error { return nil }

// newHandStore returns a store on library doubles that live by the clock.
func newHandStore(tokens uint64, window time.Duration, c *handClock) *memoryStore {
	return newDoubleStore(tokens, window, c.wall, c.mono)
}

// newBubbleStore returns one that lives by a synctest bubble's time.
func newBubbleStore(tokens uint64, window time.Duration) *memoryStore {
	return newDoubleStore(tokens, window, func() uint64 { return uint64(time.Now().UnixNano()) }, monotonicClock())
}

func newDoubleStore(tokens uint64, window time.Duration, wall func() uint64, mono func() time.Duration) *memoryStore {
	m := newMemoryStore(tokens, window)
	m.open = func() generation {
		return generation{&libraryDouble{tokens: tokens, window: window, now: wall, buckets: map[string]*bucketDouble{}}}
	}
	m.cur = m.open()
	m.clock = newClockWatch(wall, mono, window)
	return m
}

// buckets counts what a store on library doubles keeps.
func (m *memoryStore) buckets() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range []generation{m.cur, m.prev} {
		if g.exists() {
			n += len(g.Store.(*libraryDouble).buckets)
		}
	}
	return n
}

func TestLibraryDoubleAnswersAsTheLibrary(t *testing.T) {
	const window = 200 * time.Microsecond
	rapid.Check(t, func(t *rapid.T) {
		tokens := rapid.Uint64Range(1, 4).Draw(t, "tokens")
		library := newGeneration(tokens, window)
		var now uint64
		double := generation{&libraryDouble{tokens: tokens, window: window, now: func() uint64 { return now }, buckets: map[string]*bucketDouble{}}}
		for range 60 {
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				if double.holds(t.Context(), key) {
					library.Burst(t.Context(), key, 2)
					double.Burst(t.Context(), key, 2)
				}
			case 1:
				gotTokens, gotLeft, _ := double.Get(t.Context(), key)
				wantTokens, wantLeft, _ := library.Get(t.Context(), key)
				if gotTokens != wantTokens || gotLeft != wantLeft {
					t.Fatalf("Get: the double says %d of %d, the library %d of %d", gotLeft, gotTokens, wantLeft, wantTokens)
				}
			default:
				want := library.take(t.Context(), key)
				now = want.reset - uint64(window) // the first moment at which the library can have answered that
				if got := double.take(t.Context(), key); got != want {
					t.Fatalf("Take: the double says %+v, the library %+v", got, want)
				}
			}
		}
	})
}

// windowModel is what a bucket means, in the simplest terms.
type windowModel struct {
	end  uint64
	used uint64
}

// TestMemoryStoreMatchesWindowModel checks invariants 1 to 4: whatever rotates
// and expires in between, each key has its windows, and they are exact.
func TestMemoryStoreMatchesWindowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			ctx    = t.Context()
			clock  = new(handClock)
			tokens = rapid.Uint64Range(1, 5).Draw(t, "tokens")
			window = time.Hour
			store  = newHandStore(tokens, window, clock)
			model  = map[string]windowModel{}
			keys   = rapid.SampledFrom([]string{"a", "b", "c"})
		)
		defer store.Close(ctx)
		store.rotateAfter = rapid.Int64Range(1, 4).Draw(t, "rotateAfter")
		at := func(key string) windowModel {
			if w := model[key]; w.end > clock.wall() {
				return w
			}
			return windowModel{}
		}
		take := func(key string, limit uint64, take func() (tokens, remaining, reset uint64, ok bool, err error)) {
			w := at(key)
			gotTokens, remaining, reset, ok, err := take()
			if err != nil || gotTokens != limit {
				t.Fatalf("took %q up to %d: tokens %d, %v", key, limit, gotTokens, err)
			}
			if wantOK := w.used < limit; ok != wantOK {
				t.Fatalf("took %q up to %d with %d used: ok %v", key, limit, w.used, ok)
			}
			if want := limit - min(limit, w.used+1); remaining != want {
				t.Fatalf("took %q up to %d with %d used: remaining %d, want %d", key, limit, w.used, remaining, want)
			}
			switch {
			case w.end != 0 && (ok || w.used > 0) && reset != w.end:
				t.Fatalf("took %q: the window ends at %d, was to end at %d", key, reset, w.end)
			case w.end == 0 && ok && (reset <= clock.wall() || reset > clock.wall()+uint64(window)):
				t.Fatalf("took %q: a new window ends %v from now", key, time.Duration(reset-clock.wall()))
			}
			if ok {
				model[key] = windowModel{end: reset, used: w.used + 1}
			}
		}
		actions := map[string]func(){
			"take": func() {
				key := keys.Draw(t, "key")
				take(key, tokens, func() (uint64, uint64, uint64, bool, error) { return store.Take(ctx, key) })
			},
			"take up to": func() {
				key, limit := keys.Draw(t, "key"), rapid.Uint64Range(0, tokens).Draw(t, "limit")
				take(key, limit, func() (uint64, uint64, uint64, bool, error) { return store.TakeUpTo(ctx, key, limit) })
			},
			"peek": func() {
				key := keys.Draw(t, "key")
				w := at(key)
				if w.used == 0 {
					w.end = 0
				}
				gotTokens, remaining, reset, err := store.Peek(ctx, key)
				if err != nil || gotTokens != tokens || remaining != tokens-w.used || reset != w.end {
					t.Fatalf("peeked %q: %d of %d until %d, %v; want %+v", key, remaining, gotTokens, reset, err, w)
				}
			},
			"get": func() {
				key := keys.Draw(t, "key")
				gotTokens, remaining, err := store.Get(ctx, key)
				if want := tokens - at(key).used; err != nil || gotTokens != tokens || remaining != want {
					t.Fatalf("got %q: %d of %d, %v; want %d", key, remaining, gotTokens, err, want)
				}
			},
			"refund": func() {
				key := keys.Draw(t, "key")
				if err := store.Refund(ctx, key, model[key].end); err != nil {
					t.Fatal(err)
				}
				if w := at(key); w.used > 0 {
					w.used--
					model[key] = w
				}
			},
			"refund of another window": func() {
				key := keys.Draw(t, "key")
				if err := store.Refund(ctx, key, at(key).end+1); err != nil {
					t.Fatal(err)
				}
			},
			"reset": func() {
				key := keys.Draw(t, "key")
				if err := store.Set(ctx, key, tokens, window); err != nil {
					t.Fatal(err)
				}
				delete(model, key)
			},
			"pass": func() {
				part := rapid.SampledFrom([]time.Duration{1, window / 3, window / 2, window - 1, window}).Draw(t, "time")
				clock.pass(part)
			},
			"expire": func() { store.expire() },
		}
		often := []string{"take", "take", "take", "take up to", "peek", "get", "refund", "refund of another window", "reset", "pass", "pass", "expire"}
		for range 100 {
			actions[rapid.SampledFrom(often).Draw(t, "action")]()
		}
	})
}

func TestMemoryStoreForgetsIdleKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Given a million entities that call once each, a hundred in a window
		const window = time.Second
		store := newBubbleStore(3, window)
		defer store.Close(t.Context())
		most := 0
		for i := range 1_000_000 {
			if _, _, _, ok, err := store.Take(t.Context(), strconv.Itoa(i)); !ok || err != nil {
				t.Fatalf("first call of %d: %v, %v", i, ok, err)
			}
			if i%100 == 0 {
				time.Sleep(window)
				most = max(most, store.buckets())
			}
		}
		// Then there never were more than two generations of their buckets
		if most > 2*rotateAfter+100 {
			t.Errorf("kept %d buckets", most)
		}
		// and after the traffic, without a call, one small one is left at most
		time.Sleep(3 * window)
		synctest.Wait()
		if n := store.buckets(); n > rotateAfter {
			t.Errorf("%d buckets are left of idle entities", n)
		}
	})
}

func TestMemoryStoreFreesABurstOfKeysWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Given many entities within one window, then none
		const window = time.Minute
		store := newBubbleStore(3, window)
		defer store.Close(t.Context())
		for i := range 50_000 {
			store.Take(t.Context(), strconv.Itoa(i))
		}
		if n := store.buckets(); n != 50_000 {
			t.Fatalf("%d buckets while the windows run", n)
		}
		// When two windows have passed
		time.Sleep(2*window + time.Second)
		synctest.Wait()
		// Then nothing is left, and nothing is due
		if n := store.buckets(); n != 0 {
			t.Errorf("%d buckets are left", n)
		}
		if store.timer.Stop() {
			t.Error("the timer goes on with nothing to free")
		}
	})
}

// The library itself, and its memory, in windows that are over at once.
func TestMemoryStoreGivesMemoryBack(t *testing.T) {
	heap := func() uint64 {
		goruntime.GC()
		var s goruntime.MemStats
		goruntime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	store := newMemoryStore(1, time.Millisecond)
	defer store.Close(t.Context())
	before := heap()
	for i := range 300_000 {
		store.Take(t.Context(), strconv.Itoa(i))
	}
	// All of them would be 45 MB and more.
	if after := heap(); after > before+16<<20 {
		t.Errorf("the heap grew by %d MB", (after-before)>>20)
	}
}

func TestMemoryStoreStartsNoGoroutine(t *testing.T) {
	store := newMemoryStore(1, time.Hour)
	defer store.Close(t.Context())
	store.rotateAfter = 2
	for i := range 10 {
		store.Take(t.Context(), strconv.Itoa(i))
	}
	if n := strings.Count(goroutineStacks(), "go-limiter"); n != 0 {
		t.Errorf("%d goroutines of the library", n)
	}
}

func TestMemoryStoreCapsTheEntitiesOfOneWindow(t *testing.T) {
	// Given a cap of 100 windows a generation, and windows that never end
	store := newHandStore(1, time.Hour, new(handClock))
	defer store.Close(t.Context())
	store.rotateAfter, store.rotateAtMost = 10, 100
	for i := range 1000 {
		store.Take(t.Context(), strconv.Itoa(i))
		// Then no more than two generations are kept
		if n := store.buckets(); n > 200 {
			t.Fatalf("%d buckets after %d entities", n, i+1)
		}
	}
	// and the last hundred entities are not forgotten
	for i := 900; i < 1000; i++ {
		if _, _, _, ok, _ := store.Take(t.Context(), strconv.Itoa(i)); ok {
			t.Errorf("entity %d was forgotten", i)
		}
	}
}

func TestMemoryStoreIsRightAfterTheWallClockWasSet(t *testing.T) {
	const window = 10 * time.Minute
	use := func(t *testing.T, store *memoryStore, want int) {
		t.Helper()
		got := 0
		for range 5 {
			if _, _, _, ok, _ := store.Take(t.Context(), "a"); ok {
				got++
			}
		}
		if got != want {
			t.Errorf("%d calls passed, want %d", got, want)
		}
	}
	steps := map[string][]time.Duration{
		"forwards":               {3 * time.Hour},
		"backwards":              {-3 * time.Hour},
		"forwards by less":       {5 * time.Minute},
		"backwards by less":      {-5 * time.Minute},
		"forwards and backwards": {3 * time.Hour, -3 * time.Hour},
		"backwards and forwards": {-3 * time.Hour, 3 * time.Hour},
	}
	for name, steps := range steps {
		t.Run(name, func(t *testing.T) {
			// Given a bucket that went through many windows and is used up
			clock := new(handClock)
			store := newHandStore(3, window, clock)
			defer store.Close(t.Context())
			for range 20 {
				use(t, store, 3)
				clock.pass(window)
			}
			use(t, store, 3)
			// When the clock is set, and calls go on
			for _, step := range steps {
				clock.step(step)
				store.Take(t.Context(), "a")
				store.Take(t.Context(), "a")
				store.Take(t.Context(), "a")
			}
			// Then one window later the limit is right, and stays so
			clock.pass(window)
			for range 3 {
				use(t, store, 3)
				clock.pass(window - 1)
				use(t, store, 0)
				clock.pass(1)
			}
		})
	}
}

func TestMemoryStoreRotatesAfterTheWallClockWasSetBack(t *testing.T) {
	// Given a previous generation that is due at a time that was set away
	clock := new(handClock)
	store := newHandStore(1, time.Minute, clock)
	defer store.Close(t.Context())
	store.rotateAfter = 10
	for i := range 15 {
		store.Take(t.Context(), strconv.Itoa(i))
	}
	clock.step(-10 * time.Hour)
	// When the timer comes
	clock.pass(time.Minute)
	store.expire()
	// Then nothing is kept until that time comes round again
	if n := store.buckets(); n != 0 {
		t.Errorf("%d buckets are kept", n)
	}
}

func TestMemoryStoreToleratesAClockThatIsSlewed(t *testing.T) {
	clock := new(handClock)
	store := newHandStore(2, time.Hour, clock)
	defer store.Close(t.Context())
	for range 100 {
		store.Take(t.Context(), "a")
		store.Take(t.Context(), "a")
		// 0.05 % of nearly a window, which is more than the tolerance
		clock.pass(time.Hour - 2*time.Second)
		clock.step(1800 * time.Millisecond)
		if _, _, _, ok, _ := store.Take(t.Context(), "a"); ok {
			t.Fatal("a slewed clock was taken for one that was set")
		}
		clock.pass(200 * time.Millisecond)
	}
}

// The library reads the system's clock in a bubble too. There, time that was
// slept is a wall clock that stands still, and is noticed.
func TestMemoryStoreKeepsItsLimitsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := newLimiter(nil, newLife(), "l", LimitPolicy{Tokens: 2, Window: time.Minute}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close(t.Context())
		for range 3 {
			for range 2 {
				if err := l.Take(t.Context(), "a"); err != nil {
					t.Fatal(err)
				}
			}
			refusal := refused(t, l.Take(t.Context(), "a"))
			if refusal.RetryAfter >= time.Minute {
				t.Fatalf("RetryAfter %v", refusal.RetryAfter)
			}
			time.Sleep(refusal.RetryAfter)
		}
	})
}

func TestMemoryStoreWindowsOfAnyLength(t *testing.T) {
	for _, window := range []time.Duration{1, 2, 7, time.Microsecond, time.Hour, 300 * 24 * time.Hour, Forever} {
		t.Run(window.String(), func(t *testing.T) {
			store := newMemoryStore(2, window)
			defer store.Close(t.Context())
			store.rotateAfter = 3
			for i := range 100 {
				_, remaining, reset, ok, err := store.Take(t.Context(), strconv.Itoa(i%5))
				if err != nil || reset == 0 || remaining > 1 {
					t.Fatalf("take %d: remaining %d, reset %d, ok %v, %v", i, remaining, reset, ok, err)
				}
				if window >= time.Hour {
					if want := i < 10; ok != want {
						t.Fatalf("take %d: %v", i, ok)
					}
					if now := store.clock.wall(); reset < now || reset > now+uint64(window) {
						t.Fatalf("take %d: the window ends at %d, now is %d", i, reset, now)
					}
				}
			}
		})
	}
}

func TestMemoryStoreCloseIsFinal(t *testing.T) {
	for name, use := range map[string]func(*memoryStore) error{
		"Take":     func(m *memoryStore) error { _, _, _, _, err := m.Take(t.Context(), "a"); return err },
		"TakeUpTo": func(m *memoryStore) error { _, _, _, _, err := m.TakeUpTo(t.Context(), "a", 1); return err },
		"Peek":     func(m *memoryStore) error { _, _, _, err := m.Peek(t.Context(), "a"); return err },
		"Get":      func(m *memoryStore) error { _, _, err := m.Get(t.Context(), "a"); return err },
		"Refund":   func(m *memoryStore) error { return m.Refund(t.Context(), "a", 1) },
		"Set":      func(m *memoryStore) error { return m.Set(t.Context(), "a", 3, time.Hour) },
		"Burst":    func(m *memoryStore) error { return m.Burst(t.Context(), "a", 1) },
		"expire":   func(m *memoryStore) error { m.expire(); return limiter.ErrStopped },
	} {
		t.Run(name, func(t *testing.T) {
			store := newMemoryStore(3, time.Hour)
			store.rotateAfter = 1
			for i := range 3 {
				store.Take(t.Context(), strconv.Itoa(i))
			}
			if !store.prev.exists() {
				t.Fatal("nothing rotated")
			}
			for range 2 {
				if err := store.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := use(store); err != limiter.ErrStopped {
					t.Errorf("after Close: %v", err)
				}
				if store.cur.exists() || store.prev.exists() || store.timer.Stop() {
					t.Error("something lives after Close")
				}
			}
		})
	}
}

func TestMemoryStoreSetRefusesOtherSettings(t *testing.T) {
	store := newMemoryStore(3, time.Hour)
	defer store.Close(t.Context())
	for _, err := range []error{
		store.Set(t.Context(), "a", 4, time.Hour),
		store.Set(t.Context(), "a", 3, 0),
	} {
		if KindOf(err) != KindInvalid {
			t.Errorf("got %v", err)
		}
	}
}

func TestMemoryStoreCreatesNoBucketUnlessATokenIsTaken(t *testing.T) {
	store := newHandStore(3, time.Hour, new(handClock))
	defer store.Close(t.Context())
	store.rotateAfter = 1
	store.Take(t.Context(), "other")
	store.Take(t.Context(), "another")
	store.Peek(t.Context(), "a")
	store.Get(t.Context(), "a")
	store.TakeUpTo(t.Context(), "a", 0)
	store.Set(t.Context(), "a", 3, time.Hour)
	store.Burst(t.Context(), "a", 3)
	store.Refund(t.Context(), "a", 1)
	if n := store.buckets(); n != 2 {
		t.Errorf("%d buckets, want those of the two others", n)
	}
}

func TestMemoryStoreBurstAddsToARunningWindowOnly(t *testing.T) {
	clock := new(handClock)
	store := newHandStore(2, time.Hour, clock)
	defer store.Close(t.Context())
	count := func() (n int) {
		for range 20 {
			if _, _, _, ok, _ := store.Take(t.Context(), "a"); ok {
				n++
			}
		}
		return n
	}
	store.Burst(t.Context(), "a", 5)
	if n := count(); n != 2 {
		t.Errorf("%d calls passed in a window that began after the burst", n)
	}
	store.Burst(t.Context(), "a", 5)
	if n := count(); n != 5 {
		t.Errorf("%d calls passed after the burst", n)
	}
	clock.pass(time.Hour)
	if n := count(); n != 2 {
		t.Errorf("%d calls passed in the next window", n)
	}
}

func TestMemoryStoreAdmitsExactlyItsTokensConcurrently(t *testing.T) {
	// Given few tokens, many goroutines, and rotations all the time
	const (
		tokens = 50
		keys   = 20
		each   = 100
	)
	store := newMemoryStore(tokens, time.Hour)
	defer store.Close(t.Context())
	store.rotateAfter = 3
	var admitted [keys]atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range each * keys {
				k := i % keys
				key := fmt.Sprint("key", k)
				_, _, reset, ok, err := store.Take(t.Context(), key)
				if err != nil {
					t.Error(err)
				}
				if ok {
					admitted[k].Add(1)
				}
				switch {
				case i%7 == 0:
					store.Peek(t.Context(), key)
				case i%11 == 0 && ok:
					if store.Refund(t.Context(), key, reset) == nil {
						admitted[k].Add(-1)
					}
				case i%13 == 0:
					store.TakeUpTo(t.Context(), key, 0)
				case i%17 == 0:
					store.expire()
				}
			}
		})
	}
	wg.Wait()
	// Then every key passes its tokens, and those given back again, no more
	for k := range keys {
		for {
			_, _, _, ok, _ := store.Take(t.Context(), fmt.Sprint("key", k))
			if !ok {
				break
			}
			admitted[k].Add(1)
		}
		if n := admitted[k].Load(); n != tokens {
			t.Errorf("key %d: %d tokens are taken, want %d", k, n, tokens)
		}
	}
}

func TestMemoryStoreLosesNoWindowWhileItRotatesConcurrently(t *testing.T) {
	// Given time that goes on while many goroutines take, and rotations
	const (
		tokens = 5
		window = 100 * time.Second
	)
	clock := new(handClock)
	store := newHandStore(tokens, window, clock)
	defer store.Close(t.Context())
	store.rotateAfter = 3
	type windowOf struct {
		key   string
		reset uint64
	}
	var (
		mu    sync.Mutex
		taken = map[windowOf]int{}
		wg    sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			for i := range 3000 {
				key := strconv.Itoa(i % 6)
				_, _, reset, ok, err := store.Take(t.Context(), key)
				if err != nil {
					t.Error(err)
				}
				if ok {
					mu.Lock()
					taken[windowOf{key, reset}]++
					mu.Unlock()
				}
				clock.pass(window / 1000)
				if i%20 == 0 {
					store.expire()
				}
			}
		})
	}
	wg.Wait()
	// Then no window passed more than its tokens, and no two overlap
	ends := map[string][]uint64{}
	for w, n := range taken {
		if n > tokens {
			t.Errorf("key %s: %d calls passed in the window that ends at %d", w.key, n, w.reset)
		}
		ends[w.key] = append(ends[w.key], w.reset)
	}
	for key, ends := range ends {
		slices.Sort(ends)
		for i := range len(ends) - 1 {
			if ends[i+1]-ends[i] < uint64(window) {
				t.Errorf("key %s: two windows within %v", key, time.Duration(ends[i+1]-ends[i]))
			}
		}
	}
}

func TestMemoryStoreDoesNotAllocate(t *testing.T) {
	store := newMemoryStore(1<<40, time.Hour)
	defer store.Close(t.Context())
	store.Take(t.Context(), "a")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { store.Take(ctx, "a") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
