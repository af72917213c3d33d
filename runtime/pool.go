package runtime

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	commons "github.com/jolestar/go-commons-pool/v2"
)

// Pool lends instances of T, one to a call at a time. [PoolPolicy] says how
// many there are, [Factory] how they come and go.
//
// Instances are made when they are needed, the one returned last is lent
// first, and who has to wait is served in order of arrival. An instance is
// closed when it is broken, too old, or beyond Size with nobody waiting. Its
// place is free once its Close has returned, so that never more than Size +
// Overflow instances exist at a time.
//
// A Pool is safe for concurrent use. Make one with [NewPool].
type Pool[T any] struct {
	name     string
	factory  Factory[T]
	settings atomic.Pointer[PoolPolicy] // defaults filled in; written under mu
	rethrow  bool                       // panics of a call go on; set before first use
	onClosed func()                     // called once, when the pool is closed and empty; set before first use
	library  *commons.ObjectPool
	events   eventQueue
	closed   chan struct{} // closed once everything is

	// gate has a place for each instance that may exist. Making, lending,
	// checking and closing an instance all happen with a place held.
	//
	// Every release is followed by a look for idle instances that are too many:
	// see trim.
	gate gate

	// mu guards what follows and the state of every box. The gate's lock and
	// the event queue's are taken inside it; no function of the user's is
	// called with it.
	mu sync.Mutex
	// idle has the boxes in state boxIdle, in no order.
	idle []*box[T]
	// live counts the boxes in state boxIdle and boxOut.
	live      int
	closing   atomic.Bool // written under mu
	closeErrs []error     // of instances closed after closing was set

	reaper *time.Timer // nil until needed
	reapAt time.Time   // when reaper fires, zero when it does not; at or before the expiry of every idle box
}

// newPool returns a pool with the settings p, which must be valid. It makes
// the instances of Prefill on the caller's goroutine, with contexts that end
// after Wait; when one cannot be made it closes the others and returns why.
func newPool[T any](s *sink, name string, p PoolPolicy, f Factory[T]) (*Pool[T], error) {
	if f.New == nil {
		return nil, invalid("factory.New", "pool %s needs a function that makes an instance", name)
	}
	pool := emptyPool(s, name, p, f)
	if err := pool.prefill(); err != nil {
		return nil, gateRefusal(KindPoolTimeout, call{}, name, err)
	}
	return pool, nil
}

// newPermits returns a pool whose instances are nothing but the permission to
// go on.
func newPermits(s *sink, name string, p PoolPolicy) *Pool[struct{}] {
	return emptyPool(s, name, p, Factory[struct{}]{
		New: func(context.Context) (struct{}, error) { return struct{}{}, nil },
	})
}

func emptyPool[T any](s *sink, name string, p PoolPolicy, f Factory[T]) *Pool[T] {
	p = p.withDefaults()
	pool := &Pool[T]{
		name:    name,
		factory: f,
		events:  eventQueue{sink: s},
		closed:  make(chan struct{}),
		gate:    gate{size: p.Size + p.Overflow},
	}
	pool.settings.Store(&p)
	pool.library = newLibraryPool(pool)
	return pool
}

// anyPool is a pool whose instances are of no concern.
type anyPool interface {
	Name() string
	Status() PoolStatus
	Close(ctx context.Context) error
	policy() PoolPolicy
	adjust(p PoolPolicy)
	trim()
	borrowAny(ctx context.Context, c call) (anyLease, error)
	giveBackAny(ctx context.Context, c call, l anyLease, err error, finished bool)
}

// Name returns the pool's name, with the prefix of its scope.
func (p *Pool[T]) Name() string { return p.name }

// Do lends fn an instance, which fn must not keep. The error of fn comes back
// as it is, a panic of it as a [*PanicError], unless the Runtime rethrows. The
// pool's own answers are:
//
//   - an [*Error] of [KindPoolTimeout] when no instance was free within Wait,
//     with context.DeadlineExceeded inside when it was ctx's deadline that
//     passed meanwhile;
//   - an [*Error] of [KindClosed] when the pool was closed before fn got one;
//   - ctx.Err() when the caller cancelled, or came with a ctx that is done;
//   - what kept Factory.New from making an instance, wrapped.
func (p *Pool[T]) Do(ctx context.Context, fn func(ctx context.Context, instance T) error) (err error) {
	if fn == nil {
		return invalid("fn", "pool %s has no function to call", p.name)
	}
	ctx = orBackground(ctx)
	l, err := p.borrow(ctx, call{})
	if err != nil {
		return err
	}
	finished := false
	defer func() { p.giveBack(ctx, call{}, l, err, finished) }()
	return callFn(ctx, func(ctx context.Context) error {
		err := fn(ctx, l.box.value)
		finished = true
		return err
	}, p.rethrow)
}

// Status returns a snapshot. An instance that is being made or closed does not
// count as live.
func (p *Pool[T]) Status() PoolStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.settings.Load()
	_, _, waiting := p.gate.counts()
	return PoolStatus{
		Name:        p.name,
		Size:        s.Size,
		MaxOverflow: s.Overflow,
		Active:      p.live - len(p.idle),
		Idle:        len(p.idle),
		Overflow:    max(0, p.live-s.Size),
		Waiting:     waiting,
	}
}

// Close closes the pool: it refuses who waits and who comes with [KindClosed],
// lets borrowers finish and closes every instance. It returns the errors of
// Factory.Close from then on, joined. When ctx ends before all is done it
// returns ctx.Err(), and the last borrower does the rest. Close may be called
// again, and concurrently: each call waits for the same end and returns the
// same errors. A call that closes the pool that it has an instance of waits for
// itself: give it a ctx that ends.
func (p *Pool[T]) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closing.Store(true)
	if p.reaper != nil {
		p.reaper.Stop()
	}
	empty := p.gate.close()
	p.mu.Unlock()

	ctx = orBackground(ctx)
	if empty {
		go p.finish() // apart, so that a slow Factory.Close does not outlast ctx
	}
	select {
	case <-p.closed:
	case <-ctx.Done():
		select {
		case <-p.closed:
		default:
			return ctx.Err()
		}
	}
	return errors.Join(p.closeErrs...)
}

// finish closes what is left once the gate is closed and empty: nobody else
// can take a box out of idle any more. Instances are closed one after another,
// but one that takes its time does not keep the others open.
func (p *Pool[T]) finish() {
	var closing sync.WaitGroup
	for {
		p.mu.Lock()
		if len(p.idle) == 0 {
			p.mu.Unlock()
			break
		}
		b := p.idle[len(p.idle)-1]
		p.unidle(b, boxGone)
		p.mu.Unlock()
		gone := make(chan struct{})
		closing.Go(func() {
			defer close(gone)
			p.retire(b)
		})
		patience := time.NewTimer(closePatience)
		select {
		case <-gone:
		case <-patience.C:
		}
		patience.Stop()
	}
	closing.Wait()
	p.library.Close(context.Background())
	if p.onClosed != nil {
		p.onClosed()
	}
	close(p.closed)
}

// closePatience is how long an instance that is being closed keeps the next one
// from it.
const closePatience = 100 * time.Millisecond

func (p *Pool[T]) policy() PoolPolicy { return *p.settings.Load() }

// resize changes the settings, which must be valid, for the next borrow. A
// smaller pool closes what lies idle beyond Size; instances that are out
// follow when they come back. Prefill has no effect any more.
func (p *Pool[T]) resize(s PoolPolicy) {
	p.adjust(s)
	p.trim()
}

// adjust is resize without the closing, which trim does: it calls nothing of
// the user's.
func (p *Pool[T]) adjust(s PoolPolicy) {
	s = s.withDefaults()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settings.Store(&s)
	p.gate.resize(s.Size + s.Overflow)
	for _, b := range p.idle {
		p.reapBy(b.expires(s))
	}
}

// prefill makes the instances that the pool starts with: all, or none.
func (p *Pool[T]) prefill() error {
	s := p.settings.Load()
	var made []*box[T]
	complete := false
	defer func() { // also when New ends the goroutine
		for _, b := range made {
			p.putBack(b, complete)
		}
	}()
	for range s.Prefill {
		b, err := p.findOrMake(context.Background(), s, time.Now().Add(s.Wait))
		if err != nil {
			return err
		}
		made = append(made, b.(*box[T]))
	}
	complete = true
	return nil
}
