package runtime

import (
	"context"
	"sync/atomic"
	"time"
)

// bulkhead bounds how many calls run at once. It is safe for concurrent use.
type bulkhead struct {
	name string
	wait atomic.Int64 // nanoseconds
	gate gate
}

// newBulkhead returns a bulkhead with the settings p, which must be valid. It
// has no events of its own: the call that it refuses reports that.
func newBulkhead(name string, p BulkheadPolicy) *bulkhead {
	b := &bulkhead{name: name}
	b.resize(p)
	return b
}

// enter takes a place; leave must follow when it returned nil. Without a place
// in time it returns an [*Error] of KindBulkheadFull, with the context's error
// inside when that was the context's deadline. A caller that cancels, or comes
// with a context that is done, gets the context's error.
func (b *bulkhead) enter(ctx context.Context, c call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.gate.tryAcquire() {
		return nil
	}
	if err := b.gate.acquire(ctx, time.Duration(b.wait.Load())); err != nil {
		return gateRefusal(KindBulkheadFull, c, b.name, err)
	}
	if err := ctx.Err(); err != nil {
		b.leave()
		return gateRefusal(KindBulkheadFull, c, b.name, err)
	}
	return nil
}

// leave gives the place back.
func (b *bulkhead) leave() { b.gate.release() }

// resize changes the settings for the next call. A smaller Max takes effect as
// calls leave.
func (b *bulkhead) resize(p BulkheadPolicy) {
	b.wait.Store(int64(p.Wait))
	b.gate.resize(p.Max)
}

func (b *bulkhead) policy() BulkheadPolicy {
	size, _, _ := b.gate.counts()
	return BulkheadPolicy{Max: size, Wait: time.Duration(b.wait.Load())}
}

// close refuses those who wait and those to come with KindClosed. Calls that
// are in go on.
func (b *bulkhead) close() { b.gate.close() }

func (b *bulkhead) status() BulkheadStatus {
	size, active, waiting := b.gate.counts()
	return BulkheadStatus{Name: b.name, Max: size, Active: active, Waiting: waiting}
}
