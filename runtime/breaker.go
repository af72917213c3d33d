package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	circuitbreaker "github.com/mercari/go-circuitbreaker"
)

// Breaker stops calls to something that fails, and tries again with a few
// probes after a while. [BreakerPolicy] says when it opens and for how long.
//
//   - Closed: calls pass. The failure that completes what the policy asks for
//     opens it.
//   - Open: calls are refused, with the time to the next probe. Failures that
//     still come in do not lengthen it.
//   - Half-open, from the first call after the recovery time: at most Probes
//     calls are under way at once. Probes successes close it; one failure opens
//     it for another recovery time; a neutral probe only gives its place back.
//
// The result of a call counts in the state that admitted the call, and nowhere
// else. A probe that never returns keeps its place, so give the calls a
// deadline; Reset frees it.
//
// Breakers share nothing. All methods are safe for concurrent use, and none
// runs the callee, an observer or a judge of errors while it holds a lock.
type Breaker struct {
	name    string
	policy  BreakerPolicy // with defaults
	needs   func(name string) *Breaker
	life    *life // counts the calls of Do; the chain counts its own
	rethrow bool  // let a panic of the callee pass on; set before the first call
	timed   bool  // somebody asks how long calls take
	epoch   time.Time

	// The library holds the state and the failures in a row. What follows is
	// what it does not promise, and holds whenever mu is free:
	//
	//   - The library is only ever used under mu, and does nothing by itself:
	//     no ticker runs, and the timer that it starts when it opens is set so
	//     far ahead that it never fires. Its trip function reads one field.
	//   - state is the library's state.
	//   - generation grows with every change of state and every command. A
	//     permit counts only while its generation lasts.
	//   - probing is the number of probes under way, of this half-open period
	//     and of earlier ones, back to the last command. It never exceeds
	//     policy.Probes.
	//   - Events are queued under mu, in the order in which things happened,
	//     and delivered after it.
	mu         sync.Mutex
	cb         *circuitbreaker.CircuitBreaker
	state      State
	generation uint64        // never 0: a zero permit belongs to none
	commanded  uint64        // the generation that the last command began
	forced     bool          // until Reset
	closed     bool          // for good
	openedAt   time.Duration // since epoch, as are all times below
	probing    int
	window     window // nil: failures in a row
	trip       bool   // what window said of the call being counted
	events     eventQueue

	// calm is the generation while the breaker is closed and a success would
	// change nothing: it counts failures in a row, there are none, and nobody
	// asks how long calls take. Otherwise it is 0. It changes under mu only;
	// calls that find it read nothing else.
	calm atomic.Uint64
}

// permit is the right to make one call. Whoever has one settles it once.
type permit struct {
	generation uint64
	probe      bool

	// Only when the breaker is timed: when the callee was called, and until then
	// when the call was admitted; once it is over, how long it took.
	over  bool
	clock time.Duration
}

// never is an open time that the library's timer cannot reach: 292 years.
const never time.Duration = Forever

// errNotReturned is what events say of a call that ended its goroutine, or
// whose panic was passed on.
var errNotReturned = errors.New("protect: the call did not return")

// newBreaker returns a closed breaker. p must be valid. needs finds a breaker
// that p.Needs names, each time it is asked for; nil counts as healthy. The
// event that says so is queued: the caller flushes when it holds no lock.
func newBreaker(s *sink, l *life, name string, p BreakerPolicy, needs func(name string) *Breaker) *Breaker {
	p = p.withDefaults()
	b := &Breaker{
		name:       name,
		policy:     p,
		needs:      needs,
		life:       l,
		timed:      p.Slow > 0 || s.on(),
		epoch:      time.Now(),
		generation: 1,
		window:     newWindow(p),
		events:     eventQueue{sink: s},
	}
	trip := circuitbreaker.NewTripFuncConsecutiveFailures(int64(p.Failures))
	if b.window != nil {
		trip = func(*circuitbreaker.Counters) bool { return b.trip }
	}
	b.cb = circuitbreaker.New(
		circuitbreaker.WithCounterResetInterval(-1),
		circuitbreaker.WithOpenTimeout(never),
		circuitbreaker.WithHalfOpenMaxSuccesses(int64(p.Probes)),
		circuitbreaker.WithTripFunc(trip),
	)
	b.events.push(context.Background(), b.event(EventBreakerInstalled, call{}))
	b.calmDown()
	return b
}

// Name returns the breaker's name, with the prefix of its scope.
func (b *Breaker) Name() string { return b.name }

// Do calls fn unless the breaker refuses, and counts how it ended. It returns
// fn's error as it is, or an [*Error]:
//
//   - [KindBreakerOpen], with the time to the next probe; 0 when that depends
//     on probes that are under way, or on a command;
//   - [KindDependencyOpen], naming every breaker that this one needs and that
//     is open, with the longest time among them;
//   - [KindClosed] once its Runtime closes, or the breaker gave way to a change
//     of the policy that it belongs to;
//   - [KindInvalid] when fn is nil.
//
// A panic of fn comes back as a [*PanicError]. It counts as a failure, and so
// does runtime.Goexit.
func (b *Breaker) Do(ctx context.Context, fn func(context.Context) error) (err error) {
	if fn == nil {
		return invalid("fn", "breaker %s has nothing to call", b.name)
	}
	in := b.life.enter()
	if in == nil {
		return &Error{Kind: KindClosed, Name: b.name}
	}
	defer b.life.leave(in)
	ctx = orBackground(ctx)
	p, err := b.admit(ctx, call{})
	if err != nil {
		return err
	}
	outcome, cause := OutcomeFailure, errNotReturned
	defer func() { b.settle(ctx, call{}, p, outcome, cause) }()

	err = callFn(ctx, fn, b.rethrow)
	outcome, cause = b.outcome(ctx, p, err, b.policy.Failure), err
	return err
}

// Status returns a snapshot. An open breaker whose recovery time is over still
// is open, with RetryAfter 0, until a call probes it. Failures are those in a
// row, or those within the policy's time.
func (b *Breaker) Status() BreakerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	status := BreakerStatus{Name: b.name, State: b.state, Forced: b.forced}
	if b.window != nil {
		status.Failures = b.window.failures(b.now())
	} else {
		status.Failures = int(b.cb.Counters().ConsecutiveFailures)
	}
	if b.state == Open && !b.forced {
		status.RetryAfter = b.recoveryLeft()
	}
	return status
}

// Reset closes the breaker, forgets what it counted and ends a forced state.
// Calls under way do not count any more.
func (b *Breaker) Reset() { b.command(Closed, false) }

// ForceOpen refuses every call until Reset or ForceClosed, through changes of the
// policy that the breaker belongs to.
func (b *Breaker) ForceOpen() { b.command(Open, true) }

// ForceClosed lets every call pass, and counts none, until Reset or ForceOpen,
// as long as that holds.
func (b *Breaker) ForceClosed() { b.command(Closed, true) }

// ready reports whether a call would be refused now. It takes nothing, so that
// a caller can ask before it spends what it could not give back.
func (b *Breaker) ready(ctx context.Context, c call) error {
	if b.calm.Load() != 0 {
		return nil
	}
	if refusal := b.dependencyOpen(ctx, c); refusal != nil {
		return refusal
	}
	b.mu.Lock()
	refusal := b.refuse(ctx, c)
	b.mu.Unlock()
	if refusal != nil {
		b.events.flush()
		return refusal
	}
	return nil
}

// admit takes a permit, which settle takes back.
func (b *Breaker) admit(ctx context.Context, c call) (permit, error) {
	if generation := b.calm.Load(); generation != 0 {
		return permit{generation: generation}, nil
	}
	if refusal := b.dependencyOpen(ctx, c); refusal != nil {
		return permit{}, refusal
	}
	b.mu.Lock()
	if refusal := b.refuse(ctx, c); refusal != nil {
		b.mu.Unlock()
		b.events.flush()
		return permit{}, refusal
	}
	if b.state == Open {
		b.cb.SetState(circuitbreaker.StateHalfOpen)
		b.follow(ctx, c)
		b.calmDown()
	}
	p := permit{generation: b.generation, probe: b.state == HalfOpen}
	if p.probe {
		b.probing++
	}
	b.mu.Unlock()
	if p.probe {
		b.tell(ctx, c, p)
	}
	b.begin(&p)
	return p, nil
}

// begin starts the clock of a call that was admitted: what it waited for before
// the callee is called is not the callee's.
func (b *Breaker) begin(p *permit) {
	if b.timed {
		p.clock = b.now()
	}
}

// end stops it: nor is what it leaves behind to be cleaned up.
func (b *Breaker) end(p *permit) {
	if b.timed {
		p.over, p.clock = true, b.now()-p.clock
	}
}

// lasted is how long a call has taken.
func (b *Breaker) lasted(p permit) time.Duration {
	if p.over {
		return p.clock
	}
	return b.now() - p.clock
}

// tell delivers the events of admitting a probe. When an observer ends the
// goroutine nobody has the permit, and it goes back.
func (b *Breaker) tell(ctx context.Context, c call, p permit) {
	told := false
	defer func() {
		if !told {
			b.settle(ctx, c, p, OutcomeNeutral, errNotReturned)
		}
	}()
	b.events.flush()
	told = true
}

// outcome judges err, the result of the call that p admitted and that has ended.
// judge is asked about errors of the callee; methods that share a breaker
// each bring their own. One that panics has seen a failure.
func (b *Breaker) outcome(ctx context.Context, p permit, err error, judge func(error) Outcome) (o Outcome) {
	if err == nil && b.policy.Slow == 0 {
		return OutcomeSuccess
	}
	defer func() {
		if recover() != nil {
			o = OutcomeFailure
		}
	}()
	switch o = outcomeOf(ctx, err, judge); o {
	case OutcomeNeutral:
		return OutcomeNeutral
	case OutcomeSuccess:
		if b.policy.Slow > 0 && b.lasted(p) > b.policy.Slow {
			return OutcomeFailure
		}
		return OutcomeSuccess
	}
	return OutcomeFailure
}

// unmoved reports whether the success of a call that p admitted changes nothing,
// so that p need not be settled.
func (b *Breaker) unmoved(p permit) bool { return p.generation == b.calm.Load() }

// settle takes a permit back and counts the call's outcome. err is for the
// event only. A zero permit is nothing to settle.
func (b *Breaker) settle(ctx context.Context, c call, p permit, o Outcome, err error) {
	if p.generation == 0 || o == OutcomeSuccess && b.unmoved(p) {
		return
	}
	b.mu.Lock()
	if b.events.sink.on() {
		e := b.event(EventBreakerExecuted, c)
		e.Duration, e.Outcome, e.Err = b.lasted(p), o, err
		b.events.push(ctx, e)
	}
	if p.probe && p.generation >= b.commanded {
		b.probing--
	}
	if p.generation == b.generation && !b.forced && o != OutcomeNeutral {
		b.count(ctx, c, o == OutcomeFailure)
	}
	b.mu.Unlock()
	b.events.flush()
}

// close ends the breaker: it refuses with KindClosed from now on, and leaves
// nothing behind, the library's timer included. It is idempotent.
func (b *Breaker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cb.Reset()
	b.state, b.forced, b.closed = Closed, false, true
	b.generation++
	b.calmDown()
}

// The rest runs with mu held, but for dependencyOpen and the few that say so.

// count tells the library how a call of this generation ended.
func (b *Breaker) count(ctx context.Context, c call, failed bool) {
	b.trip = b.state == Closed && b.window != nil && b.window.add(b.now(), failed)
	switch {
	case failed:
		b.cb.Fail()
	case b.trip:
		// The library asks on failures only, but a success can be the call
		// that makes enough of them to judge a rate.
		b.cb.SetState(circuitbreaker.StateOpen)
	default:
		b.cb.Success()
		if b.state == Closed {
			return // the one result that never changes the state
		}
	}
	b.follow(ctx, c)
	b.calmDown()
}

// calmDown sets calm to what its invariant says. Whatever changes one of the
// fields ends with it.
func (b *Breaker) calmDown() {
	calm := b.state == Closed && !b.forced && !b.closed && !b.timed && b.window == nil && len(b.policy.Needs) == 0 &&
		b.cb.Counters().ConsecutiveFailures == 0
	if calm {
		b.calm.Store(b.generation)
	} else {
		b.calm.Store(0)
	}
}

// follow begins a generation if the library has changed its state.
func (b *Breaker) follow(ctx context.Context, c call) {
	if to := stateOf(b.cb.State()); to != b.state {
		b.enter(ctx, c, to)
	}
}

// enter begins a generation in the state to, which the library is in already.
func (b *Breaker) enter(ctx context.Context, c call, to State) {
	from := b.state
	b.state = to
	b.generation++
	switch to {
	case Open:
		b.openedAt = b.now()
	case Closed:
		if b.window != nil {
			b.window.reset()
		}
	}
	if from != to {
		e := b.event(EventBreakerState, c)
		e.From, e.To = from, to
		b.events.push(ctx, e)
	}
}

// command moves to a state from outside. It takes mu itself.
func (b *Breaker) command(to State, forced bool) {
	b.order(to, forced)
	b.events.flush()
}

// order is command without telling anybody yet. It takes mu itself.
func (b *Breaker) order(to State, forced bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.cb.Reset()
	if b.window != nil {
		b.window.reset()
	}
	if to == Open {
		b.cb.SetState(circuitbreaker.StateOpen)
	}
	b.enter(context.Background(), call{}, to)
	b.forced, b.probing, b.commanded = forced, 0, b.generation
	b.calmDown()
}

// succeed gives b the command under which the breaker is whose place it takes,
// if there is one: that holds until another. It takes both mu, one after the
// other.
func (b *Breaker) succeed(old *Breaker) {
	old.mu.Lock()
	state, forced := old.state, old.forced
	old.mu.Unlock()
	if forced {
		b.order(state, true)
	}
}

// refuse returns why a call is refused now, after queueing the event that the
// breaker rejected it; nil when the call may pass.
func (b *Breaker) refuse(ctx context.Context, c call) error {
	if b.state == Closed && !b.closed {
		return nil
	}
	if b.closed {
		// Not a rejection: a call that a change of its policy left with this
		// breaker goes on with the next one.
		return &Error{Kind: KindClosed, Key: c.key, Name: b.name}
	}
	var wait time.Duration
	switch {
	case b.forced:
		// Only a command ends that.
	default:
		if b.state == Open {
			wait = b.recoveryLeft()
		}
		if wait == 0 && b.probing < b.policy.Probes {
			return nil
		}
	}
	return b.rejected(ctx, c, &Error{Kind: KindBreakerOpen, Key: c.key, Name: b.name, RetryAfter: wait})
}

// dependencyOpen returns the refusal when breakers that this one needs are
// open, and nil otherwise. It runs without mu: a dependency may need this
// breaker in turn.
func (b *Breaker) dependencyOpen(ctx context.Context, c call) error {
	var open []string
	var wait time.Duration
	for _, name := range b.policy.Needs {
		dependency := b.needs(name)
		if dependency == nil || dependency == b {
			continue
		}
		if refuses, left := dependency.unhealthy(); refuses {
			open = append(open, name)
			wait = max(wait, left)
		}
	}
	if len(open) == 0 {
		return nil
	}
	refusal := b.rejected(ctx, c, &Error{
		Kind:       KindDependencyOpen,
		Key:        c.key,
		Name:       b.name,
		RetryAfter: wait,
		Err:        fmt.Errorf("open: %s", strings.Join(open, ", ")),
	})
	b.events.flush()
	return refusal
}

// unhealthy reports whether the breaker makes those that need it refuse, and
// the recovery time left. Once that is over they may try again. It takes mu
// itself.
func (b *Breaker) unhealthy() (bool, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.state != Open:
		return false, 0
	case b.forced:
		return true, 0
	}
	left := b.recoveryLeft()
	return left > 0, left
}

func (b *Breaker) rejected(ctx context.Context, c call, refusal *Error) error {
	if b.events.sink.on() {
		e := b.event(EventBreakerRejected, c)
		e.Err = refusal
		b.events.push(ctx, e)
	}
	return refusal
}

func (b *Breaker) event(kind EventKind, c call) Event {
	return Event{Kind: kind, Key: c.key, Name: b.name, Layer: LayerBreaker, Entity: c.entity, Attrs: c.attrs}
}

// recoveryLeft is the time until an open breaker may be probed.
func (b *Breaker) recoveryLeft() time.Duration {
	return max(0, b.policy.Recovery-(b.now()-b.openedAt))
}

// now is a monotonic reading. It needs no lock.
func (b *Breaker) now() time.Duration { return time.Since(b.epoch) }

func stateOf(s circuitbreaker.State) State {
	switch s {
	case circuitbreaker.StateOpen:
		return Open
	case circuitbreaker.StateHalfOpen:
		return HalfOpen
	}
	return Closed
}
