package runtime

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-limiter"
)

// simStore is an ExactStore that lives by time.Now, and so by the time of a
// bubble. It is written to be obviously right: a bucket is there while tokens
// taken from it count.
type simStore struct {
	tokens uint64
	window time.Duration
	fail   func() error                      // asked first by every method but Close; nil never fails
	moved  func(ctx context.Context, by int) // told of every token that is taken (1) or given back (-1)

	closed atomic.Int32 // how often

	mu      sync.Mutex
	buckets map[string]simBucket
}

type simBucket struct {
	used uint64
	end  time.Time
}

func newSimStore(tokens uint64, window time.Duration) *simStore {
	return &simStore{
		tokens: tokens, window: window, buckets: map[string]simBucket{},
		fail:  func() error { return nil },
		moved: func(context.Context, int) {},
	}
}

// bucket returns the running window of key, or one that begins now.
func (s *simStore) bucket(key string) simBucket {
	b, ok := s.buckets[key]
	if now := time.Now(); !ok || !now.Before(b.end) {
		return simBucket{end: now.Add(s.window)}
	}
	return b
}

func (s *simStore) ask() error {
	if s.closed.Load() > 0 {
		return limiter.ErrStopped
	}
	return s.fail()
}

func (s *simStore) Take(ctx context.Context, key string) (tokens, remaining, reset uint64, ok bool, err error) {
	return s.TakeUpTo(ctx, key, s.tokens)
}

func (s *simStore) TakeUpTo(ctx context.Context, key string, limit uint64) (tokens, remaining, reset uint64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ask(); err != nil {
		return 0, 0, 0, false, err
	}
	limit = min(limit, s.tokens)
	b := s.bucket(key)
	if b.used >= limit {
		return limit, 0, uint64(b.end.UnixNano()), false, nil
	}
	b.used++
	s.buckets[key] = b
	s.moved(ctx, 1)
	return limit, limit - b.used, uint64(b.end.UnixNano()), true, nil
}

func (s *simStore) Peek(_ context.Context, key string) (tokens, remaining, reset uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ask(); err != nil {
		return 0, 0, 0, err
	}
	b := s.bucket(key)
	if b.used == 0 {
		return s.tokens, s.tokens, 0, nil
	}
	return s.tokens, s.tokens - b.used, uint64(b.end.UnixNano()), nil
}

func (s *simStore) Refund(ctx context.Context, key string, reset uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ask(); err != nil {
		return err
	}
	s.moved(ctx, -1)
	b := s.bucket(key)
	if b.used == 0 || uint64(b.end.UnixNano()) != reset {
		return nil
	}
	b.used--
	s.buckets[key] = b
	return nil
}

func (s *simStore) Get(ctx context.Context, key string) (tokens, remaining uint64, err error) {
	tokens, remaining, _, err = s.Peek(ctx, key)
	return tokens, remaining, err
}

func (s *simStore) Set(_ context.Context, key string, _ uint64, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ask(); err != nil {
		return err
	}
	delete(s.buckets, key)
	return nil
}

func (s *simStore) Burst(_ context.Context, key string, n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ask(); err != nil {
		return err
	}
	b := s.bucket(key)
	b.used -= min(n, b.used)
	s.buckets[key] = b
	return nil
}

func (s *simStore) Close(context.Context) error {
	s.closed.Add(1)
	return nil
}
