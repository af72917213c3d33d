package runtime

import (
	"context"
	"time"
)

// The least and the most that the two clocks of a clockWatch may drift apart
// unnoticed. Some systems advance them in steps of 16 ms, hence the least.
const (
	minClockTolerance = 20 * time.Millisecond
	maxClockTolerance = time.Second
)

// clockWatch notices that somebody set the wall clock: since the reading that
// it keeps, the wall clock and the monotonic clock must have advanced by the
// same time. A tenth of a percent is left to a clock that is being slewed
// (NTP slews by 0.05 % at most).
//
// It has no lock of its own: stepped only reads, restart writes.
type clockWatch struct {
	wall      func() uint64        // nanoseconds since 1970, may be set at any time
	mono      func() time.Duration // never set
	tolerance time.Duration
	since     clockReading
}

// clockReading is the wall clock, read at some moment from before to after.
type clockReading struct {
	before, after time.Duration
	wall          uint64
}

// newClockWatch watches the wall clock for windows of that length: a step that
// is short against the window is not worth forgetting what was counted.
func newClockWatch(wall func() uint64, mono func() time.Duration, window time.Duration) clockWatch {
	w := clockWatch{wall: wall, mono: mono, tolerance: min(max(window/10, minClockTolerance), maxClockTolerance)}
	w.restart()
	return w
}

// stepped reports whether the wall clock was set since the last restart.
func (w *clockWatch) stepped() bool {
	now := w.read()
	least := now.before - w.since.after
	most := now.after - w.since.before
	slack := w.tolerance + most/1000
	moved := time.Duration(now.wall - w.since.wall) // wraps to a negative value when the clock was set back
	return moved < least-slack || moved > most+slack
}

// restart takes the wall clock as right from now on.
func (w *clockWatch) restart() { w.since = w.read() }

func (w *clockWatch) read() clockReading {
	r := clockReading{before: w.mono()}
	r.wall = w.wall()
	r.after = w.mono()
	return r
}

// libraryClock returns the wall clock that the library's buckets read, in
// nanoseconds since 1970. That is not always what time.Now says: the library
// reads the system's clock even inside a testing/synctest bubble.
//
// A bucket with a window of 1 ns tells the library's time: each Take returns
// the end of a window that ends 1 ns from now.
func libraryClock() func() uint64 {
	bucket := newGeneration(1, time.Nanosecond)
	return func() uint64 {
		_, _, reset, _, _ := bucket.Take(context.Background(), "")
		return reset - 1
	}
}

// monotonicClock returns a clock that no one can set.
func monotonicClock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
