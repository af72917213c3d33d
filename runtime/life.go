package runtime

import (
	"context"
	"math"
	"sync/atomic"
	"unsafe"
)

// life counts the calls in flight of a Runtime or one of its scopes, and ends
// once.
//
// The calls are counted in stripes, each on a cache line of its own: a single
// count would be the one thing that all calls of a program write to, and
// processors would wait for each other there.
//
// Invariants:
//   - A stripe holds the number of calls in flight that it counts, plus ended
//     once end has come to it. A refused enter adds one for a moment.
//   - After end no call enters; closing is closed.
//   - A stripe drains when it holds exactly ended: no call is in flight, and
//     none will be. It can come back to that, so it says so once.
//   - drained is closed when the last stripe has drained.
type life struct {
	stripes [lifeStripes]lifeStripe
	ending  atomic.Bool
	left    atomic.Int32 // stripes that have not drained
	closing chan struct{}
	drained chan struct{}

	// finished is closed when the parts are gone too; err, what that reported,
	// is set before.
	finished chan struct{}
	err      error
}

// More stripes would help programs only that make calls on more processors than
// that, at 64 bytes each for every scope.
const (
	lifeStripesLog = 3
	lifeStripes    = 1 << lifeStripesLog
)

type lifeStripe struct {
	calls   atomic.Int64
	drained atomic.Bool
	_       [48]byte // up to the next cache line
}

const ended = math.MinInt64

func newLife() *life {
	l := &life{
		closing:  make(chan struct{}),
		drained:  make(chan struct{}),
		finished: make(chan struct{}),
	}
	l.left.Store(lifeStripes)
	return l
}

// enter counts a call in, and returns the stripe to leave by; nil when life has
// ended.
func (l *life) enter() *lifeStripe {
	return l.enterBy(&l.stripes[stripeHere()])
}

func (l *life) enterBy(s *lifeStripe) *lifeStripe {
	if s.calls.Add(1) > 0 {
		return s
	}
	l.leave(s)
	return nil
}

// stripeHere picks a stripe by where the caller's stack is. Goroutines have
// stacks of their own and tend to stay on their processor, so its cache keeps
// the stripe. A stripe picked at random would be in the other caches.
func stripeHere() uint64 {
	const golden = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio: spreads what differs in few bits
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here)) >> 11) // the least stack has 2 KiB
	return stack * golden >> (64 - lifeStripesLog)
}

// leave counts a call out.
func (l *life) leave(s *lifeStripe) {
	if s.calls.Add(-1) == ended {
		l.drain(s)
	}
}

// drain notes that a stripe holds exactly ended.
func (l *life) drain(s *lifeStripe) {
	if s.drained.CompareAndSwap(false, true) && l.left.Add(-1) == 0 {
		close(l.drained)
	}
}

// end refuses new calls from now on. It reports whether it was the first.
func (l *life) end() bool {
	if !l.ending.CompareAndSwap(false, true) {
		return false
	}
	for i := range l.stripes {
		if s := &l.stripes[i]; s.calls.Add(ended) == ended {
			l.drain(s)
		}
	}
	close(l.closing)
	return true
}

func (l *life) over() bool { return l.ending.Load() }

// calls is the number of calls in flight, as far as it can be told while some
// come and go.
func (l *life) calls() (n int64) {
	for i := range l.stripes {
		c := l.stripes[i].calls.Load()
		if c < 0 {
			c -= ended
		}
		n += c
	}
	return n
}

// finish records the end of everything.
func (l *life) finish(err error) {
	l.err = err
	close(l.finished)
}

// gone reports whether the parts are gone too. A name that is there after that
// is another scope's.
func (l *life) gone() bool {
	select {
	case <-l.finished:
		return true
	default:
		return false
	}
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
