package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// worth reports whether another attempt could end differently from the one
// that returned err. When, if it is set, decides about everything but errors
// that are final for every call: a context that is done, a part that is closed,
// arguments that are invalid. A When that panics says no, and so does an error
// that panics when it is asked.
func (p RetryPolicy) worth(ctx context.Context, err error) (again bool) {
	if ctx.Err() != nil {
		return false
	}
	defer func() {
		if recover() != nil {
			again = false
		}
	}()
	kind := KindOf(err)
	switch kind {
	case KindClosed, KindInvalid, KindNotFound:
		return false
	}
	if p.When == nil {
		return kind != KindPanic
	}
	return p.When(err)
}

// delay returns how long to wait after the nth attempt, counted from 1, failed
// with err, and false when the time that err asks for is longer than Max.
//
// The wait is "full jitter": uniform between 0 and the exponential bound. That
// spreads the retries of many clients best of the variants compared in
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
func (p RetryPolicy) delay(n int, err error) (time.Duration, bool) {
	bound := p.Max
	if shift := n - 1; shift < 62 {
		if b := p.Backoff << shift; b > 0 && b>>shift == p.Backoff && b < bound {
			bound = b
		}
	}
	d := time.Duration(rand.Int64N(int64(min(bound, Forever-1)) + 1))
	if refusal, ok := errors.AsType[*Error](err); ok && refusal != nil && refusal.RetryAfter > d {
		d = refusal.RetryAfter
	}
	return d, d <= p.Max
}

// pause waits for d. It returns false when the deadline of ctx would pass
// first, without waiting, and when ctx or closing ends the wait.
func pause(ctx context.Context, closing <-chan struct{}, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-closing:
	}
	return false
}
