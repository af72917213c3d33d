package runtime

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// modelChain is the whole chain, limiter → breaker → bulkhead → pool, written
// for nothing but being obviously right: one list of calls, and counts that are
// moved by hand. Nothing waits in it; time is told to it.
type modelChain struct {
	now     time.Duration
	policy  Policy
	buckets map[string]*modelBucket
	breaker *modelBreaker
	needed  bool // the breaker that this one needs is open

	inside        int // the bulkhead
	lent, idle    int // the pool
	bulkheadQueue []*modelCall
	poolQueue     []*modelCall
	calls         []*modelCall // under way
}

// modelBucket is one window of one entity. A call keeps the one that its token
// came from.
type modelBucket struct {
	used uint64
	end  time.Duration
}

type modelCall struct {
	bucket   *modelBucket
	breaker  *modelBreaker
	permit   *modelPermit
	deadline time.Duration // of the call
	until    time.Duration // of the wait that it is in, 0 when it does not wait
	where    modelPlace

	kind  Kind // how it ended, once it did
	after time.Duration
}

type modelPlace int

const (
	modelOut modelPlace = iota
	modelAtBulkhead
	modelAtPool
	modelRuns
)

func (m *modelChain) arrive(entity string, timeout time.Duration) *modelCall {
	c := &modelCall{deadline: m.now + timeout, breaker: m.breaker}
	if m.needed {
		c.kind = KindDependencyOpen
		return c
	}
	if refused, after := m.breaker.refusal(m.now); refused {
		c.kind, c.after = KindBreakerOpen, after
		return c
	}
	c.bucket = m.buckets[entity]
	if c.bucket == nil || c.bucket.end <= m.now {
		c.bucket = &modelBucket{end: m.now + m.policy.Limit.Window}
		m.buckets[entity] = c.bucket
	}
	if c.bucket.used == m.policy.Limit.Tokens {
		c.kind, c.after = KindRateLimited, c.bucket.end-m.now
		return c
	}
	c.bucket.used++
	c.permit = m.breaker.admit(m.now, permit{})
	m.calls = append(m.calls, c)
	switch {
	case m.inside < m.policy.Bulkhead.Max:
		m.inside++
		m.atPool(c)
	case m.policy.Bulkhead.Wait == 0:
		m.end(c, KindBulkheadFull, false)
	default:
		c.where, c.until = modelAtBulkhead, m.now+m.policy.Bulkhead.Wait
		m.bulkheadQueue = append(m.bulkheadQueue, c)
	}
	return c
}

func (m *modelChain) atPool(c *modelCall) {
	if p := m.policy.Pool; m.lent < p.Size+p.Overflow {
		m.lend(c)
		return
	}
	c.where, c.until = modelAtPool, m.now+m.policy.Pool.Wait
	m.poolQueue = append(m.poolQueue, c)
}

func (m *modelChain) lend(c *modelCall) {
	m.lent++
	m.idle = max(0, m.idle-1)
	c.where, c.until = modelRuns, 0
}

// end takes a call out of wherever it is. kept is what becomes of its instance.
func (m *modelChain) end(c *modelCall, kind Kind, kept bool) {
	called := c.where == modelRuns
	c.kind = kind
	m.calls = without(m.calls, c)
	switch c.where {
	case modelAtBulkhead:
		m.bulkheadQueue = without(m.bulkheadQueue, c)
	case modelAtPool:
		m.poolQueue = without(m.poolQueue, c)
	case modelRuns:
		m.lent--
		if kept {
			m.idle++
		}
		m.movePool()
	}
	if c.where == modelAtPool || called {
		m.inside--
		m.moveBulkhead()
	}
	outcome := OutcomeNeutral
	switch {
	case called && kind == KindNone:
		outcome = OutcomeSuccess
	case called && c.after == 0: // it was not cancelled
		outcome = OutcomeFailure
	}
	c.breaker.settle(m.now, c.permit, outcome)
	if !called {
		c.bucket.used--
	}
}

// movePool lends what is free to those who wait, and closes what is too much
// then: idle instances beyond Size.
func (m *modelChain) movePool() {
	for p := m.policy.Pool; len(m.poolQueue) > 0 && m.lent < p.Size+p.Overflow; {
		first := m.poolQueue[0]
		m.poolQueue = m.poolQueue[1:]
		m.lend(first)
	}
	m.idle = min(m.idle, max(0, m.policy.Pool.Size-m.lent))
}

func (m *modelChain) moveBulkhead() {
	for len(m.bulkheadQueue) > 0 && m.inside < m.policy.Bulkhead.Max {
		first := m.bulkheadQueue[0]
		m.bulkheadQueue = m.bulkheadQueue[1:]
		m.inside++
		m.atPool(first)
	}
}

// pass lets time pass: waits and deadlines end, in their order.
func (m *modelChain) pass(d time.Duration) {
	for end := m.now + d; ; {
		var next *modelCall
		at := end + 1
		for _, c := range m.calls {
			t := c.deadline
			if c.until > 0 {
				t = min(t, c.until)
			}
			if t < at {
				next, at = c, t
			}
		}
		if next == nil {
			m.now = end
			return
		}
		m.now = at
		kinds := map[modelPlace]Kind{modelAtBulkhead: KindBulkheadFull, modelAtPool: KindPoolTimeout, modelRuns: KindTimeout}
		m.end(next, kinds[next.where], true)
	}
}

func (m *modelChain) cancel(c *modelCall) {
	c.after = 1 // marks the outcome as neutral
	m.end(c, KindOperation, true)
	c.after = 0
}

func without[V comparable](all []V, v V) []V {
	i := slices.Index(all, v)
	return slices.Delete(slices.Clone(all), i, i+1)
}

// chainStep is one thing to do to a chain.
type chainStep struct {
	kind     chainStepKind
	arg, way int
}

type chainStepKind int

const (
	chainCall chainStepKind = iota
	chainEnd
	chainSleep
	chainCancel
	chainCommand
	chainNeed
	chainConfigure
)

func drawChainStep(t *rapid.T) chainStep {
	return chainStep{
		kind: rapid.SampledFrom([]chainStepKind{
			chainCall, chainCall, chainCall, chainCall, chainCall, chainCall, chainCall,
			chainEnd, chainEnd, chainEnd, chainEnd, chainEnd, chainEnd,
			chainSleep, chainSleep, chainCancel, chainCommand, chainNeed, chainConfigure,
		}).Draw(t, "kind"),
		arg: rapid.IntRange(0, 11).Draw(t, "arg"),
		way: rapid.IntRange(0, 7).Draw(t, "way"),
	}
}

// All times of a policy are whole chainTicks, and every step takes one
// chainInstant. So no two things ever happen at the same moment, and the model
// need not say which comes first.
const (
	chainTick    = 100 * time.Millisecond
	chainInstant = time.Microsecond
)

func drawChainPolicy(t *rapid.T) Policy {
	ticks := func(name string, least, most int) time.Duration {
		return time.Duration(rapid.IntRange(least, most).Draw(t, name)) * chainTick
	}
	p := Policy{
		Limit: &LimitPolicy{Tokens: rapid.Uint64Range(1, 6).Draw(t, "tokens"), Window: ticks("window", 1, 8)},
		Breaker: &BreakerPolicy{
			Failures: rapid.IntRange(1, 4).Draw(t, "failures"), Recovery: ticks("recovery", 1, 6),
			Probes: rapid.IntRange(1, 3).Draw(t, "probes"), Needs: []string{"needed"},
		},
		Bulkhead: &BulkheadPolicy{Max: rapid.IntRange(1, 4).Draw(t, "max"), Wait: ticks("bulkhead wait", 0, 5)},
		Pool: &PoolPolicy{
			Size: rapid.IntRange(1, 2).Draw(t, "size"), Overflow: rapid.IntRange(0, 2).Draw(t, "overflow"), Wait: ticks("pool wait", 1, 5),
		},
	}
	if rapid.Bool().Draw(t, "sliding") {
		p.Breaker.Within = ticks("within", 1, 8)
	}
	return p
}

// chainTrial does the same things to a chain and to its model.
type chainTrial struct {
	rt     *Runtime
	guard  *Guard[int]
	main   *Breaker
	needed *Breaker
	m      *modelChain
	pairs  []*chainPair
}

// chainPair is a call of the chain beside that of the model.
type chainPair struct {
	model  *modelCall
	finish chan int // how the callee ends
	cancel context.CancelFunc

	// Read once all is quiet.
	runs, done bool
	err        error
}

func newChainTrial(p Policy) (*chainTrial, error) {
	x := &chainTrial{
		rt: New(WithStores(OpenSimStore)),
		m:  &modelChain{buckets: map[string]*modelBucket{}, breaker: newModelBreaker(*p.Breaker), policy: p.clone()},
	}
	needed, err1 := x.rt.NewBreaker("needed", BreakerPolicy{})
	pool, err2 := NewPool(x.rt, "pool", *p.Pool, Factory[int]{New: func(context.Context) (int, error) { return 0, nil }})
	guards, err3 := NewPooledGuards(x.rt, pool, Spec{Key: "api", Policy: p})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	x.needed, x.guard = needed, guards[0]
	x.main, err1 = x.rt.Breaker("api")
	return x, err1
}

func (x *chainTrial) call(entity string, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	ctx, cancelled := context.WithCancel(ctx)
	pair := &chainPair{finish: make(chan int), cancel: cancelled}
	go func() {
		defer cancel()
		defer func() { pair.done, pair.runs = true, false }()
		pair.err = errNotReturned
		pair.err = x.guard.Do(ctx, entity, func(ctx context.Context, _ int) error {
			pair.runs = true
			select {
			case <-ctx.Done():
				return ctx.Err()
			case way := <-pair.finish:
				switch way {
				case 0, 1:
					return errSim
				case 2:
					panic(errSim)
				case 3:
					goruntime.Goexit()
				}
				return nil
			}
		})
	}()
	synctest.Wait()
	pair.model = x.m.arrive(entity, timeout)
	x.pairs = append(x.pairs, pair)
}

func (x *chainTrial) end(pair *chainPair, way int) {
	pair.finish <- way
	switch way {
	case 0, 1:
		x.m.end(pair.model, KindOperation, true)
	case 2:
		x.m.end(pair.model, KindPanic, false)
	case 3:
		x.m.end(pair.model, KindOperation, false) // what errNotReturned is
	default:
		x.m.end(pair.model, KindNone, true)
	}
}

// pick returns one of the calls under way for which fits holds, nil if there is
// none.
func (x *chainTrial) pick(n int, fits func(*chainPair) bool) *chainPair {
	var some []*chainPair
	for _, pair := range x.pairs {
		if slices.Contains(x.m.calls, pair.model) && fits(pair) {
			some = append(some, pair)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[n%len(some)]
}

func (x *chainTrial) do(step chainStep) error {
	switch step.kind {
	case chainCall:
		x.call([]string{"", "ada"}[step.way%2], time.Duration(1+step.arg)*chainTick)
	case chainEnd:
		if pair := x.pick(step.arg, func(p *chainPair) bool { return p.runs }); pair != nil {
			x.end(pair, step.way)
		}
	case chainSleep:
		d := time.Duration(step.arg/2) * chainTick
		time.Sleep(d)
		synctest.Wait()
		x.m.pass(d)
	case chainCancel:
		if pair := x.pick(step.arg, func(*chainPair) bool { return true }); pair != nil {
			pair.cancel()
			x.m.cancel(pair.model)
		}
	case chainCommand:
		switch step.arg {
		case 0:
			x.main.ForceOpen()
			x.m.breaker.command(Open, true, x.m.now)
		case 1:
			x.main.ForceClosed()
			x.m.breaker.command(Closed, true, x.m.now)
		default:
			x.main.Reset()
			x.m.breaker.command(Closed, false, x.m.now)
		}
	case chainNeed:
		if x.m.needed = step.arg == 0; x.m.needed {
			x.needed.ForceOpen()
		} else {
			x.needed.Reset()
		}
	case chainConfigure:
		return x.configure(step)
	}
	return nil
}

func (x *chainTrial) configure(step chainStep) error {
	p := x.m.policy.clone()
	switch step.way {
	case 0, 1:
		p.Limit.Tokens = uint64(1 + step.arg%6)
		if !p.Limit.same(*x.m.policy.Limit) {
			// Tokens of the limiter that was there are given back to nobody.
			x.m.buckets = map[string]*modelBucket{}
		}
	case 2:
		p.Breaker.Failures = 1 + step.arg%4
		if !p.Breaker.same(*x.m.policy.Breaker) {
			old := x.m.breaker
			x.m.breaker = newModelBreaker(*p.Breaker)
			if old.forced {
				x.m.breaker.command(old.state, true, x.m.now)
			}
		}
	case 3, 4:
		// By one, so that no two callers reach the pool at the same moment.
		p.Bulkhead.Max = max(1, p.Bulkhead.Max-1+2*(step.arg%2))
		p.Bulkhead.Wait = time.Duration(step.arg/2) * chainTick
	default:
		p.Pool.Size, p.Pool.Overflow = 1+step.arg%3, step.arg/4
		p.Pool.Wait = time.Duration(1+step.arg/2) * chainTick
	}
	if err := x.rt.Configure("api", p); err != nil {
		return err
	}
	synctest.Wait()
	x.m.policy = p
	x.m.movePool()
	x.m.moveBulkhead()
	var err error
	x.main, err = x.rt.Breaker("api")
	return err
}

// differs returns the first difference between the chain and its model.
func (x *chainTrial) differs() error {
	for i, pair := range x.pairs {
		c := pair.model
		under := slices.Contains(x.m.calls, c)
		if pair.done == under || pair.runs != (under && c.where == modelRuns) {
			return fmt.Errorf("call %d: done %v, runs %v (%v), want %+v", i, pair.done, pair.runs, pair.err, *c)
		}
		if under {
			continue
		}
		var after time.Duration
		if refusal, ok := errors.AsType[*Error](pair.err); ok {
			after = refusal.RetryAfter
		}
		if KindOf(pair.err) != c.kind || after != c.after {
			return fmt.Errorf("call %d: %v, want %v, retry after %v", i, pair.err, c.kind, c.after)
		}
	}
	x.pairs = slices.DeleteFunc(x.pairs, func(p *chainPair) bool { return p.done })

	s, err := x.rt.Status("api")
	if err != nil {
		return err
	}
	wantBreaker := x.m.breaker.status(x.m.now)
	wantBreaker.Name = "api"
	if *s.Breaker != wantBreaker {
		return fmt.Errorf("breaker %+v, want %+v", *s.Breaker, wantBreaker)
	}
	wantBulkhead := BulkheadStatus{Name: "api", Max: x.m.policy.Bulkhead.Max, Active: x.m.inside, Waiting: len(x.m.bulkheadQueue)}
	if *s.Bulkhead != wantBulkhead {
		return fmt.Errorf("bulkhead %+v, want %+v", *s.Bulkhead, wantBulkhead)
	}
	p := x.m.policy.Pool
	wantPool := PoolStatus{
		Name: "pool", Size: p.Size, MaxOverflow: p.Overflow, Active: x.m.lent, Idle: x.m.idle,
		Overflow: max(0, x.m.lent+x.m.idle-p.Size), Waiting: len(x.m.poolQueue),
	}
	if *s.Pool != wantPool {
		return fmt.Errorf("pool %+v, want %+v", *s.Pool, wantPool)
	}
	l, err := x.rt.Limiter("api")
	if err != nil {
		return err
	}
	for _, entity := range []string{"", "ada"} {
		var used uint64
		if b := x.m.buckets[entity]; b != nil && b.end > x.m.now {
			used = b.used
		}
		got, err := l.Status(context.Background(), entity)
		if err != nil || got.Used != used || got.Limit != x.m.policy.Limit.Tokens || got.Limited != (used == got.Limit) {
			return fmt.Errorf("limiter %+v, %v, want %d used", got, err, used)
		}
	}
	return nil
}

func runChainModel(p Policy, steps []chainStep) error {
	x, err := newChainTrial(p)
	if err != nil {
		return err
	}
	defer func() {
		for _, pair := range x.pairs {
			pair.cancel()
		}
		_ = x.rt.Close(context.Background())
	}()
	for i, step := range steps {
		if err := x.do(step); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, step, err)
		}
		time.Sleep(chainInstant)
		synctest.Wait()
		x.m.pass(chainInstant)
		if err := x.differs(); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, step, err)
		}
	}
	return nil
}

// Which layer refuses, when to come back, how a call ends and every number of
// every status, over 100,000 steps: calls that stay, end in all ways, are
// cancelled or run out of time, policies that change meanwhile.
func TestChainDoesWhatTheModelDoes(t *testing.T) {
	const steps = 1000 // times 100 checks
	rapid.Check(t, func(rt *rapid.T) {
		p := drawChainPolicy(rt)
		script := rapid.SliceOfN(rapid.Custom(drawChainStep), steps, steps).Draw(rt, "steps")
		var err error
		synctest.Test(t, func(*testing.T) { err = runChainModel(p, script) })
		if err != nil {
			rt.Fatalf("%+v: %v", p, err)
		}
	})
}
