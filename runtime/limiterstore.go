package runtime

import (
	"context"
	"time"

	"github.com/sethvargo/go-limiter"
)

// ExactStore is what a [limiter.Store] may offer on top, so that a [Limiter]
// can look without taking, scale a limit and give a token back, each in one
// step that no other call comes between. The store in memory is one.
//
// Over a store without these methods a Limiter puts them together from Take,
// Get and Burst. Then a token may be taken for a moment just to look: a call at
// that moment can be refused though a token was left, and a token given back at
// the very end of a window may be lost, or add one to the next.
//
// Times (reset) are nanoseconds since 1970, as in [limiter.Store]. A bucket has
// a window while tokens taken from it count; one that is absent, whose window
// is over, or that got back all that was taken, has none: its reset is 0.
type ExactStore interface {
	limiter.Store

	// Peek returns the tokens of a window, those that remain and the end of
	// the window that is running. It takes nothing and starts no window. A
	// bucket without a window answers all tokens, and 0 for reset.
	Peek(ctx context.Context, key string) (tokens, remaining, reset uint64, err error)

	// TakeUpTo takes a token as Take does if fewer than limit were taken in
	// the running window, and otherwise takes nothing and changes nothing. It
	// returns the lower of limit and the store's own tokens, and what remains
	// of that. A limit of 0 refuses, and starts no window.
	TakeUpTo(ctx context.Context, key string, limit uint64) (tokens, remaining, reset uint64, ok bool, err error)

	// Refund gives back a token that a Take or TakeUpTo took from the window
	// ending at reset. It does nothing when that window is over, and never
	// leaves more tokens than a new window has.
	Refund(ctx context.Context, key string, reset uint64) error
}

// exactly returns store as an ExactStore, its own methods if it has them. The
// window is that of the store.
func exactly(store limiter.Store, window time.Duration) ExactStore {
	if exact, ok := store.(ExactStore); ok {
		return exact
	}
	return plainStore{store, window}
}

// plainStore is an ExactStore over the five methods that every store has.
//
// Burst alone never gives a token back here: on a bucket that is gone it may
// raise the limit for ever, and in a new window it lifts the bucket above its
// limit. A Take before it makes sure of both, and tells how many were left.
type plainStore struct {
	limiter.Store
	window time.Duration
}

func (s plainStore) Peek(ctx context.Context, key string) (tokens, remaining, reset uint64, err error) {
	tokens, remaining, err = s.Get(ctx, key)
	if err != nil || remaining >= tokens {
		// Absent, or nothing used. What Get says of an older window may be
		// stale, but only in being less than what the next call will find.
		return tokens, remaining, 0, err
	}
	tokens, left, reset, took, err := s.probe(ctx, key)
	if err != nil {
		return 0, 0, 0, err
	}
	if left >= tokens {
		reset = 0
	}
	return tokens, left, reset, s.give(ctx, key, took)
}

func (s plainStore) TakeUpTo(ctx context.Context, key string, limit uint64) (tokens, remaining, reset uint64, ok bool, err error) {
	if limit == 0 {
		return 0, 0, 0, false, nil
	}
	tokens, left, reset, took, err := s.probe(ctx, key)
	if err != nil {
		return 0, 0, 0, false, err
	}
	used := tokens - min(left, tokens)
	if took == 0 || used >= limit {
		return min(limit, tokens), 0, reset, false, s.give(ctx, key, took)
	}
	if limit >= tokens {
		return tokens, left - took, reset, true, nil
	}
	return limit, limit - used - 1, reset, true, nil
}

func (s plainStore) Refund(ctx context.Context, key string, reset uint64) error {
	tokens, left, now, took, err := s.probe(ctx, key)
	if err != nil {
		return err
	}
	// A store may compute the end of a window anew for each answer, give or
	// take its clock's precision; two windows are a whole window apart.
	apart := max(now, reset) - min(now, reset)
	if apart < (uint64(s.window)+1)/2 && left < tokens {
		took++
	}
	return s.give(ctx, key, took)
}

// probe takes a token if there is one. It returns what was left before, and
// how many it took: 1 or 0.
func (s plainStore) probe(ctx context.Context, key string) (tokens, left, reset, took uint64, err error) {
	tokens, left, reset, ok, err := s.Take(ctx, key)
	if ok {
		took = 1
	}
	return tokens, left + took, reset, took, err
}

func (s plainStore) give(ctx context.Context, key string, n uint64) error {
	if n == 0 {
		return nil
	}
	return s.Burst(ctx, key, n)
}
