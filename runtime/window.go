package runtime

import "time"

// window counts the calls of a closed breaker over a sliding time. Its times
// are readings of one clock that never goes back. The breaker's lock guards
// it.
type window interface {
	// add counts a call that ended now, and reports whether the breaker has to
	// open.
	add(now time.Duration, failed bool) bool
	// failures returns the failures that count now.
	failures(now time.Duration) int
	// reset forgets everything.
	reset()
}

// newWindow returns the window that p asks for, nil when it counts failures in
// a row.
func newWindow(p BreakerPolicy) window {
	switch {
	case p.Rate > 0:
		return &rateWindow{rate: p.Rate, of: p.Of, width: max(1, p.Within/rateBuckets)}
	case p.Within > 0:
		return &failureTimes{limit: p.Failures, within: p.Within}
	}
	return nil
}

// failureTimes opens on the limit-th failure within a sliding time, exactly: a
// failure counts until its age reaches within. Successes change nothing.
//
// It keeps the times of the failures that count and no others, 8 bytes each,
// so that a large limit costs memory only when there are that many failures.
//
// Invariants: 0 <= n <= len(ring) <= limit; the n times that begin at
// ring[first] are in order, oldest first.
type failureTimes struct {
	limit  int
	within time.Duration

	ring  []time.Duration
	first int
	n     int
}

func (f *failureTimes) add(now time.Duration, failed bool) bool {
	if !failed {
		return false
	}
	f.forget(now)
	if f.n == len(f.ring) {
		f.grow()
	}
	f.ring[(f.first+f.n)%len(f.ring)] = now
	f.n++
	return f.n >= f.limit
}

func (f *failureTimes) failures(now time.Duration) int {
	f.forget(now)
	return f.n
}

func (f *failureTimes) reset() { f.ring, f.first, f.n = nil, 0, 0 }

// forget drops the failures whose time is over.
func (f *failureTimes) forget(now time.Duration) {
	for f.n > 0 && now-f.ring[f.first] >= f.within {
		f.first = (f.first + 1) % len(f.ring)
		f.n--
	}
}

// grow makes room for one more. A full ring is shorter than limit: the
// failure that filled the last place of a ring of that length opened the
// breaker, which forgets everything before it counts again.
func (f *failureTimes) grow() {
	ring := make([]time.Duration, min(f.limit, max(8, 2*len(f.ring))))
	kept := copy(ring, f.ring[f.first:])
	copy(ring[kept:], f.ring[:f.first])
	f.ring, f.first = ring, 0
}

// rateBuckets is how many parts the time of a rate is cut into. Ten is what
// Hystrix (metrics.rollingStats.numBuckets) and failsafe-go use: the sliding
// time is then right to a tenth.
const rateBuckets = 10

// rateWindow opens when the share of failures among the calls of a sliding
// time is rate or more, once there were of calls in that time.
//
// Calls are counted in rateBuckets buckets, and a bucket is dropped as a
// whole: a call counts for at least nine tenths of the time, and never longer
// than all of it. The first call into an empty window begins its first bucket,
// so that the calls of one burst stay together.
//
// Invariants: total is the sum of the buckets; the bucket with number b, for
// current-rateBuckets < b <= current, is at b % rateBuckets.
type rateWindow struct {
	rate  float64
	of    int
	width time.Duration // of a bucket

	start   time.Duration // when bucket 0 began
	current int64         // number of the bucket that calls go into now
	buckets [rateBuckets]tally
	total   tally
}

type tally struct{ calls, failures int }

func (r *rateWindow) add(now time.Duration, failed bool) bool {
	r.slide(now)
	bucket := &r.buckets[r.current%rateBuckets]
	bucket.calls++
	r.total.calls++
	if failed {
		bucket.failures++
		r.total.failures++
	}
	// A quotient is rounded as the decimal that rate was read from is; a
	// product with rate would miss 7 of 100 at 0.07.
	return r.total.calls >= r.of && float64(r.total.failures)/float64(r.total.calls) >= r.rate
}

func (r *rateWindow) failures(now time.Duration) int {
	r.slide(now)
	return r.total.failures
}

func (r *rateWindow) reset() { r.buckets, r.total = [rateBuckets]tally{}, tally{} }

// slide drops the buckets whose time is over.
func (r *rateWindow) slide(now time.Duration) {
	// After rateBuckets steps nothing is left, and numbers begin anew below.
	number := int64((now - r.start) / r.width)
	for range min(number-r.current, rateBuckets) {
		r.current++
		bucket := &r.buckets[r.current%rateBuckets]
		r.total.calls -= bucket.calls
		r.total.failures -= bucket.failures
		*bucket = tally{}
	}
	if r.total.calls == 0 {
		r.start, r.current = now, 0
	}
}
