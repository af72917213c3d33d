package runtime

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// windowCall is a call that a window was told of.
type windowCall struct {
	at     time.Duration
	failed bool
}

// younger counts the calls, and the failures among them, whose age is less
// than age.
func younger(calls []windowCall, now, age time.Duration) (n, failures int) {
	for _, c := range calls {
		if now-c.at < age {
			n++
			if c.failed {
				failures++
			}
		}
	}
	return n, failures
}

func TestFailureTimesCountsExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Given a limit that takes the ring through several sizes
		limit := rapid.IntRange(1, 60).Draw(t, "limit")
		const within = 100 * time.Millisecond
		w := newWindow(BreakerPolicy{Failures: limit, Within: within})
		var calls []windowCall
		var now time.Duration
		for range rapid.IntRange(0, 300).Draw(t, "calls") {
			// When calls end, often at the same time, sometimes exactly within apart
			now += rapid.SampledFrom([]time.Duration{0, 0, 1, within / 50, within / 25, within / 10, within - 1, within}).Draw(t, "after")
			c := windowCall{now, rapid.Bool().Draw(t, "failed")}
			calls = append(calls, c)
			trip := w.add(now, c.failed)

			// Then the failures of that time count, and no others
			_, want := younger(calls, now, within)
			if got := w.failures(now); got != want {
				t.Fatalf("%d failures at %v, want %d", got, now, want)
			}
			if trip != (c.failed && want >= limit) {
				t.Fatalf("trip is %v at %d failures of %d", trip, want, limit)
			}
			if trip {
				w.reset()
				calls = nil
			}
		}
	})
}

func TestFailureTimesGrowsInTheMiddleOfItsRing(t *testing.T) {
	// Given failures that come ever faster, so that the ring is full again and
	// again at a time when its oldest place is not its first
	const within = 10
	w := &failureTimes{limit: 1000, within: within}
	var calls []windowCall
	for now := range time.Duration(100) {
		for range 1 + now/10 {
			calls = append(calls, windowCall{now, true})
			w.add(now, true)
		}
		// Then each one is forgotten at its own time
		if _, want := younger(calls, now, within); w.failures(now) != want {
			t.Fatalf("%d failures at %d, want %d", w.n, now, want)
		}
	}
}

func TestFailureTimesKeepsNoMoreThanThereAre(t *testing.T) {
	// Given a limit that nobody could make room for ahead
	w := &failureTimes{limit: 1 << 30, within: time.Second}
	var now time.Duration
	for range 100_000 {
		now += 100 * time.Millisecond
		w.add(now, true)
	}
	if w.n != 10 || len(w.ring) > 16 {
		t.Fatalf("%d failures in a ring of %d", w.n, len(w.ring))
	}
	w.reset()
	if w.ring != nil {
		t.Fatalf("a ring of %d is kept for nothing", len(w.ring))
	}
}

func TestRateWindowIsRightToATenth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const within = 100 * time.Millisecond
		of := rapid.IntRange(1, 20).Draw(t, "of")
		rate := rapid.SampledFrom([]float64{0.1, 0.3, 0.5, 0.7, 1}).Draw(t, "rate")
		w := newWindow(BreakerPolicy{Rate: rate, Of: of, Within: within}).(*rateWindow)
		var calls []windowCall
		now := time.Duration(rapid.IntRange(0, int(within)).Draw(t, "begin"))
		for range rapid.IntRange(0, 300).Draw(t, "calls") {
			now += rapid.SampledFrom([]time.Duration{0, 0, 0, 1, time.Millisecond, within / 10, within * 9 / 10, within, 5 * within}).Draw(t, "after")
			c := windowCall{now, rapid.Bool().Draw(t, "failed")}
			calls = append(calls, c)
			trip := w.add(now, c.failed)

			// Then nothing older than within counts, and all of the last nine tenths does
			leastCalls, leastFailures := younger(calls, now, within*9/10)
			mostCalls, mostFailures := younger(calls, now, within)
			n, failures := w.total.calls, w.failures(now)
			if n < leastCalls || n > mostCalls || failures < leastFailures || failures > mostFailures {
				t.Fatalf("%d failures of %d calls at %v; at least %d of %d, at most %d of %d",
					failures, n, now, leastFailures, leastCalls, mostFailures, mostCalls)
			}
			if trip != (n >= of && float64(failures)/float64(n) >= rate) {
				t.Fatalf("trip is %v at %d failures of %d calls", trip, failures, n)
			}
			var sum tally
			for _, b := range w.buckets {
				sum.calls += b.calls
				sum.failures += b.failures
			}
			if sum != w.total {
				t.Fatalf("the buckets hold %+v, the total says %+v", sum, w.total)
			}
		}
	})
}

func TestRateWindowTakesEveryShareAsItIsWritten(t *testing.T) {
	// Given a rate of k percent, as a directive is read
	for k := 1; k <= 100; k++ {
		w := newWindow(BreakerPolicy{Rate: float64(k) / 100, Of: 100, Within: time.Second})
		// When k of 100 calls fail
		trip := false
		for i := range 100 {
			trip = w.add(0, i < k)
		}
		if !trip {
			t.Errorf("%d failures of 100 calls are not %d%%", k, k)
		}
		// Then one failure fewer is not enough
		w.reset()
		for i := range 100 {
			trip = w.add(0, i < k-1)
		}
		if trip {
			t.Errorf("%d failures of 100 calls are %d%%", k-1, k)
		}
	}
}

func TestRateWindowBeginsWithTheFirstCall(t *testing.T) {
	// Given calls that came late in what would have been the first tenth
	const within = 10 * time.Second
	w := newWindow(BreakerPolicy{Rate: 0.5, Of: 100, Within: within})
	w.add(999*time.Millisecond, true)
	// Then they count for nine tenths from there, and begin anew after a pause
	if got := w.failures(999*time.Millisecond + within - 1); got != 1 {
		t.Fatalf("%d failures", got)
	}
	w.add(30500*time.Millisecond, true)
	if got := w.failures(30500*time.Millisecond + within - 1); got != 1 {
		t.Fatalf("%d failures", got)
	}
	if got := w.failures(30500*time.Millisecond + within); got != 0 {
		t.Fatalf("%d failures", got)
	}
}

func TestRateWindowSurvivesAClockThatStepsBack(t *testing.T) {
	// The clock is monotonic, but a breaker of the whole process can be used
	// both in and out of a synctest bubble.
	w := newWindow(BreakerPolicy{Rate: 1, Of: 100, Within: time.Second})
	const before = 50 * time.Millisecond
	w.add(time.Hour, true)
	w.add(before, true)
	if got := w.failures(before); got != 2 {
		t.Fatalf("%d failures", got)
	}
}

func TestWindowsOfANanosecond(t *testing.T) {
	for _, p := range []BreakerPolicy{{Failures: 2, Within: 1}, {Rate: 1, Of: 2, Within: 1}} {
		w := newWindow(p)
		if w.add(0, true) {
			t.Errorf("%+v opened on one call", p)
		}
		if !w.add(0, true) {
			t.Errorf("%+v did not open on two at once", p)
		}
	}
}
