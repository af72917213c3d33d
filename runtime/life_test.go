package runtime

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestLifeDrainsWithTheLastCall(t *testing.T) {
	// given calls in every stripe
	l := newLife()
	var in []*lifeStripe
	for i := range 3 * lifeStripes {
		s := l.enterBy(&l.stripes[i%lifeStripes])
		if s == nil {
			t.Fatal("a call was refused")
		}
		in = append(in, s)
	}
	if got := l.calls(); got != int64(len(in)) {
		t.Errorf("%d calls are counted, want %d", got, len(in))
	}

	// when it ends
	if l.over() || !l.end() || l.end() || !l.over() {
		t.Error("it did not end once")
	}
	if !isClosed(l.closing) {
		t.Error("nobody who waits is told")
	}

	// then nobody enters, and it has drained when the last call left
	for i := range l.stripes {
		if l.enterBy(&l.stripes[i]) != nil {
			t.Fatal("a call entered")
		}
	}
	for i, s := range in {
		if isClosed(l.drained) {
			t.Fatalf("it had drained with %d calls in flight", len(in)-i)
		}
		l.leave(s)
	}
	if !isClosed(l.drained) || l.calls() != 0 {
		t.Errorf("drained %v, with %d calls", isClosed(l.drained), l.calls())
	}
}

func TestLifeWithoutCallsDrainsAtOnce(t *testing.T) {
	l := newLife()
	l.leave(l.enter())
	l.end()
	if !isClosed(l.drained) {
		t.Error("it waits for nobody")
	}
}

func TestLifeDrainsUnderLoad(t *testing.T) {
	for range 200 {
		l := newLife()
		var inside atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for s := l.enter(); s != nil; s = l.enter() {
					inside.Add(1)
					inside.Add(-1)
					l.leave(s)
				}
			})
		}
		if !l.end() {
			t.Fatal("somebody else ended it")
		}
		<-l.drained
		if n := inside.Load(); n != 0 {
			t.Fatalf("%d calls were inside when it had drained", n)
		}
		wg.Wait()
		if n := l.calls(); n != 0 {
			t.Fatalf("%d calls are left", n)
		}
	}
}

func TestLifeSpreadsGoroutinesOverItsStripes(t *testing.T) {
	// given calls of many goroutines that are all there at once
	l := newLife()
	const goroutines = 64 * lifeStripes
	var in, out sync.WaitGroup
	leave := make(chan struct{})
	in.Add(goroutines)
	for range goroutines {
		out.Go(func() {
			s := l.enter()
			in.Done()
			<-leave
			l.leave(s)
		})
	}
	in.Wait()
	// then no stripe has most of them
	for i := range l.stripes {
		if n := l.stripes[i].calls.Load(); n > goroutines/2 {
			t.Errorf("stripe %d counts %d of %d calls", i, n, goroutines)
		}
	}
	close(leave)
	out.Wait()
}

func TestLifeIsWaitedForAsLongAsTheContext(t *testing.T) {
	l := newLife()
	in := l.enter()
	l.end()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := l.wait(ctx); err != context.DeadlineExceeded {
		t.Errorf("it returned %v", err)
	}
	l.leave(in)
	failure := errors.New("a part did not close")
	l.finish(failure)
	if err := l.wait(already(t.Context())); err != failure {
		t.Errorf("it returned %v, want %v", err, failure)
	}
}
