package runtime

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// modelBreaker is a breaker written for nothing but being obviously right: it
// keeps every call, and knows its permits by identity.
type modelBreaker struct {
	p       BreakerPolicy
	state   State
	forced  bool
	opened  time.Duration
	counted []windowCall // in the order in which they ended, since it closed
	row     int
	passed  int // probes that succeeded in this half-open period
	current map[*modelPermit]bool
	probes  map[*modelPermit]bool
	changes []string
}

type modelPermit struct{ real permit }

func newModelBreaker(p BreakerPolicy) *modelBreaker {
	m := &modelBreaker{p: p.withDefaults(), probes: map[*modelPermit]bool{}}
	m.become(Closed, 0)
	return m
}

func (m *modelBreaker) become(s State, now time.Duration) {
	if m.state != s {
		m.changes = append(m.changes, m.state.String()+">"+s.String())
	}
	m.state, m.current, m.passed = s, map[*modelPermit]bool{}, 0
	switch s {
	case Open:
		m.opened = now
	case Closed:
		m.row, m.counted = 0, nil
	}
}

func (m *modelBreaker) left(now time.Duration) time.Duration {
	return max(0, m.opened+m.p.Recovery-now)
}

func (m *modelBreaker) refusal(now time.Duration) (refused bool, after time.Duration) {
	switch {
	case m.state == Closed:
		return false, 0
	case m.forced:
		return true, 0
	case m.state == Open && m.left(now) > 0:
		return true, m.left(now)
	}
	return len(m.probes) >= m.p.Probes, 0
}

func (m *modelBreaker) admit(now time.Duration, real permit) *modelPermit {
	if m.state == Open {
		m.become(HalfOpen, now)
	}
	p := &modelPermit{real}
	m.current[p] = true
	if m.state == HalfOpen {
		m.probes[p] = true
	}
	return p
}

func (m *modelBreaker) settle(now time.Duration, p *modelPermit, o Outcome) {
	delete(m.probes, p)
	if !m.current[p] || m.forced || o == OutcomeNeutral {
		return
	}
	failed := o == OutcomeFailure
	if failed {
		m.row++
	} else {
		m.row = 0
	}
	switch m.state {
	case Closed:
		m.counted = append(m.counted, windowCall{now, failed})
		calls, failures := m.within(now)
		switch {
		case m.p.Rate > 0 && calls >= m.p.Of && float64(failures)/float64(calls) >= m.p.Rate,
			m.p.Rate == 0 && failed && failures >= m.p.Failures:
			m.become(Open, now)
		}
	case HalfOpen:
		if failed {
			m.become(Open, now)
		} else if m.passed++; m.passed == m.p.Probes {
			m.become(Closed, now)
		}
	}
}

// within returns the calls that count now, and the failures among them.
func (m *modelBreaker) within(now time.Duration) (calls, failures int) {
	if m.p.Within > 0 {
		// Sleeps are whole tenths of the time, so that the buckets of a rate
		// and a window that really slides say the same.
		return younger(m.counted, now, m.p.Within)
	}
	return 0, m.row
}

func (m *modelBreaker) command(s State, forced bool, now time.Duration) {
	m.become(s, now)
	m.row, m.counted = 0, nil
	m.forced = forced
	m.probes = map[*modelPermit]bool{}
}

func (m *modelBreaker) status(now time.Duration) BreakerStatus {
	s := BreakerStatus{Name: "part", State: m.state, Forced: m.forced}
	_, s.Failures = m.within(now)
	if m.state == Open && !m.forced {
		s.RetryAfter = m.left(now)
	}
	return s
}

// modelStep is one thing to do to a breaker. The kinds are in the order in
// which a failing run should prefer them.
type modelStep struct {
	kind stepKind
	arg  int
}

type stepKind int

const (
	stepAdmit stepKind = iota
	stepFail
	stepPass
	stepShrug
	stepSleep
	stepReset
	stepForceClosed
	stepForceOpen
)

var stepNames = [...]string{"admit", "fail", "pass", "shrug", "sleep", "reset", "force closed", "force open"}

func (s modelStep) String() string { return fmt.Sprintf("%s %d", stepNames[s.kind], s.arg) }

// GoString keeps the steps of a failing run readable.
func (s modelStep) GoString() string { return s.String() }

func drawModelStep(t *rapid.T) modelStep {
	kind := rapid.SampledFrom([]stepKind{
		stepAdmit, stepAdmit, stepAdmit, stepAdmit, stepAdmit, stepAdmit, stepAdmit, stepAdmit,
		stepFail, stepFail, stepFail, stepFail, stepPass, stepPass, stepPass, stepPass,
		stepShrug, stepSleep, stepSleep, stepSleep,
		// A forced state stops everything else, so a reset follows it often.
		stepReset, stepForceClosed, stepForceOpen,
	}).Draw(t, "kind")
	return modelStep{kind, rapid.IntRange(0, 15).Draw(t, "arg")}
}

// modelTick is what sleeps are made of, and a tenth of every Within.
const modelTick = time.Second

func drawModelPolicy(t *rapid.T) BreakerPolicy {
	p := BreakerPolicy{
		Recovery: time.Duration(rapid.IntRange(1, 10).Draw(t, "recovery")) * modelTick,
		Probes:   rapid.IntRange(1, 4).Draw(t, "probes"),
	}
	switch rapid.IntRange(0, 2).Draw(t, "opens on") {
	case 0:
		p.Failures = rapid.IntRange(1, 5).Draw(t, "failures")
	case 1:
		p.Failures, p.Within = rapid.IntRange(1, 5).Draw(t, "failures"), rateBuckets*modelTick
	case 2:
		p.Rate = rapid.SampledFrom([]float64{0.2, 0.5, 0.8, 1}).Draw(t, "rate")
		p.Of, p.Within = rapid.IntRange(1, 8).Draw(t, "of"), rateBuckets*modelTick
	}
	return p
}

// runModel does the steps to a breaker and to the model, and returns the first
// difference.
func runModel(ctx context.Context, p BreakerPolicy, steps []modelStep) error {
	var changes []string
	b := newBreaker(newSink([]Observer{ObserverFunc(func(_ context.Context, e Event) {
		if e.Kind == EventBreakerState {
			changes = append(changes, e.From.String()+">"+e.To.String())
		}
	})}), newLife(), "part", p, nil)
	defer b.close()
	m := newModelBreaker(p)
	begin := time.Now()
	var held []*modelPermit

	for i, step := range steps {
		now := time.Since(begin)
		switch step.kind {
		case stepSleep:
			time.Sleep(time.Duration(step.arg) * modelTick)
			now = time.Since(begin)
		case stepAdmit:
			wantRefused, wantAfter := m.refusal(now)
			ready := b.ready(ctx, call{})
			got, err := b.admit(ctx, call{})
			if (ready == nil) != (err == nil) || (err != nil) != wantRefused {
				return fmt.Errorf("step %d: ready %v, admit %v, want refused %v", i, ready, err, wantRefused)
			}
			if err != nil {
				if e := err.(*Error); e.Kind != KindBreakerOpen || e.RetryAfter != wantAfter {
					return fmt.Errorf("step %d: %v, want retry after %v", i, err, wantAfter)
				}
				break
			}
			held = append(held, m.admit(now, got))
		case stepFail, stepPass, stepShrug:
			if len(held) == 0 {
				break
			}
			at := step.arg % len(held)
			permit := held[at]
			held = slices.Delete(held, at, at+1)
			o := map[stepKind]Outcome{stepFail: OutcomeFailure, stepPass: OutcomeSuccess, stepShrug: OutcomeNeutral}[step.kind]
			b.settle(ctx, call{}, permit.real, o, nil)
			m.settle(now, permit, o)
		case stepReset:
			b.Reset()
			m.command(Closed, false, now)
		case stepForceClosed, stepForceOpen:
			if step.arg%4 != 0 {
				break
			}
			if step.kind == stepForceOpen {
				b.ForceOpen()
				m.command(Open, true, now)
			} else {
				b.ForceClosed()
				m.command(Closed, true, now)
			}
		}
		if got, want := b.Status(), m.status(now); got != want {
			return fmt.Errorf("step %d, %v: status %+v, want %+v", i, step, got, want)
		}
		if !slices.Equal(changes, m.changes) {
			return fmt.Errorf("step %d, %v: changes %v, want %v", i, step, changes, m.changes)
		}
		if library := stateOf(b.cb.State()); b.state != library || b.probing > b.policy.Probes || b.probing < 0 {
			return fmt.Errorf("step %d, %v: %v, the library %v, %d probes", i, step, b.state, library, b.probing)
		}
	}
	return nil
}

func TestBreakerDoesWhatTheModelDoes(t *testing.T) {
	const steps = 1000 // times 100 checks
	rapid.Check(t, func(rt *rapid.T) {
		p := drawModelPolicy(rt)
		script := rapid.SliceOfN(rapid.Custom(drawModelStep), steps, steps).Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) { err = runModel(t.Context(), p, script) })
		if err != nil {
			rt.Fatalf("%+v: %v", p, err)
		}
	})
}

// One probe at a time, so that every call after the first failure is a probe,
// and two inside at once would be one too many.
func TestBreakerUnderLoadNeverHasTwoProbesInside(t *testing.T) {
	b := givenOpenBreaker(t, BreakerPolicy{Recovery: time.Microsecond})
	stress := func(probe func(worker, i int) error) (probes int64) {
		var inside, count atomic.Int64
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := range 3000 {
					_ = b.Do(t.Context(), func(context.Context) error {
						if inside.Add(1) > 1 {
							t.Error("two probes at once")
						}
						defer inside.Add(-1)
						count.Add(1)
						return probe(worker, i)
					})
				}
			})
		}
		wg.Wait()
		return count.Load()
	}
	n := stress(func(worker, i int) error {
		switch (worker + i) % 3 {
		case 0:
			panic("boom")
		case 1:
			return errBreakerCallee
		}
		return Neutral(errBreakerCallee)
	})
	if n == 0 {
		t.Fatal("no probe ever passed")
	}
	if b.probing != 0 {
		t.Fatalf("%d probes are left over", b.probing)
	}
}

// The same with everything at once: commands, status, observers that call
// back. What is checked is that nothing is left over, and that the race
// detector has nothing to say.
func TestBreakerUnderLoadLeavesNothingOver(t *testing.T) {
	for name, p := range map[string]BreakerPolicy{
		"row":    {Failures: 2, Recovery: time.Microsecond, Probes: 3, Slow: time.Hour},
		"within": {Failures: 2, Within: time.Millisecond, Recovery: time.Microsecond, Probes: 3},
		"rate":   {Rate: 0.3, Of: 3, Within: time.Millisecond, Recovery: time.Microsecond, Probes: 3},
	} {
		t.Run(name, func(t *testing.T) {
			var b *Breaker
			var mu sync.Mutex
			last := Closed
			b = givenBreaker(t, p, ObserverFunc(func(_ context.Context, e Event) {
				if e.Kind != EventBreakerState {
					return
				}
				_ = b.Status()
				mu.Lock()
				defer mu.Unlock()
				if e.From != last || e.From == e.To {
					t.Errorf("%v to %v after %v", e.From, e.To, last)
				}
				last = e.To
			}))
			var wg sync.WaitGroup
			for worker := range 8 {
				wg.Go(func() {
					for i := range 1000 {
						switch {
						case worker == 0 && i%100 == 0:
							b.ForceOpen()
						case worker == 0 && i%100 == 5:
							b.ForceClosed()
						case worker == 0 && i%100 == 10:
							b.Reset()
						default:
							_ = b.Do(t.Context(), func(context.Context) error {
								if s := b.Status(); s.State < Closed || s.State > HalfOpen {
									t.Errorf("%+v", s)
								}
								if (worker+i)%2 == 0 {
									return errBreakerCallee
								}
								return nil
							})
						}
					}
				})
			}
			wg.Wait()
			if b.probing != 0 {
				t.Fatalf("%d probes are left over", b.probing)
			}
			if s := b.Status(); s.State != last {
				t.Fatalf("%+v, but the last event said %v", s, last)
			}
			b.Reset()
			breakerDo(t, b, breakerPass)
			wantBreakerState(t, b, Closed)
		})
	}
}
