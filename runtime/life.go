package runtime

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
)

// life counts the calls in flight of a Runtime or one of its scopes, and ends
// once.
//
// Invariants:
//   - state is the number of calls in flight, plus ended once end was called.
//   - After end no call enters; closing is closed.
//   - drained is closed when end was called and the last call left, exactly
//     once: only the transition of state to exactly ended closes it, and after
//     end the count of admitted calls only falls. (A refused enter adds one for
//     a moment; whoever brings the count back to ended signals, so drained is
//     guarded by a Once.)
type life struct {
	state   atomic.Int64
	closing chan struct{}
	drained chan struct{}
	once    sync.Once

	// finished is closed when the parts are gone too; err, what that reported,
	// is set before.
	finished chan struct{}
	err      error
}

const ended = math.MinInt64

func newLife() *life {
	return &life{
		closing:  make(chan struct{}),
		drained:  make(chan struct{}),
		finished: make(chan struct{}),
	}
}

// enter counts a call in, or reports false when life has ended.
func (l *life) enter() bool {
	if l.state.Add(1) > 0 {
		return true
	}
	l.leave()
	return false
}

// leave counts a call out.
func (l *life) leave() {
	if l.state.Add(-1) == ended {
		l.once.Do(func() { close(l.drained) })
	}
}

// end refuses new calls from now on. It reports whether it was the first.
func (l *life) end() bool {
	for {
		n := l.state.Load()
		if n < 0 {
			return false
		}
		if l.state.CompareAndSwap(n, n+ended) {
			close(l.closing)
			if n == 0 {
				l.once.Do(func() { close(l.drained) })
			}
			return true
		}
	}
}

func (l *life) over() bool { return l.state.Load() < 0 }

// finish records the end of everything.
func (l *life) finish(err error) {
	l.err = err
	close(l.finished)
}

// wait returns what finish recorded, or ctx's error when that is done first.
func (l *life) wait(ctx context.Context) error {
	select {
	case <-l.finished:
		return l.err
	default:
	}
	select {
	case <-l.finished:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
