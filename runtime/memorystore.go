package runtime

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"
)

// When a memoryStore starts a new generation of buckets, counted in windows
// that were started in the current one. A bucket takes about 150 bytes and its
// key.
const (
	rotateAfter  = 1 << 10 // once the generation before is gone
	rotateAtMost = 1 << 20 // even if it is not
)

// memoryStore is an ExactStore on the library's store in memory, which alone
// would keep every key for hours, or lose it while its window runs. It is safe
// for concurrent use and needs no goroutine.
//
// It keeps two generations of buckets. A new key goes into the current one. At
// a rotation the current generation becomes the previous one, and what was the
// previous one is dropped as a whole. A key stays in the previous generation
// until the window it has there is over, and then moves to the current one.
//
// Invariants, under mu:
//
//  1. A key's running window is in one generation only. It is the current one
//     if that holds the key, else the previous one if that holds a window of
//     it which ends no later than rotated + window.
//  2. No running window is dropped. One that was running at the rotation ends
//     by rotated + window, as do by invariant 1 all that the previous
//     generation counts later; and that is dropped no earlier. The two
//     exceptions are told below.
//  3. Only keys that their generation holds are given tokens with Burst: on an
//     absent key the library would raise the limit for good.
//  4. While there is a previous generation, the timer is set to drop it, so
//     that memory becomes free without traffic. Otherwise the current
//     generation has started at most rotateAfter windows, and stays.
//  5. After Close, cur and prev are nil and the timer is off, for ever.
//
// Exceptions to 2: when rotateAtMost windows start within one window's time,
// memory is kept bounded and the windows that began longest ago are forgotten.
// And when the wall clock, which the library reads, was set, all windows are
// forgotten, for none of them ends when it should. The clock is checked when a
// window starts and when a token is refused: a bucket cannot get into the
// future, or be stuck there, without one of the two.
type memoryStore struct {
	tokens       uint64
	window       time.Duration
	rotateAfter  int64
	rotateAtMost int64
	open         func() generation // an empty generation

	started atomic.Int64 // windows begun in cur; written under mu, at least shared

	// mu is shared by takes that the current generation can answer alone; all
	// else, whatever looks and then changes, holds it exclusively.
	mu      sync.RWMutex
	cur     generation
	prev    generation // no store in it: there is none
	rotated uint64     // when prev became that, in nanoseconds since 1970
	clock   clockWatch // reads the clock that the generations read
	timer   *time.Timer
}

var _ ExactStore = (*memoryStore)(nil)

func newMemoryStore(tokens uint64, window time.Duration) *memoryStore {
	open := func() generation { return newGeneration(tokens, window) }
	return &memoryStore{
		tokens:       tokens,
		window:       window,
		rotateAfter:  rotateAfter,
		rotateAtMost: rotateAtMost,
		open:         open,
		cur:          open(),
		clock:        newClockWatch(libraryClock(), monotonicClock(), window),
	}
}

// Take implements [limiter.Store].
func (m *memoryStore) Take(ctx context.Context, key string) (tokens, remaining, reset uint64, ok bool, err error) {
	if remaining, reset, ok := m.takeQuickly(ctx, key); ok {
		return m.tokens, remaining, reset, true, nil
	}
	return m.TakeUpTo(ctx, key, m.tokens)
}

// takeQuickly takes a token that the current generation has, if nothing else
// has to change for it. Otherwise it has taken nothing that counts.
func (m *memoryStore) takeQuickly(ctx context.Context, key string) (remaining, reset uint64, ok bool) {
	m.mu.RLock()
	if !m.cur.exists() || m.full() || m.prev.exists() && !m.cur.holds(ctx, key) {
		m.mu.RUnlock()
		return 0, 0, false
	}
	_, remaining, reset, ok, _ = m.cur.Take(ctx, key)
	if ok && remaining == m.tokens-1 {
		m.started.Add(1)
		ok = !m.clock.stepped() // or else the token is forgotten with the rest
	}
	m.mu.RUnlock()
	return remaining, reset, ok
}

// TakeUpTo implements [ExactStore].
func (m *memoryStore) TakeUpTo(ctx context.Context, key string, limit uint64) (tokens, remaining, reset uint64, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter(); err != nil {
		return 0, 0, 0, false, err
	}
	limit = min(limit, m.tokens)
	b := m.look(ctx, key)
	if b.err != nil {
		return 0, 0, 0, false, b.err
	}
	beyond := m.tokens - limit // of the tokens left, those that limit withholds
	if b.left <= beyond {
		return limit, 0, m.end(b), false, b.give(ctx, key, 0)
	}
	if b.left == m.tokens {
		m.started.Add(1)
	}
	if !b.in.exists() {
		b = m.cur.look(ctx, key)
	}
	return limit, b.left - beyond - 1, b.reset, b.took == 1, b.err
}

// Peek implements [ExactStore].
func (m *memoryStore) Peek(ctx context.Context, key string) (tokens, remaining, reset uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter(); err != nil {
		return 0, 0, 0, err
	}
	b := m.look(ctx, key)
	if b.err != nil {
		return 0, 0, 0, b.err
	}
	return m.tokens, b.left, m.end(b), b.give(ctx, key, 0)
}

// Refund implements [ExactStore].
func (m *memoryStore) Refund(ctx context.Context, key string, reset uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter(); err != nil {
		return err
	}
	b := m.look(ctx, key)
	if b.err != nil {
		return b.err
	}
	if b.reset == reset && b.left < m.tokens {
		return b.give(ctx, key, 1)
	}
	return b.give(ctx, key, 0)
}

// Get implements [limiter.Store]. It is never stale, and answers all tokens
// for a key without a window.
func (m *memoryStore) Get(ctx context.Context, key string) (tokens, remaining uint64, err error) {
	tokens, remaining, _, err = m.Peek(ctx, key)
	return tokens, remaining, err
}

// Set implements [limiter.Store] as far as a bucket can have the settings of
// its store: it forgets the key's window. Other settings are an error.
func (m *memoryStore) Set(ctx context.Context, key string, tokens uint64, interval time.Duration) error {
	if tokens != m.tokens || interval != m.window {
		return invalid("limit", "a store of %d tokens in %v has no bucket of %d in %v", m.tokens, m.window, tokens, interval)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter(); err != nil {
		return err
	}
	for _, g := range [...]generation{m.cur, m.prev} {
		if g.exists() && g.holds(ctx, key) {
			if err := g.Set(ctx, key, tokens, interval); err != nil {
				return err
			}
		}
	}
	return nil
}

// Burst implements [limiter.Store] for a key whose window is running. Without
// one it does nothing: the next window has all its tokens anyway.
func (m *memoryStore) Burst(ctx context.Context, key string, tokens uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter(); err != nil {
		return err
	}
	b := m.look(ctx, key)
	if b.err != nil {
		return b.err
	}
	return b.give(ctx, key, tokens)
}

// Close implements [limiter.Store]. Everything is forgotten, and from then on
// every other method returns [limiter.ErrStopped].
func (m *memoryStore) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cur, m.prev = generation{}, generation{}
	m.stopTimer()
	return nil
}

// enter begins each use under the exclusive lock, with what is due.
func (m *memoryStore) enter() error {
	switch {
	case !m.cur.exists():
		return limiter.ErrStopped
	case m.clock.stepped():
		m.forget()
	case m.full():
		m.rotate()
	}
	return nil
}

// full reports whether the current generation should become the previous one.
func (m *memoryStore) full() bool {
	n := m.started.Load()
	return n >= m.rotateAfter && (!m.prev.exists() || n >= m.rotateAtMost)
}

func (m *memoryStore) rotate() {
	m.cur, m.prev = m.open(), m.cur
	m.rotated = m.clock.wall()
	m.started.Store(0)
	if m.timer == nil {
		m.timer = time.AfterFunc(m.window, m.expire)
	} else {
		m.timer.Reset(m.window)
	}
}

// expire drops the previous generation once all its windows are over. The
// timer calls it; calling it at any other time does no harm.
func (m *memoryStore) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch now := m.clock.wall(); {
	case !m.prev.exists():
	case m.clock.stepped():
		m.forget()
	case now < m.rotated+uint64(m.window):
		// The timer and the wall clock need not agree to the nanosecond.
		m.timer.Reset(max(time.Duration(m.rotated+uint64(m.window)-now), time.Millisecond))
	default:
		m.prev = generation{}
		if m.full() {
			m.rotate()
		}
	}
}

// forget drops all buckets and takes the wall clock as right from now on.
func (m *memoryStore) forget() {
	m.cur, m.prev = m.open(), generation{}
	m.started.Store(0)
	m.stopTimer()
	m.clock.restart()
}

func (m *memoryStore) stopTimer() {
	if m.timer != nil {
		m.timer.Stop()
	}
}

// look finds the key's window by invariant 1. Without one all tokens are left,
// and the books say that they are in no generation.
func (m *memoryStore) look(ctx context.Context, key string) books {
	if m.cur.holds(ctx, key) {
		return m.cur.look(ctx, key)
	}
	if m.prev.exists() && m.prev.holds(ctx, key) {
		// The look begins a new window if the old one is over. It is one that
		// does not count, by invariant 1, so nothing has to be given back.
		if b := m.prev.look(ctx, key); b.err != nil || b.reset <= m.rotated+uint64(m.window) {
			return b
		}
	}
	return books{left: m.tokens}
}

// end returns the end of the running window, 0 when there is none: one of which
// nothing was used does not bind anybody.
func (m *memoryStore) end(b books) uint64 {
	if b.left == m.tokens {
		return 0
	}
	return b.reset
}

// generation is a store of the library that never purges. The zero generation
// is none.
type generation struct{ limiter.Store }

// newGeneration opens an empty one: no goroutine, and next to no memory until
// it is used.
func newGeneration(tokens uint64, window time.Duration) generation {
	store, err := memorystore.New(&memorystore.Config{
		Tokens:       tokens,
		Interval:     window,
		InitialAlloc: 8,
		DisablePurge: true,
	})
	if err != nil {
		panic("protect: memorystore.New: " + err.Error()) // v1.1.0 has no way to fail
	}
	return generation{store}
}

func (g generation) exists() bool { return g.Store != nil }

// holds reports whether the key has a bucket, with or without a window.
func (g generation) holds(ctx context.Context, key string) bool {
	tokens, _, _ := g.Get(ctx, key)
	return tokens > 0
}

// answer is what Take returns.
type answer struct {
	tokens, remaining, reset uint64
	ok                       bool
	err                      error
}

func (g generation) take(ctx context.Context, key string) (a answer) {
	a.tokens, a.remaining, a.reset, a.ok, a.err = g.Take(ctx, key)
	return a
}

// books is what a look at a bucket found. Take is the only method of the
// library that minds the time, so a look takes a token if there is one.
type books struct {
	in    generation
	left  uint64 // before the look
	took  uint64 // by the look: 1 or 0
	reset uint64 // the end of the window
	err   error
}

// look reads a key that g holds, or starts its window.
func (g generation) look(ctx context.Context, key string) books {
	a := g.take(ctx, key)
	b := books{in: g, left: a.remaining, reset: a.reset, err: a.err}
	if a.ok {
		b.left, b.took = a.remaining+1, 1
	}
	return b
}

// give returns what the look took, and n more. The library adds both to the
// window that the look saw: if that ended in between, the next Take starts
// afresh without them.
func (b books) give(ctx context.Context, key string, n uint64) error {
	if !b.in.exists() || b.took+n == 0 {
		return nil
	}
	return b.in.Burst(ctx, key, b.took+n)
}
