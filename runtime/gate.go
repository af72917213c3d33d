package runtime

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// gate lets size callers in at once; the others wait in line. It is what a
// bulkhead is, and what stands in front of a pool.
//
// Invariants, whenever mu is free:
//
//  1. active counts the places that were taken and not yet released. It is
//     more than size only after resize lowered that, or by tryExceed.
//  2. Somebody waits only while no place is free: waiters is empty, or
//     active >= size.
//  3. Places go to the waiters in the order of their arrival. Whoever arrives
//     while somebody waits stands behind, which follows from 2.
//  4. A waiter leaves the line exactly once, under mu: granted a place, refused
//     by close, or given up. Granted wins: a caller whose context ends at the
//     moment of the hand-over has the place, and must release it.
//  5. Once closed the line is empty and active never grows. So it comes down
//     to 0 once, and one call, release or close, reports the gate empty.
type gate struct {
	mu      sync.Mutex
	size    int
	active  int
	closed  bool
	waiters list.List // of *gateWaiter, the first to be served in front
}

// gateWaiter is one caller in line.
type gateWaiter struct {
	left    chan struct{} // closed when granted or refused
	granted bool          // guarded by mu
}

// What acquire answers when there is no place.
var (
	errGateFull   = errors.New("no place is free")
	errGateClosed = errors.New("the gate is closed")
)

// tryAcquire takes a place if one is free. It does not allocate.
func (g *gate) tryAcquire() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.active >= g.size {
		return false
	}
	g.active++
	return true
}

// tryExceed takes a place beyond the size, provided that exactly active are
// taken and the gate is open.
func (g *gate) tryExceed(active int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.active != active {
		return false
	}
	g.active++
	return true
}

// acquire takes a place, waiting in line for at most wait ([Forever]: as long
// as ctx). It returns errGateFull when wait is over, at once when that is 0,
// errGateClosed, or ctx.Err(). It can return nil with a ctx that is done.
func (g *gate) acquire(ctx context.Context, wait time.Duration) error {
	g.mu.Lock()
	switch {
	case g.closed:
		g.mu.Unlock()
		return errGateClosed
	case g.active < g.size:
		g.active++
		g.mu.Unlock()
		return nil
	case wait <= 0:
		g.mu.Unlock()
		return errGateFull
	}
	w := &gateWaiter{left: make(chan struct{})}
	place := g.waiters.PushBack(w)
	g.mu.Unlock()

	var expired <-chan time.Time
	if wait != Forever {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		expired = timer.C
	}
	var reason error
	select {
	case <-w.left:
	case <-ctx.Done():
		reason = ctx.Err()
	case <-expired:
		reason = errGateFull
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case w.granted:
		return nil
	case g.closed:
		return errGateClosed
	}
	g.waiters.Remove(place)
	return reason
}

// release gives a place back, to the first in line if there is one. It reports
// whether that emptied a closed gate.
func (g *gate) release() (empty bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
	g.grant()
	return g.closed && g.active == 0
}

// resize changes the number of places. A smaller size takes effect as places
// are released.
func (g *gate) resize(size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.size = size
	g.grant()
}

// close refuses everybody in line and everybody to come. It reports whether
// the gate was open, and nobody was in.
func (g *gate) close() (empty bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	for e := g.waiters.Front(); e != nil; e = e.Next() {
		close(e.Value.(*gateWaiter).left)
	}
	g.waiters.Init()
	return g.active == 0
}

// counts returns the number of places, of those taken, and of callers in line.
func (g *gate) counts() (size, active, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.size, g.active, g.waiters.Len()
}

// grant hands free places on. The caller holds mu.
func (g *gate) grant() {
	for g.active < g.size {
		first := g.waiters.Front()
		if first == nil {
			return
		}
		w := g.waiters.Remove(first).(*gateWaiter)
		w.granted = true
		g.active++
		close(w.left)
	}
}

// gateRefusal turns what acquire answered, or a context that ended at the
// hand-over, into what the caller of a part called name gets: a refusal of
// kind when there was no place in time. The caller's own cancellation, and
// every other error, an outer one that wraps a passed deadline included, stays
// as it is.
func gateRefusal(kind Kind, c call, name string, err error) error {
	switch {
	case err == errGateClosed:
		return &Error{Kind: KindClosed, Key: c.key, Name: name}
	case err == errGateFull:
		return &Error{Kind: kind, Key: c.key, Name: name}
	case err == context.DeadlineExceeded:
		return &Error{Kind: kind, Key: c.key, Name: name, Err: err}
	}
	return err
}
