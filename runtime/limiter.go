package runtime

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-limiter"
)

// Limiter allows so many calls in each window of time, for each entity. It is
// safe for concurrent use. Runtime.NewLimiter makes one.
//
// Windows are fixed, and those of an entity are counted from its first call.
// Around the boundary of two windows up to twice the limit can pass within the
// time of one; within a window it is never more than the limit.
//
// The default store keeps its buckets in memory, about 150 bytes and its name
// for each entity. Beyond a thousand of them it forgets, within two windows,
// those that no longer call. It keeps two million at most: when more than a
// million entities come within one window, those whose windows began longest
// ago start afresh.
type Limiter struct {
	name    string
	policy  LimitPolicy
	sink    *sink
	life    *life // counts the calls of Take and Do; the chain counts its own
	rethrow bool  // panics of Do's function pass on

	store ExactStore
	fast  *memoryStore // store, when that is the one in memory and nobody observes
	local *memoryStore // counts while store fails, nil unless the policy says so

	closed  atomic.Bool
	closing sync.Mutex
	done    chan struct{} // ends every wait when it is closed
	waits   sync.Once     // closes done
}

// Name returns the limiter's name, with the prefix of its scope.
func (l *Limiter) Name() string { return l.name }

// Take takes a token for the entity, and waits for one as long as the policy's
// Wait allows. It does not begin a wait that would be in vain.
//
// Without a token it returns an [*Error] of [KindRateLimited], whose RetryAfter
// is the time to the next token; under a limit scaled to 0, where none will
// come, it is the time to the end of the window. A denied call takes nothing
// and does not extend the denial.
//
// When the limiter's store fails, the policy's OnError decides;
// [KindLimiterFailed] is what Deny returns. A context that is done makes Take
// return the context's error. Once the limiter's Runtime closes, or the limiter
// gave way to a change of the policy that it belongs to, it is [KindClosed].
func (l *Limiter) Take(ctx context.Context, entity string) error {
	in := l.life.enter()
	if in == nil {
		return l.errClosed(call{entity: entity})
	}
	defer l.life.leave(in)
	return l.takeByHand(orBackground(ctx), entity)
}

func (l *Limiter) takeByHand(ctx context.Context, entity string) error {
	_, err := l.take(ctx, call{entity: entity}, bucketOf("", entity))
	return err
}

// Do takes a token for the entity as Take does, and calls fn if it has one. It
// returns fn's error as it is, and a panic of fn as a [*PanicError]. The token
// is spent, whatever fn returns.
func (l *Limiter) Do(ctx context.Context, entity string, fn func(context.Context) error) error {
	if fn == nil {
		return invalid("fn", "limiter %s: Do needs a function", l.name)
	}
	in := l.life.enter()
	if in == nil {
		return l.errClosed(call{entity: entity})
	}
	defer l.life.leave(in)
	ctx = orBackground(ctx)
	if err := l.takeByHand(ctx, entity); err != nil {
		return err
	}
	return callFn(ctx, fn, l.rethrow)
}

// Status returns what the entity's bucket holds at this moment. It takes
// nothing. See [ExactStore] for how exact that is with a store of one's own.
func (l *Limiter) Status(ctx context.Context, entity string) (LimiterStatus, error) {
	return l.status(orBackground(ctx), bucketOf("", entity), entity, l.policy.Scale)
}

// Reset forgets what the entity used: its next call starts a new window. No
// other bucket changes.
func (l *Limiter) Reset(ctx context.Context, entity string) error {
	if l.closed.Load() {
		return l.errClosed(call{entity: entity})
	}
	ctx = orBackground(ctx)
	if err := l.set(ctx, bucketOf("", entity)); err != nil {
		return l.failed(ctx, call{entity: entity}, err)
	}
	return nil
}

// storeOpener opens the store of one limiter: tokens in each window for any
// number of keys.
type storeOpener func(name string, tokens uint64, window time.Duration) (limiter.Store, error)

// newLimiter makes a limiter for a policy that is valid. A nil open means the
// store in memory. It returns an error of KindLimiterFailed, and leaves
// nothing open, when open fails or panics.
func newLimiter(s *sink, in *life, name string, p LimitPolicy, open storeOpener) (*Limiter, error) {
	l := &Limiter{name: name, policy: p, sink: s, life: in, done: make(chan struct{})}
	if open == nil {
		store := newMemoryStore(p.Tokens, p.Window)
		l.store = store
		if !s.on() {
			l.fast = store
		}
		return l, nil
	}
	store, err := openStore(open, name, p)
	if err != nil {
		return nil, &Error{Kind: KindLimiterFailed, Name: name, Err: err}
	}
	l.store = exactly(store, p.Window)
	if p.OnError == Local {
		l.local = newMemoryStore(p.Tokens, p.Window)
	}
	return l, nil
}

func openStore(open storeOpener, name string, p LimitPolicy) (store limiter.Store, err error) {
	defer recoverStore(&err)
	store, err = open(name, p.Tokens, p.Window)
	switch {
	case err != nil && store != nil:
		// It may be a nil pointer of some type, which panics: err is what counts.
		_ = shut(context.Background(), store)
		return nil, err
	case err == nil && store == nil:
		return nil, errors.New("no store was opened")
	}
	return store, err
}

// receipt says where a token came from, so that it can be given back. The zero
// receipt is for none.
type receipt struct {
	store  ExactStore
	bucket string
	reset  uint64
}

// take takes a token from a bucket for a call.
func (l *Limiter) take(ctx context.Context, c call, bucket string) (receipt, error) {
	return l.takeScaled(ctx, c, bucket, l.policy.Scale)
}

// takeScaled is take under a scale of the caller's own: policies that share a
// limiter, or keep it while they change, each bring theirs.
func (l *Limiter) takeScaled(ctx context.Context, c call, bucket string, scale func() float64) (receipt, error) {
	if l.fast != nil && scale == nil && ctx.Err() == nil {
		// Nearly every call ends here. Refusals, waits and whatever is wrong
		// take the long way, from the beginning: a refusal has taken nothing.
		if _, reset, ok := l.fast.takeQuickly(ctx, bucket); ok {
			return receipt{l.store, bucket, reset}, nil
		}
	}
	v, err := l.try(ctx, c, bucket, scale)
	var waited time.Duration
	if err == nil && !v.pass && l.policy.Wait > 0 {
		v, waited, err = l.wait(ctx, c, bucket, scale, v)
	}
	switch {
	case err != nil:
		return receipt{}, err
	case !v.pass:
		refusal := &Error{Kind: KindRateLimited, Key: c.key, Name: l.name, Entity: c.entity, RetryAfter: v.retryAfter}
		l.emit(ctx, EventLimiterDenied, c, waited, refusal)
		return receipt{}, refusal
	case v.receipt.store != nil:
		l.allowed(ctx, c, waited, v.receipt)
	}
	return v.receipt, nil
}

// allowed tells the observers of a token that was taken. When one of them ends
// the goroutine nobody has the receipt, and the token goes back.
func (l *Limiter) allowed(ctx context.Context, c call, waited time.Duration, r receipt) {
	told := false
	defer func() {
		if !told {
			l.refund(ctx, c, r)
		}
	}()
	l.emit(ctx, EventLimiterAllowed, c, waited, nil)
	told = true
}

// maxPause bounds how fast waiters ask again when the store's times are of no
// use, as with a store whose clock is behind.
const maxPause = 64 * time.Millisecond

// wait tries again each time that a token is due, as long as one can come
// within the policy's Wait and before the deadline of ctx. It returns the last
// verdict and how long it waited.
func (l *Limiter) wait(ctx context.Context, c call, bucket string, scale func() float64, v verdict) (verdict, time.Duration, error) {
	start := time.Now()
	deadline, bounded := ctx.Deadline()
	var least time.Duration
	for {
		left := l.policy.Wait - time.Since(start)
		if bounded {
			left = min(left, time.Until(deadline))
		}
		if v.never || v.retryAfter > left {
			return v, time.Since(start), nil
		}
		timer := time.NewTimer(min(max(v.retryAfter, least), left))
		var err error
		select {
		case <-timer.C:
			v, err = l.try(ctx, c, bucket, scale)
		case <-ctx.Done():
			err = ctx.Err()
		case <-l.done:
			err = l.errClosed(c)
		}
		timer.Stop()
		if err != nil || v.pass {
			return v, time.Since(start), err
		}
		least = min(max(2*least, time.Millisecond), maxPause)
	}
}

// verdict is what one attempt to take a token came to.
type verdict struct {
	pass       bool
	receipt    receipt       // of the token, zero when none was taken
	retryAfter time.Duration // to the next token, above 0 for a refusal
	never      bool          // no token will come: the limit is scaled to 0
}

// try takes a token if there is one, without waiting.
func (l *Limiter) try(ctx context.Context, c call, bucket string, scale func() float64) (verdict, error) {
	if err := ctx.Err(); err != nil {
		return verdict{}, err
	}
	if l.closed.Load() {
		return verdict{}, l.errClosed(c)
	}
	limit := l.limit(scale)
	store := l.store
	reset, ok, err := l.takeUpTo(ctx, store, bucket, limit)
	if err != nil {
		if err = l.failed(ctx, c, err); !errors.Is(err, ErrLimiterFailed) {
			return verdict{}, err
		}
		switch {
		case l.policy.OnError == Allow:
			return verdict{pass: true}, nil
		case l.local == nil:
			return verdict{}, err
		}
		store = l.local
		if reset, ok, err = l.takeUpTo(ctx, store, bucket, limit); err != nil {
			return verdict{}, l.failed(ctx, c, err)
		}
	}
	if ok {
		return verdict{pass: true, receipt: receipt{store, bucket, reset}}, nil
	}
	return verdict{retryAfter: l.retryAfter(store, reset), never: limit == 0}, nil
}

// limit returns the tokens of a window, scaled for this call.
func (l *Limiter) limit(scale func() float64) (tokens uint64) {
	tokens = l.policy.Tokens
	if scale == nil {
		return tokens
	}
	defer func() { _ = recover() }() // a factor that cannot be had is 1
	factor := scale()
	if math.IsNaN(factor) {
		return tokens
	}
	return uint64(math.Round(float64(tokens) * min(max(factor, 0), 1)))
}

// errNoAnswer is the failure of a store that returns nothing but zeros, as one
// does that was stopped.
var errNoAnswer = errors.New("the store refused without naming a limit or a time")

// takeUpTo asks a store, of which nothing is taken for granted.
func (l *Limiter) takeUpTo(ctx context.Context, store ExactStore, bucket string, limit uint64) (reset uint64, ok bool, err error) {
	defer recoverStore(&err)
	var tokens uint64
	if limit == l.policy.Tokens {
		tokens, _, reset, ok, err = store.Take(ctx, bucket)
	} else {
		tokens, _, reset, ok, err = store.TakeUpTo(ctx, bucket, limit)
	}
	if err == nil && !ok && limit > 0 && tokens == 0 && reset == 0 {
		err = errNoAnswer
	}
	return reset, ok, err
}

// retryAfter returns the time from now until the window ends that the store
// says is full. Without a word on that, or at odds with the store's clock, it
// stays within a window.
func (l *Limiter) retryAfter(store ExactStore, reset uint64) time.Duration {
	var now uint64
	if m, ok := store.(*memoryStore); ok {
		now = m.clock.wall()
	} else {
		now = uint64(time.Now().UnixNano())
	}
	switch {
	case reset == 0:
		return l.policy.Window
	case reset <= now:
		return 1
	}
	return time.Duration(min(reset-now, uint64(l.policy.Window)))
}

// refundTimeout bounds a refund, which must go on after its call was cancelled.
const refundTimeout = time.Second

// refund gives a token back if its window still runs. It does nothing for a
// zero receipt.
func (l *Limiter) refund(ctx context.Context, c call, r receipt) {
	if r.store == nil || r.reset == 0 || l.closed.Load() {
		return
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), refundTimeout)
	defer cancel()
	if err := refundTo(bounded, r); err != nil {
		_ = l.failed(context.WithoutCancel(ctx), c, err) // whoever's call it was, the store failed
	}
}

func refundTo(ctx context.Context, r receipt) (err error) {
	defer recoverStore(&err)
	return r.store.Refund(ctx, r.bucket, r.reset)
}

// status returns what a bucket holds. While the store fails and the policy
// counts in memory, that is what was counted there.
func (l *Limiter) status(ctx context.Context, bucket, entity string, scale func() float64) (LimiterStatus, error) {
	if l.closed.Load() {
		return LimiterStatus{}, l.errClosed(call{entity: entity})
	}
	used, reset, err := peek(ctx, l.store, bucket)
	if err != nil {
		err = l.failed(ctx, call{entity: entity}, err)
		if l.local == nil || !errors.Is(err, ErrLimiterFailed) {
			return LimiterStatus{}, err
		}
		if used, reset, err = peek(ctx, l.local, bucket); err != nil {
			return LimiterStatus{}, l.failed(ctx, call{entity: entity}, err)
		}
	}
	s := LimiterStatus{Name: l.name, Entity: entity, Limit: l.limit(scale), Used: used, Window: l.policy.Window}
	s.Remaining = s.Limit - min(used, s.Limit)
	s.Limited = s.Remaining == 0
	if reset > 0 {
		s.ResetAt = time.Unix(int64(reset/1e9), int64(reset%1e9)) // nanoseconds alone would overflow in 2262
	}
	return s, nil
}

func peek(ctx context.Context, store ExactStore, bucket string) (used, reset uint64, err error) {
	defer recoverStore(&err)
	tokens, remaining, reset, err := store.Peek(ctx, bucket)
	return tokens - min(remaining, tokens), reset, err
}

func (l *Limiter) set(ctx context.Context, bucket string) (err error) {
	defer recoverStore(&err)
	if l.local != nil {
		if err := l.local.Set(ctx, bucket, l.policy.Tokens, l.policy.Window); err != nil {
			return err
		}
	}
	return l.store.Set(ctx, bucket, l.policy.Tokens, l.policy.Window)
}

// endWaits refuses with KindClosed who waits for a token, and who would have to.
// Tokens that are there can be taken still.
func (l *Limiter) endWaits() {
	l.waits.Do(func() { close(l.done) })
}

// close closes the store and ends every wait. Calls made later, and those that
// wait, are refused with KindClosed. Closing again does nothing.
func (l *Limiter) close(ctx context.Context) (err error) {
	l.closing.Lock()
	defer l.closing.Unlock()
	if l.closed.Swap(true) {
		return nil
	}
	l.endWaits()
	if l.local != nil {
		err = l.local.Close(ctx)
	}
	if failure := shut(ctx, l.store); failure != nil {
		err = errors.Join(err, &Error{Kind: KindLimiterFailed, Name: l.name, Err: failure})
	}
	return err
}

// shut closes a store, apart: who does that has more to close.
func shut(ctx context.Context, store limiter.Store) error {
	return callApart(ctx, func(ctx context.Context) (err error) {
		defer recoverStore(&err)
		return store.Close(ctx)
	}, errors.New("the store's Close ended its goroutine"))
}

// failed returns what an error of the store means to the caller. Unless the
// limiter was closed or the caller's own context is done, the store has failed,
// and the observers are told.
func (l *Limiter) failed(ctx context.Context, c call, err error) error {
	if l.closed.Load() {
		return l.errClosed(c)
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded // the store was quicker to notice than ctx
	}
	failure := &Error{Kind: KindLimiterFailed, Key: c.key, Name: l.name, Entity: c.entity, Err: err}
	l.emit(ctx, EventLimiterError, c, 0, failure)
	return failure
}

func (l *Limiter) errClosed(c call) error {
	return &Error{Kind: KindClosed, Key: c.key, Name: l.name, Entity: c.entity}
}

// emit must be called without a lock.
func (l *Limiter) emit(ctx context.Context, kind EventKind, c call, waited time.Duration, err error) {
	if !l.sink.on() {
		return
	}
	l.sink.emit(ctx, Event{Kind: kind, Key: c.key, Name: l.name, Layer: LayerLimiter, Entity: c.entity, Duration: waited, Err: err, Attrs: c.attrs})
}

// recoverStore turns a panic of a store into an error. Defer it directly.
func recoverStore(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("the store panicked: %w", &PanicError{Value: v, Stack: debug.Stack()})
	}
}

// bucketOf returns the store's key for an entity, or for an operation and an
// entity. No two different pairs have the same one:
//
//   - An entity alone is its own key, unless it begins with a NUL byte; then
//     two NUL bytes come before it.
//   - An operation comes after a NUL byte, its length in decimal and a colon;
//     the entity follows at once.
func bucketOf(op, entity string) string {
	switch {
	case op != "":
		return "\x00" + strconv.Itoa(len(op)) + ":" + op + entity
	case entity != "" && entity[0] == 0:
		return "\x00\x00" + entity
	}
	return entity
}
