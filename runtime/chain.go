package runtime

import (
	"context"
	"errors"
	"runtime/debug"
	"time"
)

// plan is what a policy comes to: its parts, found. A plan never changes; an
// entry gets another one.
type plan struct {
	entry    *entry
	policy   Policy
	retry    *RetryPolicy // defaults filled in
	limiter  *Limiter
	scale    func() float64 // of the limit
	breaker  *Breaker
	judge    func(error) Outcome // of the callee's errors, for the breaker
	bulkhead *bulkhead
	pool     anyPool
	bucket   string // of the limiter, when it is not the caller's own to choose
}

// planner says which plan holds for the next attempt of a call. With an error
// it names the layer that has no part, if that is what is wrong.
type planner interface {
	current() (pl *plan, lacks string, err error)
}

func (e *entry) current() (*plan, string, error) { return e.plan.Load(), "", nil }

// planless is the planner of a call that failed before it could begin.
type planless struct{ err error }

func (p planless) current() (*plan, string, error) { return nil, "", p.err }

// chain runs calls through a plan:
//
//	timeout( retry( limiter → breaker → bulkhead → pool → call ))
//
// Invariants, for each attempt:
//   - An open breaker is seen before a token is taken.
//   - What the attempt took is given back in reverse order, exactly once, on
//     every way out: return, error, panic, runtime.Goexit.
//   - A token stays spent only when the callee was called.
//   - The breaker learns the outcome of a callee that was called, and nothing
//     of a refusal further in.
type chain[T any] struct {
	core *core
	life *life
	pool *Pool[T] // nil: calls run on next, under the plan's pool if it has one
	next T
}

// do runs one call. It allocates nothing of its own while no observer is set
// and the plan has no timeout.
func (x *chain[T]) do(ctx context.Context, from planner, c *call, bucket string, fn func(context.Context, T) error) (err error) {
	if x.core.sink.on() {
		w := watch{sink: x.core.sink, call: *c, start: time.Now()}
		defer w.stop(ctx, &err)
		w.begin(ctx)
		err = x.enter(ctx, from, c, bucket, fn)
		w.finished = true
		return err
	}
	return x.enter(ctx, from, c, bucket, fn)
}

func (x *chain[T]) enter(ctx context.Context, from planner, c *call, bucket string, fn func(context.Context, T) error) error {
	in := x.life.enter()
	if in == nil {
		return &Error{Kind: KindClosed, Key: c.key} // by no layer
	}
	defer x.life.leave(in)
	pl, layer, err := from.current()
	if err != nil {
		return x.refused(ctx, c, layer, err)
	}
	if timeout := pl.policy.Timeout; timeout > 0 && timeout != Forever {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if pl.retry == nil {
		return x.once(ctx, from, c, bucket, fn)
	}
	return x.again(ctx, from, *pl.retry, c, bucket, fn)
}

// again makes attempts until one succeeds or another would be in vain.
func (x *chain[T]) again(ctx context.Context, from planner, retry RetryPolicy, c *call, bucket string, fn func(context.Context, T) error) error {
	for n := 1; ; n++ {
		err := x.once(ctx, from, c, bucket, fn)
		if err == nil || n >= retry.Attempts || !retry.worth(ctx, err) {
			return err
		}
		d, inTime := retry.delay(n, err)
		if !inTime || !pause(ctx, x.life.closing, d) {
			if ctx.Err() == context.Canceled {
				return errors.Join(context.Canceled, err)
			}
			return err
		}
	}
}

// once makes one attempt. One that met a part which a change of the policy
// closed under it starts over with the new plan; the callee was not called.
func (x *chain[T]) once(ctx context.Context, from planner, c *call, bucket string, fn func(context.Context, T) error) error {
	for {
		pl, layer, err := from.current()
		if err != nil {
			return x.refused(ctx, c, layer, err)
		}
		if err := ctx.Err(); err != nil {
			err, _ = late(ctx, c, err)
			return x.refused(ctx, c, "", err)
		}
		layer, own, err := x.attempt(ctx, pl, c, bucket, fn)
		if own {
			return err
		}
		if KindOf(err) == KindClosed && !x.life.over() {
			now, lacks, e := from.current()
			if e == nil && !now.same(pl) {
				continue
			}
			if e != nil && (layer != LayerPool || x.pool == nil && lacks != LayerPool) {
				err, layer = e, lacks // not the call's own pool that was closed: the plan of now lacks something
			}
		}
		err, _ = late(ctx, c, err)
		return x.refused(ctx, c, layer, err)
	}
}

// same reports whether two plans run calls through the same parts.
func (pl *plan) same(other *plan) bool {
	return pl.limiter == other.limiter && pl.breaker == other.breaker && pl.bulkhead == other.bulkhead && pl.pool == other.pool
}

// attempt is the chain itself. It reports the layer that refused, and whether
// the result is the callee's own: the callee was called, and err is not the
// timeout that its result became. An error of its own may well be a refusal, by
// something further in.
func (x *chain[T]) attempt(ctx context.Context, pl *plan, c *call, bucket string, fn func(context.Context, T) error) (layer string, own bool, err error) {
	if pl.breaker != nil {
		if err := pl.breaker.ready(ctx, *c); err != nil {
			return LayerBreaker, false, err
		}
	}
	h := held[T]{chain: x, plan: pl, call: *c}
	if pl.limiter != nil {
		if pl.bucket != "" {
			bucket = pl.bucket
		}
		if h.token, err = pl.limiter.takeScaled(ctx, *c, bucket, pl.scale); err != nil {
			return LayerLimiter, false, err
		}
	}
	defer h.release(ctx, &err, &own)
	layer, err = h.run(ctx, fn)
	h.finished = true
	if err == nil && h.admitted && pl.breaker.unmoved(h.permit) {
		h.admitted = false // nearly every call ends here, and has nothing to settle
	}
	return layer, false, err
}

// held is what an attempt has taken so far.
type held[T any] struct {
	chain *chain[T]
	plan  *plan
	call  call // by value: what held points at would have to be on the heap

	token     receipt
	permit    permit
	admitted  bool // permit is to be settled
	inside    bool // the bulkhead is to be left
	lease     lease[T]
	borrowed  bool // lease is to be given back
	any       anyLease
	permitted bool // any is to be given back
	called    bool // the callee was called
	late      bool // and its result became a timeout
	finished  bool // run returned
}

// run goes on from the limiter to the callee, and reports the layer that
// refused.
func (h *held[T]) run(ctx context.Context, fn func(context.Context, T) error) (layer string, err error) {
	pl, c := h.plan, &h.call
	if pl.breaker != nil {
		if h.permit, err = pl.breaker.admit(ctx, *c); err != nil {
			return LayerBreaker, err
		}
		h.admitted = true
	}
	if pl.bulkhead != nil {
		if err := pl.bulkhead.enter(ctx, *c); err != nil {
			return LayerBulkhead, err
		}
		h.inside = true
	}
	next := h.chain.next
	switch {
	case h.chain.pool != nil:
		if h.lease, err = h.chain.pool.borrow(ctx, *c); err != nil {
			return LayerPool, err
		}
		h.borrowed = true
		next = h.lease.box.value
	case pl.pool != nil:
		if h.any, err = pl.pool.borrowAny(ctx, *c); err != nil {
			return LayerPool, err
		}
		h.permitted = true
	}
	if h.admitted {
		pl.breaker.begin(&h.permit)
	}
	h.called = true
	err, h.late = late(ctx, c, fn(ctx, next))
	return "", err
}

// release is deferred. A panic that is under way becomes *err unless it is to
// go on. Every step is deferred in turn, so that an observer that ends the
// goroutine in one does not keep the others from happening.
func (h *held[T]) release(ctx context.Context, err *error, own *bool) {
	if h.admitted {
		h.plan.breaker.end(&h.permit)
	}
	*own = h.called && !h.late
	if !h.finished && !h.chain.core.rethrow {
		if v := recover(); v != nil {
			*err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}
	if !h.called {
		defer h.refund(ctx)
	}
	if h.admitted {
		defer h.settle(ctx, *err)
	}
	if h.inside {
		defer h.plan.bulkhead.leave()
	}
	switch {
	case h.borrowed:
		h.chain.pool.giveBack(ctx, h.call, h.lease, *err, h.finished)
	case h.permitted:
		h.plan.pool.giveBackAny(ctx, h.call, h.any, *err, h.finished)
	}
}

func (h *held[T]) refund(ctx context.Context) {
	if h.plan.limiter != nil {
		h.plan.limiter.refund(ctx, h.call, h.token)
	}
}

func (h *held[T]) settle(ctx context.Context, err error) {
	o := OutcomeFailure // Goexit, of the callee or of its judge, or a panic that goes on
	defer func() { h.plan.breaker.settle(ctx, h.call, h.permit, o, err) }()
	if h.finished || err != nil {
		o = h.plan.breaker.outcome(ctx, h.permit, err, h.plan.judge)
	}
}

// late makes a context error, or the context's cause, that came back after the
// deadline a timeout, and reports whether it did. Any other result stands,
// however late.
func late(ctx context.Context, c *call, err error) (error, bool) {
	if err == nil || ctx.Err() != context.DeadlineExceeded {
		return err, false
	}
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.Cause(ctx)) {
		return err, false
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err, false
	}
	return &Error{Kind: KindTimeout, Key: c.key, Err: err}, true
}

// refused tells the observers that a layer refused, and returns why. What kept a
// layer from its work without being a refusal, such as a factory that failed, is
// none of its own.
func (x *chain[T]) refused(ctx context.Context, c *call, layer string, err error) error {
	if !x.core.sink.on() {
		return err
	}
	refusal, ok := err.(*Error)
	if !ok {
		return err
	}
	if refusal.Kind == KindTimeout {
		layer = LayerTimeout // wherever it was noticed
	}
	if layer != "" {
		x.core.sink.emit(ctx, Event{
			Kind: EventTriggered, Key: c.key, Name: refusal.Name, Layer: layer, Entity: c.entity, Err: err, Attrs: c.attrs,
		})
	}
	return err
}

// watch tells the observers that a call starts, and when it stops.
type watch struct {
	sink     *sink
	call     call
	start    time.Time
	finished bool
}

func (w *watch) begin(ctx context.Context) {
	w.sink.emit(ctx, Event{Kind: EventStart, Time: w.start, Key: w.call.key, Entity: w.call.entity, Attrs: w.call.attrs})
}

// stop is deferred, before begin: whatever an observer does, a start has its
// stop. A call that did not finish panicked, with the panic going on, or ended
// its goroutine: a failure without an error to show.
func (w *watch) stop(ctx context.Context, err *error) {
	now := time.Now()
	e := Event{
		Kind: EventStop, Time: now, Key: w.call.key, Entity: w.call.entity, Duration: now.Sub(w.start),
		Outcome: OutcomeFailure, Err: *err, Attrs: w.call.attrs,
	}
	exception := true
	if w.finished {
		e.Outcome, exception = judged(ctx, *err)
	}
	defer w.sink.emit(ctx, e)
	if exception {
		e.Kind = EventException
		w.sink.emit(ctx, e)
	}
}

// judged returns the outcome of a call, and whether it is an exception: the
// callee failed, by its own error or a panic. So has one whose error panics when
// it is asked.
func judged(ctx context.Context, err error) (o Outcome, exception bool) {
	defer func() {
		if recover() != nil {
			o, exception = OutcomeFailure, true
		}
	}()
	o = outcomeOf(ctx, err, nil)
	kind := KindOf(err)
	return o, o == OutcomeFailure && (kind == KindOperation || kind == KindPanic)
}
