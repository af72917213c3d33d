package runtime

import (
	"slices"
	"time"
)

// What the pool does of its own accord: closing idle instances that are too
// many or too old. Each is closed under a place, like everything that happens
// to an instance, so that no other is made before it is gone.

// surplus reports whether there are more instances than stay. One beyond Size
// that somebody waits for is safe all the same: while anybody waits there is no
// place to close it under, unless it is one too many even with Overflow. The
// caller holds mu.
func (p *Pool[T]) surplus() bool { return p.live > p.settings.Load().Size }

// trim closes idle instances, those longest unused first, until there is no
// surplus. It follows every release of a place, and so everything that can
// bring one about: an instance was put back, or somebody for whom one lay ready
// did not take it. Whoever keeps trim from taking a place for it comes here
// later.
func (p *Pool[T]) trim() {
	for {
		p.mu.Lock()
		if len(p.idle) == 0 || !p.surplus() || !p.upkeepPlace() {
			p.mu.Unlock()
			return
		}
		b := slices.MinFunc(p.idle, func(a, b *box[T]) int { return a.used.Compare(b.used) })
		p.unidle(b, boxGone)
		p.mu.Unlock()
		p.retire(b)
		if p.gate.release() {
			p.finish()
			return
		}
	}
}

// upkeepPlace takes a place for closing an idle instance. When all are taken
// it may exceed them, provided that each is taken by a lent instance: then
// nobody is about to take the idle one, or to make one more instead. That is
// so only after the pool shrank. The caller holds mu.
func (p *Pool[T]) upkeepPlace() bool {
	return p.gate.tryAcquire() || p.gate.tryExceed(p.live-len(p.idle))
}

// reapAgain is when the reaper comes back to an instance that it could not get,
// or did not get to because closing another takes its time.
const reapAgain = 100 * time.Millisecond

// reapBy has the reaper look at the pool at the time given, or before; the
// zero time is never. The caller holds mu.
func (p *Pool[T]) reapBy(at time.Time) {
	if at.IsZero() || p.closing.Load() || (!p.reapAt.IsZero() && !at.Before(p.reapAt)) {
		return
	}
	p.reapAt = at
	if p.reaper == nil {
		p.reaper = time.AfterFunc(time.Until(at), p.reap)
		return
	}
	p.reaper.Reset(time.Until(at))
}

// reap closes the idle instances that are too old. It runs on the timer's
// goroutine, and leaves the timer set for the next one.
func (p *Pool[T]) reap() {
	p.mu.Lock()
	p.reapAt = time.Time{}
	p.mu.Unlock()
	for {
		b := p.takeExpired(time.Now())
		if b == nil {
			return
		}
		p.retire(b)
		p.release()
	}
}

// takeExpired takes an idle instance that is too old, and a place for it.
func (p *Pool[T]) takeExpired(now time.Time) *box[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.settings.Load()
	for _, b := range p.idle {
		at := b.expires(*s)
		switch {
		case at.IsZero():
		case now.Before(at):
			p.reapBy(at)
		case p.upkeepPlace():
			p.unidle(b, boxGone)
			if len(p.idle) > 0 {
				p.reapBy(now.Add(reapAgain))
			}
			return b
		default:
			// Somebody with a place is about to take an instance, and will
			// find out himself; unless he leaves.
			p.reapBy(now.Add(reapAgain))
		}
	}
	return nil
}
