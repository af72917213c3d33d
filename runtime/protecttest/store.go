package protecttest

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	limiter "github.com/sethvargo/go-limiter"

	protect "github.com/protectgen/protectgen/runtime"
)

// Store is a [protect.ExactStore] in memory that reads time.Now and nothing
// else, so that inside testing/synctest a window ends when the test's clock
// says so. It is safe for concurrent use and has no goroutine. Make one with
// [NewStore], or have a Runtime make them with [Stores].
type Store struct {
	tokens uint64
	window time.Duration

	// buckets holds the keys that have a window: at least one token that was
	// taken counts, or Burst left more than a new window has. One that is over
	// stays until it is looked at.
	mu      sync.Mutex
	buckets map[string]bucket // nil once the store is closed
}

// bucket is the window of a key. The zero reset is none.
type bucket struct {
	left  uint64
	reset uint64 // the end of the window, which does not belong to it, in nanoseconds since 1970
}

var _ protect.ExactStore = (*Store)(nil)

// Stores is for [protect.WithStores]: each limiter of the Runtime counts in a
// [Store] of its own.
func Stores() func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
	return func(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
		return NewStore(tokens, window), nil
	}
}

// NewStore returns a store of so many tokens in each window, for any key.
func NewStore(tokens uint64, window time.Duration) *Store {
	return &Store{tokens: tokens, window: window, buckets: map[string]bucket{}}
}

// Take implements [limiter.Store].
func (s *Store) Take(ctx context.Context, key string) (tokens, remaining, reset uint64, ok bool, err error) {
	return s.TakeUpTo(ctx, key, s.tokens)
}

// TakeUpTo implements [protect.ExactStore].
func (s *Store) TakeUpTo(_ context.Context, key string, limit uint64) (tokens, remaining, reset uint64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, now, err := s.look(key)
	if err != nil {
		return 0, 0, 0, false, err
	}
	limit = min(limit, s.tokens)
	withheld := s.tokens - limit
	if limit == 0 || b.left <= withheld {
		return limit, 0, b.reset, false, nil
	}
	if b.reset == 0 {
		b.reset = now + uint64(s.window)
	}
	b.left--
	s.keep(key, b)
	return limit, b.left - withheld, b.reset, true, nil
}

// Peek implements [protect.ExactStore].
func (s *Store) Peek(_ context.Context, key string) (tokens, remaining, reset uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, _, err := s.look(key)
	if err != nil {
		return 0, 0, 0, err
	}
	return s.tokens, b.left, b.reset, nil
}

// Get implements [limiter.Store]. A key without a window has all its tokens.
func (s *Store) Get(ctx context.Context, key string) (tokens, remaining uint64, err error) {
	tokens, remaining, _, err = s.Peek(ctx, key)
	return tokens, remaining, err
}

// Refund implements [protect.ExactStore].
func (s *Store) Refund(_ context.Context, key string, reset uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, _, err := s.look(key)
	if err != nil {
		return err
	}
	if b.reset == reset && b.left < s.tokens {
		b.left++
		s.keep(key, b)
	}
	return nil
}

// Burst implements [limiter.Store] for a key whose window is running. Without
// one it does nothing: the next window has all its tokens anyway.
func (s *Store) Burst(_ context.Context, key string, tokens uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, _, err := s.look(key)
	if err != nil {
		return err
	}
	if b.reset != 0 {
		b.left += min(tokens, math.MaxUint64-b.left)
		s.keep(key, b)
	}
	return nil
}

// Set implements [limiter.Store] as far as a bucket can have the settings of
// its store: it forgets the key's window. Other settings are an error.
func (s *Store) Set(_ context.Context, key string, tokens uint64, interval time.Duration) error {
	if tokens != s.tokens || interval != s.window {
		return &protect.Error{Kind: protect.KindInvalid, Name: "limit", Err: errors.New("a bucket cannot have other settings than its store")}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets == nil {
		return limiter.ErrStopped
	}
	delete(s.buckets, key)
	return nil
}

// Close implements [limiter.Store]. Everything is forgotten, and from then on
// every other method returns [limiter.ErrStopped].
func (s *Store) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets = nil
	return nil
}

// look returns the key's bucket at this moment. One whose window is over has
// none and all its tokens.
func (s *Store) look(key string) (b bucket, now uint64, err error) {
	if s.buckets == nil {
		return bucket{}, 0, limiter.ErrStopped
	}
	now = uint64(time.Now().UnixNano())
	b, ok := s.buckets[key]
	if !ok || b.reset <= now {
		b = bucket{left: s.tokens}
	}
	return b, now, nil
}

// keep puts a bucket back that has a window, unless all that was taken from it
// has been given back.
func (s *Store) keep(key string, b bucket) {
	if b.left == s.tokens {
		delete(s.buckets, key)
		return
	}
	s.buckets[key] = b
}
