package runtime

import (
	"context"
	"time"
)

// lease is an instance on loan.
type lease[T any] struct {
	box   *box[T]
	since time.Time
}

// anyLease is a lease whose instance is of no concern.
type anyLease struct {
	box   any // a *box[T]
	since time.Time
}

// borrow waits for an instance; giveBack must follow when it returned no
// error. Do says what the errors are.
func (p *Pool[T]) borrow(ctx context.Context, c call) (lease[T], error) {
	if err := ctx.Err(); err != nil {
		return lease[T]{}, err
	}
	s := p.settings.Load()
	start := time.Now()
	now := start
	if !p.gate.tryAcquire() {
		if err := p.gate.acquire(ctx, s.Wait); err != nil {
			return lease[T]{}, p.refuse(ctx, c, start, err)
		}
		now = time.Now()
	}
	l, err := p.lend(ctx, c, s, start, now)
	if err != nil {
		return lease[T]{}, p.refuse(ctx, c, start, err)
	}
	return l, nil
}

// giveBack ends a loan. err is what the call returned; finished is false for
// one that panicked or ended its goroutine.
func (p *Pool[T]) giveBack(ctx context.Context, c call, l lease[T], err error, finished bool) {
	keep := false
	defer func() { // also when Broken ends the goroutine
		if p.events.sink.on() {
			p.events.push(ctx, p.event(EventPoolCheckin, c, time.Since(l.since)))
		}
		p.putBack(l.box, keep)
		p.release()
		p.events.flush()
	}()
	keep = finished && !p.broke(err)
}

func (p *Pool[T]) borrowAny(ctx context.Context, c call) (anyLease, error) {
	l, err := p.borrow(ctx, c)
	return anyLease{l.box, l.since}, err
}

func (p *Pool[T]) giveBackAny(ctx context.Context, c call, l anyLease, err error, finished bool) {
	p.giveBack(ctx, c, lease[T]{l.box.(*box[T]), l.since}, err, finished)
}

// lend finds an instance for a borrower who has a place, and came at start. It
// releases the place unless it succeeds, also when New, Check or an observer
// ends the goroutine.
func (p *Pool[T]) lend(ctx context.Context, c call, s *PoolPolicy, start, now time.Time) (l lease[T], err error) {
	var b *box[T] // ours, unless nil
	keep := false // b is as good as before
	defer func() {
		if l.box != nil {
			return
		}
		if b != nil {
			p.putBack(b, keep)
		}
		p.release()
	}()

	deadline := start.Add(s.Wait)
	for {
		if err := p.mayLend(ctx); err != nil {
			return l, err
		}
		var fresh bool
		if b, fresh, err = p.take(ctx, s, deadline); err != nil {
			return l, err
		}
		if fresh {
			break
		}
		if at := b.expires(*s); at.IsZero() || now.Before(at) {
			usable, err := p.usable(ctx, s, deadline, b)
			if err != nil {
				keep = true
				return l, err
			}
			if usable {
				break
			}
		}
		p.putBack(b, false)
		b = nil
	}

	// From here on the instance is good, whoever gets it.
	keep = true
	if err := p.mayLend(ctx); err != nil {
		return l, err
	}
	if p.events.sink.on() {
		now = time.Now()
		p.events.push(ctx, p.event(EventPoolCheckout, c, now.Sub(start)))
		p.events.flush()
	}
	return lease[T]{b, now}, nil
}

// mayLend reports why nothing is to be lent: the caller has left, or the pool
// closes.
func (p *Pool[T]) mayLend(ctx context.Context) error {
	if p.closing.Load() {
		return errGateClosed
	}
	return ctx.Err()
}

// take returns an idle instance, or a fresh one when there is none. It is the
// caller's then.
func (p *Pool[T]) take(ctx context.Context, s *PoolPolicy, deadline time.Time) (b *box[T], fresh bool, err error) {
	for {
		found, err := p.library.BorrowObject(context.Background())
		if err == errNoneIdle {
			found, err = p.findOrMake(ctx, s, deadline)
		}
		if err != nil {
			return nil, false, err
		}
		b := found.(*box[T])
		p.mu.Lock()
		switch b.state {
		case boxOut:
			p.mu.Unlock()
			return b, true, nil
		case boxIdle:
			p.unidle(b, boxOut)
			p.mu.Unlock()
			return b, false, nil
		case boxGone: // somebody retires it, and it is no longer in the library
			p.mu.Unlock()
		}
	}
}

// findOrMake has the library call MakeObject, unless an instance has become
// idle meanwhile.
func (p *Pool[T]) findOrMake(ctx context.Context, s *PoolPolicy, deadline time.Time) (any, error) {
	ctx, cancel, err := inTime(ctx, s, deadline)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return p.library.BorrowObject(making{ctx})
}

// inTime bounds ctx by what is left of Wait.
func inTime(ctx context.Context, s *PoolPolicy, deadline time.Time) (context.Context, context.CancelFunc, error) {
	if s.Wait == Forever {
		return ctx, func() {}, nil
	}
	if !time.Now().Before(deadline) {
		return nil, nil, errGateFull
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	return ctx, cancel, nil
}

// putBack ends the caller's responsibility for a box: it is idle from here on
// if keep says that it may be lent again, and it is not too old, and otherwise
// closed before putBack returns. The caller still has its place. Whether there
// is one too many is for trim to see.
func (p *Pool[T]) putBack(b *box[T], keep bool) {
	now := time.Now()
	p.mu.Lock()
	s := p.settings.Load()
	expired := s.Life > 0 && now.Sub(b.made) >= s.Life
	keep = keep && !expired && !p.closing.Load()
	if keep {
		b.used = now
		b.state = boxIdle
		b.slot = len(p.idle)
		p.idle = append(p.idle, b)
		p.reapBy(b.expires(*s))
	} else {
		b.state = boxGone
		p.live--
	}
	p.mu.Unlock()

	if keep {
		// The error says that somebody retired it since it became idle.
		_ = p.library.ReturnObject(context.Background(), b)
		return
	}
	p.retire(b)
}

// unidle takes a box out of idle. The caller holds mu.
func (p *Pool[T]) unidle(b *box[T], state boxState) {
	last := len(p.idle) - 1
	moved := p.idle[last]
	p.idle[b.slot] = moved
	moved.slot = b.slot
	p.idle[last] = nil
	p.idle = p.idle[:last]
	b.state = state
	if state == boxGone {
		p.live--
	}
}

// release gives a place back. The last one of a closing pool finishes it.
func (p *Pool[T]) release() {
	if p.gate.release() {
		p.finish()
		return
	}
	p.trim()
}

// refuse turns what kept a borrower from an instance into what Do returns.
func (p *Pool[T]) refuse(ctx context.Context, c call, start time.Time, err error) error {
	err = gateRefusal(KindPoolTimeout, c, p.name, err)
	if refusal, ok := err.(*Error); ok && refusal.Kind == KindPoolTimeout && p.events.sink.on() {
		e := p.event(EventPoolTimeout, c, time.Since(start))
		e.Err = err
		p.events.push(ctx, e)
		p.events.flush()
	}
	return err
}

func (p *Pool[T]) event(kind EventKind, c call, d time.Duration) Event {
	return Event{Kind: kind, Key: c.key, Name: p.name, Layer: LayerPool, Entity: c.entity, Duration: d, Attrs: c.attrs}
}
