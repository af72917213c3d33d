package runtime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// How many worlds are simulated, and how many things happen in each. The seeds
// are 1, 2, 3, …; PROTECT_SIM_SEED=7 lives through world 7 alone, and
// PROTECT_SIM_SEED=1-9999 through so many. A seed fixes what everybody rolls,
// but not in which order goroutines that wake together run: a failure may need
// a few replays.
const (
	simWorlds = 40
	simSteps  = 300
)

// A world of callers, callees, policies and pools in which everything goes
// wrong that can, on the time of a bubble. After every step, once all is quiet:
//
//   - each call that ended is a success, a failure, neutral or refused by one
//     layer, and the events say the same; each has one start and one stop;
//   - no more than Probes calls run under a half-open breaker;
//   - never more than Size + Overflow instances exist, each lent to one call at
//     a time and closed once;
//   - nobody waits while there is a free place;
//   - a token is spent for each callee that was called, and for nothing else.
//
// And when the Runtime was closed, nothing is left.
func TestSimulatedWorldsKeepTheirPromises(t *testing.T) {
	first, last := simSeeds(t)
	total := map[string]int{}
	for seed := first; seed <= last; seed++ {
		synctest.Test(t, func(t *testing.T) { simulate(t, seed, total) })
	}
	// A world in which something never happens proves nothing about it.
	for _, class := range []string{
		"success", "failure", "neutral", "refused by limiter", "refused by breaker",
		"refused by bulkhead", "refused by pool", "refused by timeout",
	} {
		if total[class] == 0 && first != last {
			t.Errorf("no call ended as %q", class)
		}
	}
	t.Log(total)
}

func simSeeds(t *testing.T) (first, last uint64) {
	s, ok := os.LookupEnv("PROTECT_SIM_SEED")
	if !ok {
		return 1, simWorlds
	}
	from, to, more := strings.Cut(s, "-")
	if !more {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 64)
	last, err2 := strconv.ParseUint(to, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return first, last
}

func simulate(t *testing.T, seed uint64, total map[string]int) {
	defer func() {
		if t.Failed() {
			t.Logf("replay with PROTECT_SIM_SEED=%d go test -run %s", seed, t.Name())
		}
	}()
	w := &world{
		t:       t,
		rand:    rand.New(rand.NewPCG(seed, 0)),
		calls:   map[*simCall]bool{},
		classes: map[string]int{}, events: map[string]int{},
		opened: map[string]int{}, states: map[string]State{},
	}
	w.rt = New(WithObserver(w), WithStores(w.openStore))
	w.eu = w.rt.Scope("eu")
	specs := []Spec{
		{Key: "w.W.A", Breaker: "w.W", Bulkhead: "w.W", Policy: Policy{Breaker: &BreakerPolicy{Failures: 2, Recovery: 100 * time.Millisecond}, Bulkhead: &BulkheadPolicy{Max: 2, Wait: 30 * time.Millisecond}}},
		{Key: "w.W.B", Breaker: "w.W", Bulkhead: "w.W", Policy: Policy{Breaker: &BreakerPolicy{Failures: 2, Recovery: 100 * time.Millisecond}, Bulkhead: &BulkheadPolicy{Max: 2, Wait: 30 * time.Millisecond}, Timeout: 50 * time.Millisecond}},
	}
	var err error
	if w.guards, err = NewGuards(w.rt, &w.next, specs...); err != nil {
		t.Fatal(err)
	}
	for range simSteps {
		name := w.step()
		synctest.Wait()
		w.check(name)
		if t.Failed() {
			t.Errorf("after %s", name)
			break
		}
	}
	w.finish()
	for class, n := range w.classes {
		total[class] += n
	}
}

// step does one thing, and says what.
func (w *world) step() string {
	switch n := w.number(100); {
	case n < 45:
		w.call()
		return "a call"
	case n < 50:
		for range 5 {
			w.call()
		}
		return "calls at once"
	case n < 72:
		time.Sleep(w.upTo(50 * time.Millisecond))
		return "a while"
	case n < 77:
		w.mu.Lock()
		for c := range w.calls {
			c.cancel()
			break
		}
		w.mu.Unlock()
		return "a cancellation"
	case n < 83:
		key := w.key()
		switch err := w.rt.Configure(key, w.policy()); {
		case err == nil, KindOf(err) == KindLimiterFailed: // its store may fail
		case KindOf(err) == KindClosed && key == "eu/api": // the scope is closing
		default:
			w.t.Errorf("Configure %s: %v", key, err)
		}
		return "Configure " + key
	case n < 85:
		key := w.key()
		w.rt.Remove(key)
		return "Remove " + key
	case n < 88:
		w.command()
		return "a command"
	case n < 93:
		return w.startOrClosePool()
	case n < 95:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.storeDown = !w.storeDown
		return "stores fail or work again"
	case n < 97:
		go func() { _ = w.eu.Close(context.Background()) }()
		synctest.Wait()
		w.eu = w.rt.Scope("eu")
		return "the scope closes"
	case n < 99:
		w.mu.Lock()
		down := w.storeDown
		w.mu.Unlock()
		if _, err := w.rt.NewLimiter("shared", LimitPolicy{Tokens: 2, Window: 80 * time.Millisecond}); err != nil && !down {
			w.t.Errorf("NewLimiter: %v", err)
		}
		if _, err := w.rt.NewBreaker("shared", BreakerPolicy{Failures: 2, Recovery: 60 * time.Millisecond, Probes: 2}); err != nil {
			w.t.Errorf("NewBreaker: %v", err)
		}
		return "shared parts"
	}
	_, _, _ = w.rt.Keys(), w.rt.Health(), w.eu.Health()
	_, _ = w.rt.Status("api")
	return "a look"
}

func (w *world) key() string {
	return []string{"api", "api", "nested", "w.W.A", "w.W.B", "db", "w.P.Q", "eu/api"}[w.number(8)]
}

// policy rolls one that has every layer about half of the time.
func (w *world) policy() Policy {
	var p Policy
	ms := func(most int) time.Duration { return w.upTo(time.Duration(most) * time.Millisecond) }
	if !w.roll(3) {
		p.Limit = &LimitPolicy{Tokens: uint64(1 + w.number(4)), Window: ms(200), OnError: OnError(w.number(2))}
		if w.roll(3) {
			p.Limit.Wait = ms(100)
		}
		if w.roll(5) {
			p.Limit.Scale = func() float64 { return float64(w.number(3)) / 2 }
		}
	}
	if !w.roll(3) {
		p.Breaker = &BreakerPolicy{Failures: 1 + w.number(3), Recovery: ms(150), Probes: 1 + w.number(3)}
		switch w.number(6) {
		case 0:
			p.Breaker.Within = ms(200)
		case 1:
			p.Breaker.Failures, p.Breaker.Rate, p.Breaker.Of, p.Breaker.Within = 0, 0.5, 1+w.number(4), ms(200)
		case 2:
			p.Breaker.Slow = ms(60)
		case 3:
			p.Breaker.Needs = []string{"shared", "w.W"}
		}
	}
	if w.roll(2) {
		p.Bulkhead = &BulkheadPolicy{Max: 1 + w.number(3), Wait: []time.Duration{0, ms(60), Forever}[w.number(3)]}
	}
	if w.roll(2) {
		p.Pool = &PoolPolicy{Size: 1 + w.number(2), Overflow: w.number(3), Wait: ms(100)}
		if w.roll(3) {
			p.Pool.Idle, p.Pool.Life = ms(100), ms(300)
		}
	}
	if w.roll(3) {
		p.Timeout = ms(80)
	}
	if w.roll(8) {
		p.Retry = &RetryPolicy{Attempts: 1 + w.number(3), Backoff: ms(10), Max: ms(100)}
	}
	return p
}

// call starts a call of some kind.
func (w *world) call() {
	ctx := context.Background()
	if w.roll(5) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.upTo(100*time.Millisecond))
		context.AfterFunc(ctx, cancel)
	}
	pool := w.db
	switch n := w.number(10); {
	case n < 3:
		go func() { _ = w.execute(ctx, "api") }()
	case n < 4:
		go func() { _ = w.executeIn(ctx, w.eu, "api") }()
	case n < 5:
		go func() {
			_ = w.executeIn(ctx, w.rt, "use", UseLimiter("shared", "ada"), UseBreaker("shared"), UsePool("db"), Timeout(w.upTo(100*time.Millisecond)))
		}()
	case n < 7:
		g := w.guards[w.number(len(w.guards))]
		go func() {
			_ = w.run(ctx, g.entry.plan.Load, func(ctx context.Context) error { return g.Do(ctx, "ada", w.callee) })
		}()
	case pool == nil:
	case n < 9:
		go func() {
			_ = w.run(ctx, pool.guard.entry.plan.Load, func(ctx context.Context) error { return pool.guard.Do(ctx, "ada", w.callee) })
		}()
	default:
		x := execution{rt: w.rt, key: "db"}
		go func() {
			_ = w.run(ctx, x.plan, func(ctx context.Context) error {
				_, err := ExecuteOn(ctx, w.rt, "db", pool.pool.Load(), func(ctx context.Context, inst *simInstance) (int, error) {
					return 0, w.callee(ctx, inst)
				})
				return err
			})
		}()
	}
}

func (w *world) execute(ctx context.Context, key string) error { return w.executeIn(ctx, w.rt, key) }

func (w *world) executeIn(ctx context.Context, rt *Runtime, key string, opts ...ExecuteOption) error {
	x := execution{rt: rt, key: rt.full(key)}
	for _, opt := range opts {
		opt(&x.options)
	}
	return w.run(ctx, x.plan, func(ctx context.Context) error {
		_, err := Execute(ctx, rt, key, func(ctx context.Context) (int, error) { return 0, w.callee(ctx, nil) }, opts...)
		return err
	})
}

// plan is current without its error.
func (x *execution) plan() *plan {
	pl, _, err := x.current()
	if err != nil {
		return nil
	}
	return pl
}

func (w *world) run(ctx context.Context, plan func() *plan, do func(context.Context) error) (err error) {
	ctx, c := w.begin(ctx, plan)
	finished := false
	defer func() { w.end(c, finished, err) }()
	err = do(ctx)
	finished = true
	return err
}

func (w *world) command() {
	names := w.rt.Breakers()
	if len(names) == 0 {
		return
	}
	b, err := w.rt.Breaker(names[w.number(len(names))])
	if err != nil {
		w.t.Error(err)
		return
	}
	switch w.number(6) {
	case 0:
		b.ForceOpen()
	case 1:
		b.ForceClosed()
	default:
		b.Reset()
	}
}

func (w *world) startOrClosePool() string {
	if p := w.db; p != nil {
		if p.closing || !w.roll(3) {
			return "the pool stays"
		}
		p.closing = true
		go func() { _ = p.pool.Load().Close(context.Background()) }()
		return "the pool closes"
	}
	p := &simPool{w: w}
	policy := PoolPolicy{Size: 1 + w.number(2), Overflow: w.number(3), Wait: w.upTo(100 * time.Millisecond), Prefill: w.number(2)}
	pool, err := NewPool(w.rt, "db", policy, p.factory())
	if err != nil {
		return "no pool can be started" // its factory may fail
	}
	p.pool.Store(pool)
	guards, err := NewPooledGuards(w.rt, pool, Spec{Key: "w.P.Q", Policy: Policy{
		Limit: &LimitPolicy{Tokens: 3, Window: 70 * time.Millisecond}, Breaker: &BreakerPolicy{Failures: 2, Recovery: 80 * time.Millisecond},
	}})
	if err != nil {
		go func() { _ = pool.Close(context.Background()) }() // its store may fail
		return "no guards can be made"
	}
	p.guard = guards[0]
	w.db = p
	return "a pool starts"
}

// check holds everything that is there against the promises. All is quiet.
func (w *world) check(step string) {
	if p := w.db; p != nil && p.closing {
		select {
		case <-p.pool.Load().closed:
			w.db = nil
		default:
		}
	}
	core := w.rt.core
	core.mu.RLock()
	all := core.under("")
	core.mu.RUnlock()

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, judge := range w.later {
		judge()
	}
	w.later = nil
	wrong := func(format string, args ...any) { w.t.Errorf("after %s: %s", step, fmt.Sprintf(format, args...)) }
	ended := 0
	for class, n := range w.classes {
		ended += n
		if seen := w.events[class]; seen < n && class[:3] == "ref" {
			wrong("%d calls were %s, the observer saw %d", n, class, seen)
		}
	}
	if ended+w.retried+len(w.calls) != w.begun {
		wrong("%d calls: %d under way, %d retried, and %v", w.begun, len(w.calls), w.retried, w.classes)
	}
	for _, b := range all.breakers {
		w.checkBreaker(b, wrong)
	}
	for _, b := range all.bulkheads {
		checkPlaces("bulkhead "+b.name, &b.gate, len(w.calls), wrong)
	}
	for _, pool := range all.pools {
		w.checkPool(pool, wrong)
	}
	if len(w.calls) == 0 {
		if n := w.rt.life.calls(); n != 0 {
			wrong("the Runtime counts %d calls", n)
		}
	}
}

func (w *world) checkBreaker(b *Breaker, wrong func(string, ...any)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing < 0 || b.probing > b.policy.Probes || len(w.calls) == 0 && b.probing != 0 {
		wrong("breaker %s has %d probes of %d, with %d calls under way", b.name, b.probing, b.policy.Probes, len(w.calls))
	}
	if b.state != w.states[b.name] {
		wrong("breaker %s is %v, and the events say %v", b.name, b.state, w.states[b.name])
	}
	if b.state != HalfOpen {
		return
	}
	// What began after it opened can only have passed as a probe.
	probes := 0
	for c := range w.calls {
		if c.running > 0 && c.before != nil && c.before.breaker == b && c.id > w.opened[b.name] && c.before.retry == nil {
			probes++
		}
	}
	if probes > b.policy.Probes {
		wrong("%d calls run under the half-open breaker %s of %d probes", probes, b.name, b.policy.Probes)
	}
}

// checkPlaces wants nobody to wait while a place is free, and no place to be
// taken by nobody.
func checkPlaces(name string, g *gate, calls int, wrong func(string, ...any)) {
	size, active, waiting := g.counts()
	if waiting > 0 && active < size {
		wrong("%s: %d wait, and %d of %d places are taken", name, waiting, active, size)
	}
	if active < 0 || active+waiting > calls {
		wrong("%s: %d places are taken, %d wait, and %d calls are under way", name, active, waiting, calls)
	}
}

func (w *world) checkPool(pool anyPool, wrong func(string, ...any)) {
	s := pool.Status()
	if s.Overflow != max(0, s.Active+s.Idle-s.Size) {
		wrong("%+v", s)
	}
	switch p := pool.(type) {
	case *Pool[struct{}]:
		checkPlaces("permits "+s.Name, &p.gate, len(w.calls), wrong)
		if _, active, _ := p.gate.counts(); s.Active != active {
			wrong("%+v: %d places are taken", s, active)
		}
	case *Pool[*simInstance]:
		if w.db == nil || w.db.pool.Load() != p {
			return
		}
		if s.Active+s.Idle != w.db.open {
			wrong("%+v: %d instances are open", s, w.db.open)
		}
		size, active, waiting := p.gate.counts()
		if waiting > 0 && active < size {
			wrong("%+v: %d of %d places are taken", s, active, size)
		}
		// Each place is for an instance that is lent, comes or goes.
		if most := s.Active + w.db.making + w.db.leaving; active > most {
			wrong("%+v: %d places are taken, by %d instances", s, active, most)
		}
		if len(w.calls) == 0 && s.Active != 0 {
			wrong("%+v, without a call", s)
		}
	}
}

// finish closes the Runtime with calls under way, and wants nothing to be left.
func (w *world) finish() {
	soon, cancel := context.WithTimeout(context.Background(), 1)
	defer cancel()
	_ = w.rt.Close(soon)
	if err := w.execute(context.Background(), "api"); KindOf(err) != KindClosed {
		w.t.Errorf("a call after Close: %v", err)
	}
	w.mu.Lock()
	for c := range w.calls {
		c.cancel()
	}
	w.mu.Unlock()
	done := make(chan error)
	go func() { done <- w.rt.Close(context.Background()) }()
	<-done // with what the factories have said
	synctest.Wait()

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.calls) != 0 {
		w.t.Errorf("%d calls are left", len(w.calls))
	}
	for _, s := range w.stores {
		if n := s.closed.Load(); n != 1 {
			w.t.Errorf("a store was closed %d times", n)
		}
	}
	for _, i := range w.instances {
		if i.closed != 1 {
			w.t.Errorf("an instance was closed %d times", i.closed)
		}
	}
	core := w.rt.core
	if n := len(core.entries) + len(core.limiters) + len(core.breakers) + len(core.bulkheads) + len(core.pools) + len(core.scopes); n != 1 {
		w.t.Errorf("%d things are left in the Runtime, want its own life", n)
	}
	if n := w.rt.life.calls(); n != 0 || !w.rt.life.over() {
		w.t.Errorf("the Runtime counts %d calls", n)
	}
}
