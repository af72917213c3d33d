package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	commons "github.com/jolestar/go-commons-pool/v2"
)

// Factory makes a pool's instances and looks after them. Only New is required.
// The functions are called concurrently, for different instances, and never
// under a lock. One that panics or ends its goroutine costs the pool at most
// the instance at hand, never a place.
type Factory[T any] struct {
	// New makes an instance. ctx is that of the call which needs it, and ends
	// when the pool's Wait is over: it is for making the instance and must not
	// be kept by it. An error, or a panic, is what the call then returns.
	New func(ctx context.Context) (T, error)

	// Close closes an instance. It is called once for each, before its place
	// goes to somebody else, on a goroutine of its own. Errors and panics of
	// those that Pool.Close closes are part of what Pool.Close returns; others
	// are dropped. nil: nothing is to be done.
	Close func(T) error

	// Check tells whether an instance that lay idle can be lent again. One
	// that cannot, for which Check returned an error or panicked, is closed,
	// and the next one tried. ctx is as for New. nil: they all can.
	Check func(ctx context.Context, instance T) error

	// Broken tells from the error of a call whether the instance must not be
	// lent again. A panic counts as yes. nil: errors do not break instances.
	// A call that panicked or ended its goroutine always does.
	Broken func(err error) bool
}

// box holds one instance. It is what the library pools, since it identifies
// things by their address: a box always has one, and one of its own, whatever
// T is.
type box[T any] struct {
	value T
	made  time.Time

	// Guarded by Pool.mu.
	state boxState
	slot  int       // where Pool.idle has it, when idle
	used  time.Time // when it was last given back
}

// boxState says who is responsible for a box.
type boxState int

const (
	boxOut  boxState = iota // a borrower, or the one who just made it
	boxIdle                 // nobody: who takes it out of this state has it
	boxGone                 // whoever set this, who closes the instance
)

// expires returns when the box, if it stays idle, must be closed; the zero
// time is never.
func (b *box[T]) expires(p PoolPolicy) time.Time {
	var at time.Time
	if p.Life > 0 {
		at = b.made.Add(p.Life)
	}
	if p.Idle > 0 {
		if idle := b.used.Add(p.Idle); at.IsZero() || idle.Before(at) {
			at = idle
		}
	}
	return at
}

// newLibraryPool returns a pool that never waits, never evicts, keeps what it
// is given and hands out the last returned first. All limits are ours: the
// gate in front and the policy.
func newLibraryPool[T any](p *Pool[T]) *commons.ObjectPool {
	config := commons.NewDefaultPoolConfig()
	config.LIFO = true
	config.MaxTotal = -1
	config.MaxIdle = -1
	config.BlockWhenExhausted = false
	config.TimeBetweenEvictionRuns = 0
	return commons.NewObjectPool(context.Background(), libraryFactory[T]{p}, config)
}

// making is the context of a borrow that may make a box. With any other one
// the library only finds idle boxes, and costs nothing when there is none.
type making struct{ context.Context }

var errNoneIdle = errors.New("no instance is idle")

// libraryFactory is what the library sees of a pool. Nothing in it panics, and
// nothing but New runs inside the library, at a point where that holds no
// lock; a Goexit of New skews a count that is not used, for there is no
// MaxTotal.
type libraryFactory[T any] struct{ pool *Pool[T] }

func (f libraryFactory[T]) MakeObject(ctx context.Context) (*commons.PooledObject, error) {
	ctx, ok := ctx.(making)
	if !ok {
		return nil, errNoneIdle
	}
	b, err := f.pool.makeBox(ctx)
	if err != nil {
		return nil, err
	}
	return commons.NewPooledObject(b), nil
}

func (libraryFactory[T]) DestroyObject(context.Context, *commons.PooledObject) error { return nil }

func (libraryFactory[T]) ValidateObject(context.Context, *commons.PooledObject) bool { return true }

func (libraryFactory[T]) ActivateObject(context.Context, *commons.PooledObject) error { return nil }

func (libraryFactory[T]) PassivateObject(context.Context, *commons.PooledObject) error { return nil }

// makeBox calls New. The box it returns counts as live, and is the caller's.
func (p *Pool[T]) makeBox(ctx context.Context) (*box[T], error) {
	b := &box[T]{}
	err := callFn(ctx, func(ctx context.Context) (err error) {
		b.value, err = p.factory.New(ctx)
		return err
	}, false)
	if err != nil {
		return nil, fmt.Errorf("protect: pool %s could not make an instance: %w", p.name, err)
	}
	b.made = time.Now()
	p.mu.Lock()
	p.live++
	p.mu.Unlock()
	return b, nil
}

// usable asks Check about an instance that lay idle. An error says that there
// was no time left to ask.
func (p *Pool[T]) usable(ctx context.Context, s *PoolPolicy, deadline time.Time, b *box[T]) (bool, error) {
	if p.factory.Check == nil {
		return true, nil
	}
	ctx, cancel, err := inTime(ctx, s, deadline)
	if err != nil {
		return false, err
	}
	defer cancel()
	return callFn(ctx, func(ctx context.Context) error { return p.factory.Check(ctx, b.value) }, false) == nil, nil
}

// broke asks Broken about the error of a call.
func (p *Pool[T]) broke(err error) bool {
	if err == nil || p.factory.Broken == nil {
		return false
	}
	broken := true
	_ = callFn(context.Background(), func(context.Context) error {
		broken = p.factory.Broken(err)
		return nil
	}, false)
	return broken
}

// retire takes a box that the caller marked as gone out of the library, and
// closes its instance. The caller has places to give back, so Close runs apart.
func (p *Pool[T]) retire(b *box[T]) {
	_ = p.library.InvalidateObject(context.Background(), b) // an error says that it is out already
	if p.factory.Close == nil {
		return
	}
	err := callApart(context.Background(), func(context.Context) error { return p.factory.Close(b.value) },
		fmt.Errorf("protect: pool %s: Close ended its goroutine", p.name))
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing.Load() {
		p.closeErrs = append(p.closeErrs, err)
	}
}
