package runtime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sethvargo/go-limiter"
)

// The inhabitants of a simulated world: callers, callees, instances, stores and
// an observer. What they do is rolled from the world's seed; what happens to
// them they write down, and they complain at once about what must never be.

type world struct {
	t    testing.TB
	rt   *Runtime
	eu   *Runtime // a scope, replaced when it was closed
	next simInstance

	guards []*Guard[*simInstance] // around next; they share a breaker
	db     *simPool               // nil while there is none

	mu        sync.Mutex // guards what follows, and never is held by somebody who calls the runtime
	rand      *rand.Rand
	calls     map[*simCall]bool // under way
	begun     int
	classes   map[string]int // how calls ended, as their callers saw it
	events    map[string]int // the same, as the observer saw it
	retried   int            // calls that may have been refused more than once
	later     []func()       // judgements to be made once all is quiet
	opened    map[string]int // by breaker: the calls begun before it last opened
	states    map[string]State
	stores    []*simStore
	storeDown bool
	instances []*simInstance
}

// roll is true once in n.
func (w *world) roll(n int) bool { return w.number(n) == 0 }

func (w *world) number(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n)
}

// upTo never is a whole number of milliseconds: no two timers are meant to
// fire at the same moment.
func (w *world) upTo(most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rand.Int64N(int64(most))) | 1
}

var errSim = errors.New("the callee failed")

// How a callee ends, once it has taken its time.
type simEnding int

const (
	simAnswers simEnding = iota
	simFails
	simPanics
	simExits // ends its goroutine
	simNests // makes a protected call of its own, and returns how that ended
	simEndings
)

// simCall is one protected call, and what everybody saw of it. The world's lock
// guards it.
type simCall struct {
	id     int
	ending simEnding
	takes  time.Duration
	deaf   bool            // the callee does not listen to its context
	ctx    context.Context // the caller's
	cancel context.CancelFunc
	plan   func() *plan // that would hold now, nil when none can be had
	before *plan        // the one that held when the call began

	running     int // callees under way: 0 or 1
	called      int
	returned    bool  // the last callee returned
	result      error // what it returned
	resultLate  bool  // its deadline had passed then
	ran         time.Duration
	endedInNew  bool
	tokens      map[*simStore]int
	storeFailed bool

	starts, stops, triggered, exceptions int
	layer                                string // of the refusal
	stop                                 Event
	executed                             []Outcome
	rejected                             int
}

type simCallKey struct{}

func simCallOf(ctx context.Context) *simCall {
	c, _ := ctx.Value(simCallKey{}).(*simCall)
	return c
}

// begin writes down a call that is about to be made.
func (w *world) begin(ctx context.Context, plan func() *plan) (context.Context, *simCall) {
	c := &simCall{
		ending: simEnding(w.number(int(simEndings))),
		takes:  w.upTo(60 * time.Millisecond),
		deaf:   w.roll(3),
		plan:   plan, before: plan(),
		tokens: map[*simStore]int{},
	}
	if !c.deaf && w.roll(4) {
		c.takes = time.Hour // it hangs until its context ends
	}
	ctx, c.cancel = context.WithCancel(context.WithValue(ctx, simCallKey{}, c))
	c.ctx = ctx
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun++
	c.id = w.begun
	w.calls[c] = true
	return ctx, c
}

// callee is what every call protects. It runs on inst, if that is not nil.
func (w *world) callee(ctx context.Context, inst *simInstance) error {
	c := simCallOf(ctx)
	w.enter(c, inst)
	start := time.Now()
	returned, err := false, error(nil)
	defer func() { w.leave(ctx, c, inst, start, returned, err) }()
	switch {
	case c.deaf:
		time.Sleep(c.takes)
	case !simSleep(ctx, c.takes):
		returned, err = true, ctx.Err()
		return err
	}
	switch c.ending {
	case simFails:
		err = errSim
	case simPanics:
		panic(errSim)
	case simExits:
		goruntime.Goexit()
	case simNests:
		exited := true
		func() {
			done := make(chan struct{})
			go func() { // so that a nested Goexit leaves this callee alone
				defer close(done)
				err, exited = w.execute(ctx, "nested"), false
			}()
			<-done
		}()
		if exited {
			err = errSim
		}
	}
	returned = true
	return err
}

// simSleep reports whether ctx let it sleep all of d.
func simSleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *world) enter(c *simCall, inst *simInstance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.called++
	c.running++
	if c.running > 1 {
		w.t.Errorf("call %d: two callees at once", c.id)
	}
	if inst != nil && inst.pool != nil {
		inst.users++
		if inst.users > 1 || inst.closed > 0 {
			w.t.Errorf("call %d: an instance with %d users, closed %d times", c.id, inst.users, inst.closed)
		}
	}
}

func (w *world) leave(ctx context.Context, c *simCall, inst *simInstance, start time.Time, returned bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.running--
	c.returned, c.result, c.ran = returned, err, time.Since(start)
	c.resultLate = ctx.Err() == context.DeadlineExceeded
	if inst != nil && inst.pool != nil {
		inst.users--
	}
}

// simInstance is what pools lend. One without a pool is a plain callee.
type simInstance struct {
	pool          *simPool
	users, closed int // guarded by world.mu
}

// simPool makes instances, more or less well.
type simPool struct {
	w       *world
	guard   *Guard[*simInstance]
	closing bool // somebody closes it; for the steps only

	// pool is nil until NewPool has returned. Calls that find the pool by its
	// name may make instances before that.
	pool atomic.Pointer[Pool[*simInstance]]

	making, leaving int // instances on the way in and out, guarded by world.mu
	open            int // made, and Close not begun; guarded by world.mu
}

func (p *simPool) factory() Factory[*simInstance] {
	return Factory[*simInstance]{New: p.make, Close: p.close, Check: p.check, Broken: p.broken}
}

func (p *simPool) make(ctx context.Context) (*simInstance, error) {
	w := p.w
	w.mu.Lock()
	p.making++
	there := p.making + p.open + p.leaving
	w.mu.Unlock()
	var inst *simInstance
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		p.making--
		if inst != nil {
			p.open++
			w.instances = append(w.instances, inst)
		}
	}()
	if pool := p.pool.Load(); pool != nil { // not while it is prefilled
		// Places that were taken before the pool shrank still are.
		if size, active, _ := pool.gate.counts(); there > max(size, active) {
			w.t.Errorf("instance %d is being made for %d places, %d of them taken", there, size, active)
		}
	}
	if w.roll(8) && !simSleep(ctx, w.upTo(40*time.Millisecond)) {
		return nil, ctx.Err()
	}
	switch w.number(24) {
	case 0, 1:
		return nil, errSim
	case 2:
		panic(errSim)
	case 3:
		if c := simCallOf(ctx); c != nil {
			w.mu.Lock()
			c.endedInNew = true
			w.mu.Unlock()
			goruntime.Goexit()
		}
	}
	inst = &simInstance{pool: p}
	return inst, nil
}

func (p *simPool) close(inst *simInstance) error {
	w := p.w
	w.mu.Lock()
	inst.closed++
	p.open--
	p.leaving++
	if inst.closed > 1 || inst.users > 0 {
		w.t.Errorf("an instance with %d users is closed for the %d. time", inst.users, inst.closed)
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		p.leaving--
		w.mu.Unlock()
	}()
	if w.roll(6) {
		time.Sleep(w.upTo(20 * time.Millisecond))
	}
	switch w.number(30) {
	case 0:
		panic(errSim)
	case 1:
		goruntime.Goexit()
	case 2:
		return errSim
	}
	return nil
}

func (p *simPool) check(ctx context.Context, inst *simInstance) error {
	if p.w.roll(10) {
		simSleep(ctx, p.w.upTo(10*time.Millisecond))
	}
	switch p.w.number(30) {
	case 0:
		panic(errSim)
	case 1, 2:
		return errSim
	}
	return nil
}

func (p *simPool) broken(err error) bool {
	if p.w.roll(30) {
		panic(errSim)
	}
	return errors.Is(err, errSim) && p.w.roll(2)
}

// openStore is what the world's Runtime counts in.
func (w *world) openStore(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
	s := newSimStore(tokens, window)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.storeDown {
		return nil, errSim
	}
	w.stores = append(w.stores, s)
	s.fail = func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.storeDown {
			return errSim
		}
		return nil
	}
	s.moved = func(ctx context.Context, by int) {
		if c := simCallOf(ctx); c != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			c.tokens[s] += by
		}
	}
	return s, nil
}

// Observe implements Observer.
func (w *world) Observe(ctx context.Context, e Event) {
	w.note(simCallOf(ctx), e)
	if w.roll(200) {
		// An observer may call back. Where it does, a part has just changed.
		_, _, _ = w.rt.Keys(), w.rt.Health(), w.rt.Configure("observed", Policy{Breaker: &BreakerPolicy{}})
		_, _ = w.rt.Status("api")
	}
	if w.roll(100) {
		panic(errSim)
	}
}

func (w *world) note(c *simCall, e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case EventBreakerInstalled:
		w.states[e.Name] = Closed
		delete(w.opened, e.Name)
	case EventBreakerState:
		if w.states[e.Name] != e.From || e.From == e.To {
			w.t.Errorf("breaker %s goes from %v to %v, and was %v", e.Name, e.From, e.To, w.states[e.Name])
		}
		w.states[e.Name] = e.To
		if e.To == Open {
			w.opened[e.Name] = w.begun
		}
	}
	if c == nil {
		return
	}
	switch e.Kind {
	case EventStart:
		c.starts++
	case EventStop:
		c.stops++
		c.stop = e
	case EventTriggered:
		c.triggered++
		c.layer = e.Layer
		w.events["refused by "+e.Layer]++
	case EventException:
		c.exceptions++
	case EventBreakerExecuted:
		c.executed = append(c.executed, e.Outcome)
	case EventBreakerRejected:
		c.rejected++
	case EventLimiterError:
		c.storeFailed = true
	}
}

// simClass names how a call ended for its caller: the layer that refused it, or
// else what its outcome is. A timeout is a refusal of its own kind.
func simClass(finished, cancelled bool, err error) string {
	switch KindOf(err) {
	case KindRateLimited, KindLimiterFailed:
		return "refused by limiter"
	case KindBreakerOpen, KindDependencyOpen:
		return "refused by breaker"
	case KindBulkheadFull:
		return "refused by bulkhead"
	case KindPoolTimeout:
		return "refused by pool"
	case KindTimeout:
		return "refused by timeout"
	case KindClosed, KindNotFound:
		return "neutral"
	}
	switch {
	case finished && err == nil:
		return "success"
	case finished && cancelled && errors.Is(err, context.Canceled):
		return "neutral"
	}
	return "failure"
}

// end judges a call against its own notes. finished is false when its goroutine
// ended inside.
func (w *world) end(c *simCall, finished bool, err error) {
	after, cancelled := c.plan(), c.ctx.Err() == context.Canceled
	w.mu.Lock()
	defer w.mu.Unlock()
	c.cancel()
	delete(w.calls, c)
	wrong := func(format string, args ...any) {
		c.ctx, c.cancel, c.plan = nil, nil, nil // of no use to a reader
		w.t.Errorf("call %d, returned %v, %v, %+v: %s", c.id, finished, err, *c, fmt.Sprintf(format, args...))
	}

	// Always: one start and one stop, and no token but for a callee.
	if c.starts != 1 || c.stops != 1 {
		wrong("%d starts, %d stops", c.starts, c.stops)
	}
	if c.running != 0 {
		wrong("its callee still runs")
	}
	// A store that fails, or that a change of the policy closes, takes nothing
	// back.
	still := c.before != nil && after != nil && (c.before == after || c.before.same(after))
	spent, sure := 0, still && !c.storeFailed
	for s, n := range c.tokens {
		if spent += n; n < 0 {
			wrong("more tokens given back than taken")
		}
		sure = sure && s.closed.Load() == 0
	}
	if sure && spent > c.called {
		wrong("%d tokens for %d calls", spent, c.called)
	}
	if c.before != nil && c.before.retry != nil || after != nil && after.retry != nil {
		w.retried++
		return
	}

	// Without retries: one callee at most, whose result is the caller's, and
	// one refusal at most.
	class := simClass(finished, cancelled, err)
	own := c.called == 0 || c.resultLate && KindOf(err) == KindTimeout && KindOf(c.result) != KindTimeout
	if !own && class != "success" {
		switch {
		case KindOf(err) == KindTimeout:
			class = "failure"
		case class != "failure" && class != "neutral":
			class = "neutral" // refused further in
		}
	}
	gone := own && (KindOf(err) == KindClosed || KindOf(err) == KindNotFound)
	if refusal, ok := err.(*Error); ok && gone && refusal.Name != "" {
		class = "refused by " + c.layer // by a part that is no more, not by the Runtime
	}
	w.classes[class]++
	switch {
	case c.called > 1:
		wrong("%d calls", c.called)
	case c.called == 0 && finished && err == nil:
		wrong("success without a call")
	case c.called == 0 && !finished && !c.endedInNew:
		wrong("its goroutine ended somewhere")
	case c.called == 1:
		w.judgeResult(c, finished, err, wrong)
	}
	if (class == "refused by "+c.layer) != (c.triggered == 1) || c.triggered > 1 {
		wrong("%s, but %d refusals by %s", class, c.triggered, c.layer)
	}
	want := map[string]Outcome{"success": OutcomeSuccess, "failure": OutcomeFailure, "refused by timeout": OutcomeFailure}
	outcome, ok := want[class]
	if !ok {
		outcome = OutcomeNeutral
	}
	if c.stop.Outcome != outcome {
		wrong("%s, but the stop says %v", class, c.stop.Outcome)
	}
	if exception := outcome == OutcomeFailure && (!finished || KindOf(err) == KindOperation || KindOf(err) == KindPanic); exception != (c.exceptions == 1) {
		wrong("%s, but %d exceptions", class, c.exceptions)
	}

	// While the policy stood still: exactly one token for the callee, and one
	// outcome for the breaker.
	if !still || gone || class == "neutral" && KindOf(err) == KindClosed {
		return
	}
	if c.before.limiter != nil && sure && spent != c.called {
		wrong("%d tokens for %d calls", spent, c.called)
	}
	// A breaker's events may be delivered by another call, after this one ended.
	w.later = append(w.later, func() { w.judgeOutcome(c, class, outcome, wrong) })
}

// judgeResult compares what the callee did with what its caller got.
func (w *world) judgeResult(c *simCall, finished bool, err error, wrong func(string, ...any)) {
	_, panicked := errors.AsType[*PanicError](err)
	switch {
	case !c.returned && c.ending == simExits:
		if finished {
			wrong("the callee ended the goroutine, and the call returned")
		}
	case !finished:
		wrong("the call did not return")
	case !c.returned:
		if !panicked || !errors.Is(err, errSim) {
			wrong("the callee panicked")
		}
	case c.resultLate && (c.result == context.DeadlineExceeded || c.result == context.Canceled):
		if KindOf(err) != KindTimeout || !errors.Is(err, context.DeadlineExceeded) {
			wrong("the callee said %v after the deadline", c.result)
		}
	case err != c.result:
		wrong("the callee returned %v", c.result)
	}
}

// judgeOutcome compares what the breaker counted with how the call ended.
func (w *world) judgeOutcome(c *simCall, class string, outcome Outcome, wrong func(string, ...any)) {
	b := c.before.breaker
	if b == nil {
		if len(c.executed) != 0 || c.rejected != 0 {
			wrong("a breaker that is not there saw it")
		}
		return
	}
	if c.called == 0 && !c.endedInNew {
		if class == "refused by breaker" && c.rejected != 1 || len(c.executed) > 1 {
			wrong("the breaker saw %d rejections and %d calls", c.rejected, len(c.executed))
		}
		return
	}
	if b.policy.Slow > 0 {
		return // counts a success as a failure, and the clock is the breaker's own
	}
	if len(c.executed) != 1 || c.executed[0] != outcome && !c.endedInNew {
		wrong("the breaker saw %v, want %v", c.executed, outcome)
	}
}
