package protecttest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Faults makes calls fail by method, as it is told. A fake callee asks it with
// [Faults.Inject] before it does anything else. It is safe for concurrent use.
// Make one with [NewFaults].
//
// Rules form a sequence: a call gets the first rule for its method that is not
// used up, and passes when there is none. Three failures, two calls as they
// should be, and slowness from then on are
//
//	faults.On("Forecast").Error(err).Times(3)
//	faults.On("Forecast").Times(2)
//	faults.On("Forecast").Latency(time.Second)
type Faults struct {
	mu    sync.Mutex
	rules []*Rule
	calls map[string]int
}

// NewFaults returns Faults without a rule.
func NewFaults() *Faults { return &Faults{calls: map[string]int{}} }

// On adds a rule for the methods, or for every method when none is named. What
// it does is for the methods of [Rule] to say; by itself it lets calls pass.
func (f *Faults) On(methods ...string) *Rule {
	r := &Rule{faults: f, methods: slices.Clone(methods), share: 1, left: -1}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	return r
}

// Inject does to a call of method what the rules say: it waits, panics, or
// returns the error to fail with; nil lets the call pass. A ctx that is done
// ends the wait with its error; a nil one never is.
func (f *Faults) Inject(ctx context.Context, method string) error {
	if ctx == nil {
		ctx = context.Background()
	}
	return f.next(method).strike(ctx)
}

// Calls returns how often Inject was called for method: the calls that reached
// the callee, whatever became of them.
func (f *Faults) Calls(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// Clear removes all rules: the outage is over. Calls goes on counting.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// next counts a call and decides what happens to it.
func (f *Faults) next(method string) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	for _, r := range f.rules {
		if r.left == 0 || len(r.methods) > 0 && !slices.Contains(r.methods, method) {
			continue
		}
		if r.left > 0 {
			r.left--
		}
		if r.random != nil && r.random.Float64() >= r.share {
			return fault{}
		}
		return r.fault
	}
	return fault{}
}

// Rule says what happens to some calls. Its methods return it, so that they
// can be chained: a latency and an error together are a slow failure. A Rule
// may be changed while calls are made.
type Rule struct {
	faults  *Faults
	methods []string // none: all

	// Guarded by faults.mu.
	fault
	share  float64
	random *rand.Rand // nil: every call
	left   int        // calls that it still is for, -1 without a bound
}

// fault is what happens to one call.
type fault struct {
	latency time.Duration
	err     error
	panics  bool
	value   any
}

// Error makes calls fail with err.
func (r *Rule) Error(err error) *Rule {
	return r.set(func() { r.err = err })
}

// Latency makes calls take d before anything else happens, or until their
// context is done. [protect.Forever] leaves it to the context.
func (r *Rule) Latency(d time.Duration) *Rule {
	return r.set(func() { r.latency = d })
}

// Panic makes calls panic with v.
func (r *Rule) Panic(v any) *Rule {
	return r.set(func() { r.panics, r.value = true, v })
}

// Rate lets the rule strike only a share of its calls, from 0 to 1; the others
// pass. Which ones is decided by the seed and their order alone.
func (r *Rule) Rate(share float64, seed uint64) *Rule {
	return r.set(func() { r.share, r.random = share, rand.New(rand.NewPCG(seed, 0)) })
}

// Times ends the rule after n calls, those included that Rate let pass. Without
// it a rule is for ever.
func (r *Rule) Times(n int) *Rule {
	return r.set(func() { r.left = max(n, 0) })
}

func (r *Rule) set(change func()) *Rule {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	change()
	return r
}

func (f fault) strike(ctx context.Context) error {
	if f.latency > 0 {
		timer := time.NewTimer(f.latency)
		defer timer.Stop()
		if ctx == nil {
			ctx = context.Background()
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.panics {
		panic(f.value)
	}
	return f.err
}
