package runtime

import (
	"context"
	"runtime/debug"
)

// callFn calls fn and returns a panic of it as a *PanicError. With rethrow the
// panic goes on instead. runtime.Goexit passes through: the caller's deferred
// functions see it as a call that did not finish.
func callFn(ctx context.Context, fn func(context.Context) error, rethrow bool) (err error) {
	if !rethrow {
		defer capture(&err)
	}
	return fn(ctx)
}

// callApart is callFn on a goroutine of its own, for a caller who has more to
// do whatever fn does: exited is the error of one that ends its goroutine.
func callApart(ctx context.Context, fn func(context.Context) error, exited error) error {
	err, ended := exited, make(chan struct{})
	go func() {
		defer close(ended)
		err = callFn(ctx, fn, false)
	}()
	<-ended
	return err
}

// capture is deferred: it turns a panic that is under way into *err.
func capture(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}
