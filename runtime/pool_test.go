package runtime

import (
	"context"
	"errors"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// item is an instance that knows what happened to it.
type item struct {
	id     int
	closed atomic.Int32
}

// fleet is a factory that remembers what it made. A test replaces the
// functions it wants to fail.
type fleet struct {
	mu    sync.Mutex
	items []*item

	Factory[*item]
}

func newFleet() *fleet {
	f := &fleet{}
	f.New = func(context.Context) (*item, error) { return f.make(), nil }
	f.Close = func(i *item) error { i.closed.Add(1); return nil }
	return f
}

func (f *fleet) make() *item {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := &item{id: len(f.items)}
	f.items = append(f.items, i)
	return i
}

// open returns the ids of those not closed, and complains about any that was
// closed twice.
func (f *fleet) open(t rapid.TB) []int {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := []int{}
	for _, i := range f.items {
		switch n := i.closed.Load(); {
		case n == 0:
			ids = append(ids, i.id)
		case n > 1:
			t.Errorf("instance %d was closed %d times", i.id, n)
		}
	}
	return ids
}

func (f *fleet) wantOpen(t testing.TB, want ...int) {
	t.Helper()
	if got := f.open(t); !slices.Equal(got, want) {
		t.Errorf("open instances %v, want %v", got, want)
	}
}

func startPool(t testing.TB, f *fleet, p PoolPolicy, observers ...Observer) *Pool[*item] {
	t.Helper()
	pool, err := newPool(newSink(observers), "db", p, f.Factory)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// closePool closes the pool and wants everything to be gone.
func closePool(t testing.TB, p *Pool[*item], f *fleet) {
	t.Helper()
	if err := p.Close(context.Background()); err != nil {
		t.Errorf("Close = %v", err)
	}
	f.wantOpen(t)
}

func wantStatus(t testing.TB, p anyPool, active, idle, overflow, waiting int) {
	t.Helper()
	s := p.Status()
	if s.Active != active || s.Idle != idle || s.Overflow != overflow || s.Waiting != waiting {
		t.Errorf("active %d, idle %d, overflow %d, waiting %d; want %d, %d, %d, %d",
			s.Active, s.Idle, s.Overflow, s.Waiting, active, idle, overflow, waiting)
	}
}

func mustBorrow(t testing.TB, p *Pool[*item]) lease[*item] {
	t.Helper()
	l, err := p.borrow(context.Background(), call{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func giveBack(p *Pool[*item], l lease[*item]) {
	p.giveBack(context.Background(), call{}, l, nil, true)
}

// fill makes n instances idle; the pool lends the last one first.
func fill(t testing.TB, p *Pool[*item], n int) {
	t.Helper()
	leases := make([]lease[*item], n)
	for i := range leases {
		leases[i] = mustBorrow(t, p)
	}
	for _, l := range leases {
		giveBack(p, l)
	}
}

// onGoroutine runs fn, which may end its goroutine.
func onGoroutine(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

func TestPoolLendsTheLastReturnedFirst(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 3})
	defer closePool(t, p, f)
	a, b, c := mustBorrow(t, p), mustBorrow(t, p), mustBorrow(t, p)
	giveBack(p, a)
	giveBack(p, c)
	giveBack(p, b)

	var got []int
	for range 3 {
		got = append(got, mustBorrow(t, p).box.value.id)
	}

	if want := []int{b.box.value.id, c.box.value.id, a.box.value.id}; !slices.Equal(got, want) {
		t.Errorf("lent %v, want %v", got, want)
	}
	for _, l := range []lease[*item]{a, b, c} {
		giveBack(p, l)
	}
}

func TestPoolMakesInstancesOnlyWhenNeeded(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 3})
	defer closePool(t, p, f)
	f.wantOpen(t)
	for range 5 {
		if err := p.Do(t.Context(), func(context.Context, *item) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	f.wantOpen(t, 0)
	wantStatus(t, p, 0, 1, 0, 0)
}

func TestPoolDefaultsAreTenInstancesAndFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{})
		var leases []lease[*item]
		for range 10 {
			leases = append(leases, mustBorrow(t, p))
		}
		start := time.Now()
		_, err := p.borrow(t.Context(), call{})
		if !errors.Is(err, ErrPoolTimeout) || time.Since(start) != 5*time.Second {
			t.Errorf("borrow = %v after %v, want a pool timeout after 5s", err, time.Since(start))
		}
		for _, l := range leases {
			giveBack(p, l)
		}
		wantStatus(t, p, 0, 10, 0, 0)
		fill(t, p, 10)
		f.wantOpen(t, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		closePool(t, p, f)
	})
}

func TestPoolTimesOutOneWaiterAndServesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Wait: 100 * time.Millisecond})
		a := mustBorrow(t, p)
		start := time.Now()

		_, err := p.borrow(t.Context(), call{key: "a.B.C"})

		e, ok := errors.AsType[*Error](err)
		if !ok || e.Kind != KindPoolTimeout || e.Key != "a.B.C" || e.Name != "db" || e.Err != nil {
			t.Errorf("borrow = %#v, want a pool timeout of db for a.B.C", err)
		}
		if time.Since(start) != 100*time.Millisecond {
			t.Errorf("it took %v, want 100ms", time.Since(start))
		}
		got := make(chan lease[*item])
		go func() { got <- mustBorrow(t, p) }()
		synctest.Wait()
		wantStatus(t, p, 1, 0, 0, 1)
		giveBack(p, a)
		c := <-got
		wantStatus(t, p, 1, 0, 0, 0)
		if c.box != a.box {
			t.Error("the waiter did not get the instance that was returned")
		}
		giveBack(p, c)
		closePool(t, p, f)
	})
}

func TestPoolServesWaitersInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Wait: Forever})
		l := mustBorrow(t, p)
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				l := mustBorrow(t, p)
				order = append(order, i)
				giveBack(p, l)
			})
			synctest.Wait()
		}

		giveBack(p, l)
		wg.Wait()

		if !slices.IsSorted(order) || len(order) != 5 {
			t.Errorf("served %v, want the order of arrival", order)
		}
		f.wantOpen(t, 0)
		closePool(t, p, f)
	})
}

func TestPoolClosesOverflowOnReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 2, Overflow: 2})
		var leases []lease[*item]
		for range 4 {
			leases = append(leases, mustBorrow(t, p))
		}
		wantStatus(t, p, 4, 0, 2, 0)
		if _, err := p.borrow(t.Context(), call{}); !errors.Is(err, ErrPoolTimeout) {
			t.Errorf("the fifth got %v, want a pool timeout", err)
		}

		giveBack(p, leases[0])
		wantStatus(t, p, 3, 0, 1, 0)
		f.wantOpen(t, 1, 2, 3)
		giveBack(p, leases[1])
		wantStatus(t, p, 2, 0, 0, 0)
		giveBack(p, leases[2])
		giveBack(p, leases[3])

		wantStatus(t, p, 0, 2, 0, 0)
		f.wantOpen(t, 2, 3)
		if s := p.Status(); s.Name != "db" || s.Size != 2 || s.MaxOverflow != 2 {
			t.Errorf("status %+v, want db, 2 and 2", s)
		}
		closePool(t, p, f)
	})
}

func TestPoolHandsOverflowOnWhileSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Overflow: 1})
		a, b := mustBorrow(t, p), mustBorrow(t, p)
		got := make(chan lease[*item])
		go func() { got <- mustBorrow(t, p) }()
		synctest.Wait()

		giveBack(p, a)

		c := <-got
		if c.box != a.box {
			t.Error("the instance was closed and another made for the waiter")
		}
		giveBack(p, b)
		giveBack(p, c)
		wantStatus(t, p, 0, 1, 0, 0)
		closePool(t, p, f)
	})
}

func TestPoolTellsADeadlineFromACancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Wait: Forever})
		l := mustBorrow(t, p)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.borrow(ctx, call{})
		if !errors.Is(err, ErrPoolTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the deadline: %v, want pool timeout and deadline exceeded", err)
		}
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if _, err := p.borrow(ctx, call{}); err != context.Canceled {
			t.Errorf("after the cancellation: %v, want context.Canceled", err)
		}

		giveBack(p, l)
		if _, err := p.borrow(ctx, call{}); err != context.Canceled {
			t.Errorf("with a context that is done: %v, want context.Canceled", err)
		}
		past, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		if _, err := p.borrow(past, call{}); err != context.DeadlineExceeded {
			t.Errorf("with a deadline that is past: %v, want context.DeadlineExceeded", err)
		}
		wantStatus(t, p, 0, 1, 0, 0)
		closePool(t, p, f)
	})
}

func TestPoolCancelAtTheHandOverLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Wait: Forever})
		l := mustBorrow(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { _, err := p.borrow(ctx, call{}); result <- err }()
		synctest.Wait()

		p.putBack(l.box, true)
		cancelAtHandOver(&p.gate, 1, cancel)

		if err := <-result; err != context.Canceled {
			t.Errorf("the waiter got %v, want context.Canceled", err)
		}
		wantStatus(t, p, 0, 1, 0, 0)
		giveBack(p, mustBorrow(t, p))
		f.wantOpen(t, 0)
		closePool(t, p, f)
	})
}

// Three instances are kept for three who wait, and leave at the moment of the
// hand-over. Nobody returns anything after that.
func TestPoolTrimsWhatWasKeptForWaitersWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Overflow: 2, Wait: Forever})
		leases := []lease[*item]{mustBorrow(t, p), mustBorrow(t, p), mustBorrow(t, p)}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _, _ = p.borrow(ctx, call{}) })
		}
		synctest.Wait()

		for _, l := range leases {
			p.putBack(l.box, true)
		}
		wantStatus(t, p, 0, 3, 2, 3)
		cancelAtHandOver(&p.gate, 3, cancel)
		wg.Wait()

		wantStatus(t, p, 0, 1, 0, 0)
		closePool(t, p, f)
	})
}

func TestPoolNestedBorrowOfTheOnlyInstanceTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1})
		err := p.Do(t.Context(), func(ctx context.Context, _ *item) error {
			return p.Do(ctx, func(context.Context, *item) error { return nil })
		})
		if !errors.Is(err, ErrPoolTimeout) {
			t.Errorf("Do = %v, want a pool timeout", err)
		}
		closePool(t, p, f)
	})
}

func TestPoolDoReturnsTheErrorAsItIs(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{})
	defer closePool(t, p, f)
	mine := errors.New("mine")
	if err := p.Do(t.Context(), func(context.Context, *item) error { return mine }); err != mine {
		t.Errorf("Do = %v, want mine", err)
	}
	wantStatus(t, p, 0, 1, 0, 0)
}

func TestPoolDoRefusesANilFunction(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{})
	defer closePool(t, p, f)
	if err := p.Do(t.Context(), nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("Do = %v, want invalid", err)
	}
	wantStatus(t, p, 0, 0, 0, 0)
}

func TestPoolNeedsNew(t *testing.T) {
	_, err := newPool(nil, "db", PoolPolicy{}, Factory[int]{})
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != KindInvalid || e.Name != "factory.New" {
		t.Errorf("newPool = %v, want invalid: factory.New", err)
	}
}

func TestPoolDestroysTheInstanceOfACallThatDidNotReturn(t *testing.T) {
	fails := map[string]func(){
		"panic":  func() { panic("boom") },
		"goexit": goruntime.Goexit,
	}
	for name, fail := range fails {
		for _, rethrow := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				f := newFleet()
				p := startPool(t, f, PoolPolicy{Size: 1})
				p.rethrow = rethrow
				defer closePool(t, p, f)
				var err error
				var thrown any
				onGoroutine(func() {
					defer func() { thrown = recover() }()
					err = p.Do(t.Context(), func(context.Context, *item) error { fail(); return nil })
				})
				caught, _ := errors.AsType[*PanicError](err)
				if want := name == "panic" && !rethrow; (caught != nil) != want {
					t.Errorf("Do = %v, want a PanicError: %v", err, want)
				}
				if want := name == "panic" && rethrow; (thrown != nil) != want {
					t.Errorf("panicked with %v, want a panic: %v", thrown, want)
				}
				wantStatus(t, p, 0, 0, 0, 0)
				f.wantOpen(t)
				giveBack(p, mustBorrow(t, p))
			})
		}
	}
}

// A fault is a way in which a function of the user's does not do its job.
var faults = map[string]func() error{
	"error":  func() error { return errFault },
	"panic":  func() error { panic(errFault) },
	"goexit": func() error { goruntime.Goexit(); return nil },
}

var errFault = errors.New("fault")

func TestPoolNewThatFailsLosesNoPlace(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			f := newFleet()
			good := f.New
			f.New = func(context.Context) (*item, error) { return nil, fault() }
			p := startPool(t, f, PoolPolicy{Size: 1})
			defer closePool(t, p, f)

			var err error
			onGoroutine(func() { _, err = p.borrow(t.Context(), call{}) })

			if name != "goexit" {
				if !errors.Is(err, errFault) {
					t.Errorf("borrow = %v, want the fault inside", err)
				}
				if outcomeOf(t.Context(), err, nil) != OutcomeFailure {
					t.Errorf("%v does not count as a failure", err)
				}
			}
			if kind := KindOf(err); name == "error" && kind != KindOperation || name == "panic" && kind != KindPanic {
				t.Errorf("KindOf(%v) = %v", err, kind)
			}
			wantStatus(t, p, 0, 0, 0, 0)
			p.factory.New = good
			giveBack(p, mustBorrow(t, p))
		})
	}
}

func TestPoolNewHasWhatIsLeftOfWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Wait: 3 * time.Second})
		l := mustBorrow(t, p)
		start := time.Now()
		time.AfterFunc(time.Second, func() { p.giveBack(context.Background(), call{}, l, nil, false) })
		p.factory.New = func(ctx context.Context) (*item, error) { <-ctx.Done(); return nil, ctx.Err() }

		_, err := p.borrow(t.Context(), call{})

		if KindOf(err) != KindOperation || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("borrow = %v after %v, want New's deadline after 3s", err, time.Since(start))
		}
		closePool(t, p, f)
	})
}

func TestPoolForeverLeavesTheContextAlone(t *testing.T) {
	f := newFleet()
	good := f.New
	f.New = func(ctx context.Context) (*item, error) {
		if deadline, ok := ctx.Deadline(); ok {
			t.Errorf("New has a deadline: %v", deadline)
		}
		return good(ctx)
	}
	p := startPool(t, f, PoolPolicy{Size: 1, Wait: Forever})
	giveBack(p, mustBorrow(t, p))
	closePool(t, p, f)
}

func TestPoolKeepsAnInstanceWhoseCallerLeftWhileItWasMade(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 1})
	defer closePool(t, p, f)
	ctx, cancel := context.WithCancel(t.Context())
	p.factory.New = func(context.Context) (*item, error) { cancel(); return f.make(), nil }

	if _, err := p.borrow(ctx, call{}); err != context.Canceled {
		t.Errorf("borrow = %v, want context.Canceled", err)
	}
	wantStatus(t, p, 0, 1, 0, 0)
	f.wantOpen(t, 0)
}

func TestPoolCheckFailureMovesOnToTheNextInstance(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			f := newFleet()
			f.Check = func(_ context.Context, i *item) error {
				if i.id == 2 {
					return fault()
				}
				return nil
			}
			p := startPool(t, f, PoolPolicy{Size: 3})
			defer closePool(t, p, f)
			fill(t, p, 3)

			onGoroutine(func() { giveBack(p, mustBorrow(t, p)) })

			f.wantOpen(t, 0, 1)
			wantStatus(t, p, 0, 2, 0, 0)
			fill(t, p, 3)
		})
	}
}

func TestPoolMakesAnInstanceWhenNoneIsUsable(t *testing.T) {
	f := newFleet()
	f.Check = func(context.Context, *item) error { return errFault }
	p := startPool(t, f, PoolPolicy{Size: 3})
	defer closePool(t, p, f)
	fill(t, p, 3)

	l := mustBorrow(t, p)

	f.wantOpen(t, 3)
	giveBack(p, l)
}

func TestPoolCallerWhoLeavesDuringCheckCostsOneInstance(t *testing.T) {
	f := newFleet()
	ctx, cancel := context.WithCancel(t.Context())
	f.Check = func(ctx context.Context, _ *item) error { cancel(); return ctx.Err() }
	p := startPool(t, f, PoolPolicy{Size: 3})
	defer closePool(t, p, f)
	fill(t, p, 3)

	if _, err := p.borrow(ctx, call{}); err != context.Canceled {
		t.Errorf("borrow = %v, want context.Canceled", err)
	}
	f.wantOpen(t, 0, 1)
}

func TestPoolCheckThatHangsEndsWithWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.Check = func(ctx context.Context, _ *item) error { <-ctx.Done(); return ctx.Err() }
		p := startPool(t, f, PoolPolicy{Size: 3, Wait: time.Second})
		fill(t, p, 3)
		start := time.Now()

		_, err := p.borrow(t.Context(), call{})

		if !errors.Is(err, ErrPoolTimeout) || time.Since(start) != time.Second {
			t.Errorf("borrow = %v after %v, want a pool timeout after 1s", err, time.Since(start))
		}
		f.wantOpen(t, 0, 1)
		closePool(t, p, f)
	})
}

func TestPoolMakesNothingWhenWaitIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.Check = func(ctx context.Context, _ *item) error { <-ctx.Done(); return ctx.Err() }
		p := startPool(t, f, PoolPolicy{Size: 1, Wait: time.Second})
		fill(t, p, 1)

		if _, err := p.borrow(t.Context(), call{}); !errors.Is(err, ErrPoolTimeout) {
			t.Errorf("borrow = %v, want a pool timeout", err)
		}
		if len(f.items) != 1 {
			t.Errorf("%d instances were made, want 1", len(f.items))
		}
		closePool(t, p, f)
	})
}

func TestPoolBrokenInstanceIsDestroyed(t *testing.T) {
	answers := map[string]func(error) bool{
		"yes":    func(err error) bool { return errors.Is(err, errFault) },
		"panic":  func(error) bool { panic("boom") },
		"goexit": func(error) bool { goruntime.Goexit(); return false },
	}
	for name, broken := range answers {
		t.Run(name, func(t *testing.T) {
			f := newFleet()
			f.Broken = broken
			p := startPool(t, f, PoolPolicy{Size: 1})
			defer closePool(t, p, f)

			onGoroutine(func() {
				err := p.Do(t.Context(), func(context.Context, *item) error { return errFault })
				if err != errFault {
					t.Errorf("Do = %v, want the fault", err)
				}
			})

			f.wantOpen(t)
			wantStatus(t, p, 0, 0, 0, 0)
			giveBack(p, mustBorrow(t, p))
		})
	}
}

func TestPoolBrokenIsAskedAboutErrorsOnly(t *testing.T) {
	f := newFleet()
	f.Broken = func(err error) bool { return err != errFault }
	p := startPool(t, f, PoolPolicy{Size: 1})
	defer closePool(t, p, f)
	for _, err := range []error{nil, errFault} {
		_ = p.Do(t.Context(), func(context.Context, *item) error { return err })
		f.wantOpen(t, 0)
	}
}

func TestPoolCloseThatFailsLosesNoPlace(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			f := newFleet()
			f.Close = func(i *item) error { i.closed.Add(1); return fault() }
			p := startPool(t, f, PoolPolicy{Size: 1, Overflow: 1})
			a, b := mustBorrow(t, p), mustBorrow(t, p)

			giveBack(p, a)

			wantStatus(t, p, 1, 0, 0, 0)
			a = mustBorrow(t, p)
			giveBack(p, a)
			giveBack(p, b)
			f.wantOpen(t, 1)

			err := p.Close(t.Context())
			f.wantOpen(t)
			if err == nil || name != "goexit" && !errors.Is(err, errFault) {
				t.Errorf("Close = %v, want the fault", err)
			}
			if again := p.Close(t.Context()); again == nil || again.Error() != err.Error() {
				t.Errorf("a second Close = %v, want %v", again, err)
			}
		})
	}
}

// A place is free only once the instance that had it is closed.
func TestPoolKeepsThePlaceOfAnInstanceThatIsBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.Close = func(i *item) error { time.Sleep(time.Second); i.closed.Add(1); return nil }
		p := startPool(t, f, PoolPolicy{Size: 1})
		l := mustBorrow(t, p)
		go p.giveBack(t.Context(), call{}, l, nil, false)
		start := time.Now()

		l = mustBorrow(t, p)

		if time.Since(start) != time.Second {
			t.Errorf("the next instance came after %v, want 1s", time.Since(start))
		}
		giveBack(p, l)
		closePool(t, p, f)
	})
}

func TestPoolCloseWaitsForBorrowersAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 2, Wait: Forever})
		var gone atomic.Int32
		p.onClosed = func() { time.Sleep(time.Second); gone.Add(1) }
		fill(t, p, 2)
		a, b := mustBorrow(t, p), mustBorrow(t, p)
		waiter := make(chan error, 1)
		go func() { _, err := p.borrow(t.Context(), call{key: "a.B.C"}); waiter <- err }()
		synctest.Wait()

		var closers sync.WaitGroup
		for range 3 {
			closers.Go(func() {
				if err := p.Close(t.Context()); err != nil {
					t.Errorf("Close = %v", err)
				}
				if n := gone.Load(); n != 1 {
					t.Errorf("onClosed was called %d times when Close returned, want once", n)
				}
				f.wantOpen(t)
			})
		}
		err := <-waiter
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != KindClosed || e.Name != "db" || e.Key != "a.B.C" {
			t.Errorf("the waiter got %v, want closed", err)
		}
		if err := p.Do(t.Context(), func(context.Context, *item) error { return nil }); !errors.Is(err, ErrClosed) {
			t.Errorf("a newcomer got %v, want closed", err)
		}
		synctest.Wait()
		f.wantOpen(t, 0, 1)
		giveBack(p, a)
		f.wantOpen(t, b.box.value.id)
		if gone.Load() != 0 {
			t.Error("the pool was called closed while an instance is out")
		}
		giveBack(p, b)
		f.wantOpen(t)
		closers.Wait()

		wantStatus(t, p, 0, 0, 0, 0)
	})
}

func TestPoolCloseGivesUpWaitingAndTheLastBorrowerFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 2})
		fill(t, p, 2)
		l := mustBorrow(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		if err := p.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close = %v, want the context's error", err)
		}

		f.wantOpen(t, 0, 1)
		giveBack(p, l)
		f.wantOpen(t)
		closePool(t, p, f)
	})
}

func TestPoolCloseIsBoundedWhenAnInstanceIsSlowToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.Close = func(i *item) error { time.Sleep(time.Minute); i.closed.Add(1); return nil }
		p := startPool(t, f, PoolPolicy{Size: 1})
		fill(t, p, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		if err := p.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close = %v, want the context's error", err)
		}
		closePool(t, p, f)
	})
}

func TestPoolCloseIsNotHeldUpByOneOfItsInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.Close = func(i *item) error { time.Sleep(time.Duration(i.id) * time.Minute); i.closed.Add(1); return nil }
		p := startPool(t, f, PoolPolicy{Size: 4})
		fill(t, p, 4)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()

		if err := p.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close = %v, want the context's error", err)
		}
		for _, i := range f.items {
			if want := i.id <= 2; want != (i.closed.Load() == 1) {
				t.Errorf("after 150 s, instance %d was closed %d times", i.id, i.closed.Load())
			}
		}
		closePool(t, p, f)
	})
}

func TestPoolClosedWhileAnInstanceIsMadeLendsItToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1})
		p.factory.New = func(context.Context) (*item, error) { time.Sleep(time.Second); return f.make(), nil }
		result := make(chan error, 1)
		go func() { _, err := p.borrow(t.Context(), call{}); result <- err }()
		synctest.Wait()

		closePool(t, p, f)

		if err := <-result; !errors.Is(err, ErrClosed) {
			t.Errorf("borrow = %v, want closed", err)
		}
		if len(f.items) != 1 {
			t.Errorf("%d instances were made, want 1", len(f.items))
		}
	})
}

func TestPoolCloseJoinsTheErrorsOfItsInstances(t *testing.T) {
	f := newFleet()
	errs := []error{errors.New("first"), errors.New("second"), errors.New("third")}
	f.Close = func(i *item) error { return errs[i.id] }
	p := startPool(t, f, PoolPolicy{Size: 2})
	fill(t, p, 2)
	l := mustBorrow(t, p)
	p.giveBack(t.Context(), call{}, l, nil, false) // closed before Close: not its error
	fill(t, p, 2)

	err := p.Close(t.Context())

	for i, want := range errs {
		if got := errors.Is(err, want); got != (i != l.box.value.id) {
			t.Errorf("Close = %v; has %v: %v", err, want, got)
		}
	}
}

func TestPoolLeavesNoGoroutineBehind(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 3, Overflow: 2, Idle: time.Hour, Life: time.Hour, Prefill: 3})
	fill(t, p, 5)
	closePool(t, p, f)
	if p.reaper.Stop() {
		t.Error("the reaper's timer was still set")
	}
}

func TestPoolStartsNoGoroutineOfTheLibrary(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 2, Idle: time.Hour, Life: time.Hour, Prefill: 1})
	fill(t, p, 2)
	if n := strings.Count(goroutineStacks(), "go-commons-pool"); n != 0 {
		t.Errorf("%d goroutines of the library", n)
	}
	closePool(t, p, f)
}

// All limits are the gate's, which has a lock for them.
func TestPoolNeverChangesTheLibrarysSettings(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 1})
	before := *p.library.Config
	fill(t, p, 1)
	p.resize(PoolPolicy{Size: 20, Overflow: 5, Wait: time.Second, Idle: time.Hour, Life: time.Hour, Prefill: 3})
	fill(t, p, 20)
	if after := *p.library.Config; after != before {
		t.Errorf("%+v\nbecame\n%+v", before, after)
	}
	if n := p.library.GetNumIdle(); n != 20 {
		t.Errorf("the library keeps %d instances of 20", n)
	}
	closePool(t, p, f)
}

func TestPoolLeavesNoTimerBehind(t *testing.T) {
	f := newFleet()
	pool := startPool(t, f, PoolPolicy{Size: 1, Idle: time.Hour})
	giveBack(pool, mustBorrow(t, pool))
	closePool(t, pool, f)
	if pool.reaper.Stop() {
		t.Error("the reaper was still to come")
	}
}

func TestPoolIdleInstancesAreClosedAfterIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 3, Idle: time.Minute})
		fill(t, p, 3)
		time.Sleep(30 * time.Second)
		giveBack(p, mustBorrow(t, p)) // instance 2

		time.Sleep(30*time.Second - time.Nanosecond)
		synctest.Wait()
		f.wantOpen(t, 0, 1, 2)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		f.wantOpen(t, 2)
		wantStatus(t, p, 0, 1, 0, 0)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		f.wantOpen(t)
		wantStatus(t, p, 0, 0, 0, 0)

		fill(t, p, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		f.wantOpen(t)
		closePool(t, p, f)
	})
}

func TestPoolReaperSurvivesCloseHoweverItFails(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				f.Close = func(i *item) error { i.closed.Add(1); return fault() }
				p := startPool(t, f, PoolPolicy{Size: 2, Wait: time.Second, Idle: time.Minute})
				for range 3 {
					fill(t, p, 2)
					time.Sleep(time.Minute)
					synctest.Wait()
					f.wantOpen(t)
					wantStatus(t, p, 0, 0, 0, 0)
				}
				if err := p.Close(t.Context()); err != nil {
					t.Errorf("Close = %v, want nothing of what was closed before", err)
				}
			})
		})
	}
}

func TestPoolOldInstancesAreClosedAfterLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 3, Life: time.Minute})
		out := mustBorrow(t, p)
		fill(t, p, 1)

		time.Sleep(time.Minute)
		synctest.Wait()

		f.wantOpen(t, out.box.value.id)
		giveBack(p, out)
		f.wantOpen(t)
		closePool(t, p, f)
	})
}

// The reaper is held up; an instance that is too old is not lent all the same.
func TestPoolDoesNotLendWhatTheReaperHasYetToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 2, Idle: time.Minute})
		fill(t, p, 2)
		p.mu.Lock()
		p.reaper.Stop()
		p.mu.Unlock()
		time.Sleep(time.Minute)

		l := mustBorrow(t, p)

		f.wantOpen(t, 2)
		giveBack(p, l)
		closePool(t, p, f)
	})
}

// All places are taken, one of them by a caller who is about to take the idle
// instance. He leaves instead; the reaper comes back.
func TestPoolReaperComesBackForAnInstanceItCouldNotGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Idle: time.Minute})
		fill(t, p, 1)
		p.gate.tryAcquire()
		time.Sleep(time.Minute)
		synctest.Wait()
		f.wantOpen(t, 0)

		p.release()
		time.Sleep(reapAgain)
		synctest.Wait()

		f.wantOpen(t)
		closePool(t, p, f)
	})
}

func TestPoolReaperGoesOnPastAnInstanceThatIsSlowToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		let := make(chan struct{})
		f.Close = func(i *item) error {
			if i.id == 0 {
				<-let
			}
			i.closed.Add(1)
			return nil
		}
		p := startPool(t, f, PoolPolicy{Size: 3, Idle: time.Minute})
		fill(t, p, 3)
		time.Sleep(time.Minute + reapAgain)
		synctest.Wait()
		f.wantOpen(t, 0)
		close(let)
		closePool(t, p, f)
	})
}

func TestPoolPrefillMakesInstancesAtStart(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 5, Prefill: 3})
	f.wantOpen(t, 0, 1, 2)
	wantStatus(t, p, 0, 3, 0, 0)
	fill(t, p, 3)
	f.wantOpen(t, 0, 1, 2)
	closePool(t, p, f)
}

func TestPoolPrefillIsAllOrNothing(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			f := newFleet()
			f.New = func(context.Context) (*item, error) {
				if i := f.make(); i.id < 2 {
					return i, nil
				}
				f.items = f.items[:2]
				return nil, fault()
			}
			var p *Pool[*item]
			var err error
			onGoroutine(func() { p, err = newPool(nil, "db", PoolPolicy{Prefill: 3, Idle: time.Minute}, f.Factory) })
			if p != nil || name != "goexit" && !errors.Is(err, errFault) {
				t.Errorf("newPool = %v, %v; want the fault", p, err)
			}
			f.wantOpen(t)
		})
	}
}

func TestPoolPrefillIsBoundedByWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.New = func(ctx context.Context) (*item, error) { <-ctx.Done(); return nil, ctx.Err() }
		start := time.Now()
		_, err := newPool(nil, "db", PoolPolicy{Prefill: 1, Wait: time.Second}, f.Factory)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("newPool = %v after %v, want deadline exceeded after 1s", err, time.Since(start))
		}
	})
}

func TestPoolPrefillWithoutTimeIsAPoolTimeout(t *testing.T) {
	f := newFleet()
	_, err := newPool(nil, "db", PoolPolicy{Size: 1000, Prefill: 1000, Wait: time.Nanosecond}, f.Factory)
	if refusal, ok := err.(*Error); !ok || refusal.Kind != KindPoolTimeout || refusal.Name != "db" {
		t.Errorf("newPool = %v, want a pool timeout of db", err)
	}
}

func TestPoolShrinksAsInstancesComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 6, Wait: Forever})
		fill(t, p, 6)
		a, b, c := mustBorrow(t, p), mustBorrow(t, p), mustBorrow(t, p)

		p.resize(PoolPolicy{Size: 1, Overflow: 1, Wait: Forever})

		wantStatus(t, p, 3, 0, 2, 0)
		waiter := make(chan lease[*item])
		go func() { waiter <- mustBorrow(t, p) }()
		synctest.Wait()
		giveBack(p, a) // closed, although somebody waits: he would have to wait for it
		wantStatus(t, p, 2, 0, 1, 1)
		giveBack(p, b)
		l := <-waiter
		wantStatus(t, p, 2, 0, 1, 0)
		giveBack(p, c)
		giveBack(p, l)
		wantStatus(t, p, 0, 1, 0, 0)
		closePool(t, p, f)
	})
}

func TestPoolTrimsTheLongestUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 4})
		leases := []lease[*item]{mustBorrow(t, p), mustBorrow(t, p), mustBorrow(t, p), mustBorrow(t, p)}
		for _, i := range []int{1, 3, 0, 2} {
			giveBack(p, leases[i])
			time.Sleep(time.Second)
		}

		p.resize(PoolPolicy{Size: 2})

		f.wantOpen(t, 0, 2)
		closePool(t, p, f)
	})
}

// The last to hold a place is the one who trims.
func TestPoolClosedWhileItIsTrimmedWaitsForThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.Close = func(i *item) error { time.Sleep(time.Second); i.closed.Add(1); return nil }
		p := startPool(t, f, PoolPolicy{Size: 3})
		fill(t, p, 3)
		go p.resize(PoolPolicy{Size: 1})
		synctest.Wait()
		start := time.Now()

		closePool(t, p, f)

		// One second for the instance that is too many, one for the others. The
		// last of them is not held up for long.
		if want := 2*time.Second + closePatience; time.Since(start) != want {
			t.Errorf("Close took %v, want %v", time.Since(start), want)
		}
	})
}

// Between the library's list and the pool's lock somebody else may take an
// instance, to close it.
func TestPoolDoesNotLendWhatSomebodyIsAboutToClose(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 2})
	defer closePool(t, p, f)
	fill(t, p, 1)
	p.gate.tryAcquire()
	p.mu.Lock()
	taken := p.idle[0]
	p.unidle(taken, boxGone)
	p.mu.Unlock()

	l := mustBorrow(t, p)

	if l.box == taken {
		t.Error("it was lent")
	}
	p.retire(taken)
	p.release()
	giveBack(p, l)
}

func TestPoolTakesNewSettingsForTheNextBorrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1})
		a := mustBorrow(t, p)
		waiter := make(chan lease[*item])
		go func() { waiter <- mustBorrow(t, p) }()
		synctest.Wait()

		p.resize(PoolPolicy{Size: 2, Wait: time.Second, Idle: time.Minute, Life: time.Hour})

		b := <-waiter
		start := time.Now()
		if _, err := p.borrow(t.Context(), call{}); !errors.Is(err, ErrPoolTimeout) || time.Since(start) != time.Second {
			t.Errorf("borrow = %v after %v, want a pool timeout after 1s", err, time.Since(start))
		}
		giveBack(p, a)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantStatus(t, p, 1, 0, 0, 0)
		time.Sleep(time.Hour)
		giveBack(p, b)
		wantStatus(t, p, 0, 0, 0, 0)
		closePool(t, p, f)
	})
}

func TestPoolNewIdleTimeHoldsForWhatLiesIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 2, Idle: time.Hour})
		fill(t, p, 2)

		p.resize(PoolPolicy{Size: 2, Idle: time.Minute})

		time.Sleep(time.Minute)
		synctest.Wait()
		f.wantOpen(t)
		closePool(t, p, f)
	})
}

func TestPoolEventsTellWhatHappenedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		observer := ObserverFunc(func(_ context.Context, e Event) { events = append(events, e) })
		f := newFleet()
		p := startPool(t, f, PoolPolicy{Size: 1, Wait: 3 * time.Second}, observer)
		c := call{key: "a.B.C"}
		l, _ := p.borrow(t.Context(), c)
		_, refusal := p.borrow(t.Context(), c)
		time.AfterFunc(time.Second, func() { p.giveBack(context.Background(), c, l, nil, true) })
		l, _ = p.borrow(t.Context(), c)
		time.Sleep(2 * time.Second)
		p.giveBack(t.Context(), c, l, nil, false)

		want := []Event{
			{Kind: EventPoolCheckout},
			{Kind: EventPoolTimeout, Duration: 3 * time.Second, Err: refusal},
			{Kind: EventPoolCheckin, Duration: 4 * time.Second},
			{Kind: EventPoolCheckout, Duration: time.Second},
			{Kind: EventPoolCheckin, Duration: 2 * time.Second},
		}
		if len(events) != len(want) {
			t.Fatalf("%d events, want %d: %v", len(events), len(want), events)
		}
		for i, e := range events {
			w := want[i]
			if e.Kind != w.Kind || e.Duration != w.Duration || e.Err != w.Err || e.Key != "a.B.C" || e.Name != "db" || e.Layer != LayerPool {
				t.Errorf("event %d is %+v, want %+v", i, e, w)
			}
		}
		closePool(t, p, f)
		if _, err := p.borrow(t.Context(), c); !errors.Is(err, ErrClosed) || len(events) != len(want) {
			t.Errorf("borrow = %v with %d more events, want closed, and none", err, len(events)-len(want))
		}
	})
}

func TestPoolObserverThatEndsTheGoroutineLosesNoPlace(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 1}, ObserverFunc(func(context.Context, Event) { goruntime.Goexit() }))
	onGoroutine(func() { _, _ = p.borrow(t.Context(), call{}) })
	wantStatus(t, p, 0, 1, 0, 0)
	if !p.gate.tryAcquire() {
		t.Error("the place was lost")
	}
	p.release()
	closePool(t, p, f)
}

func TestPoolLendsAnyType(t *testing.T) {
	t.Run("zero size", func(t *testing.T) { lendsTwo(t, struct{}{}) })
	t.Run("number", func(t *testing.T) { lendsTwo(t, 7) })
	t.Run("slice", func(t *testing.T) { lendsTwo(t, []int{1}) })
	t.Run("map", func(t *testing.T) { lendsTwo(t, map[string]int{}) })
	t.Run("func", func(t *testing.T) { lendsTwo(t, func() {}) })
	t.Run("uncomparable interface", func(t *testing.T) { lendsTwo[any](t, []int{1}) })
	t.Run("nil pointer", func(t *testing.T) { lendsTwo[*int](t, nil) })
	t.Run("nil interface", func(t *testing.T) { lendsTwo[error](t, nil) })
}

// lendsTwo has two instances of the same value out at once, twice.
func lendsTwo[T any](t *testing.T, value T) {
	t.Helper()
	made, closed := 0, 0
	p, err := newPool(nil, "db", PoolPolicy{Size: 2}, Factory[T]{
		New:   func(context.Context) (T, error) { made++; return value, nil },
		Close: func(T) error { closed++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := p.Do(t.Context(), func(ctx context.Context, _ T) error {
			return p.Do(ctx, func(context.Context, T) error {
				wantStatus(t, p, 2, 0, 0, 0)
				return nil
			})
		})
		if err != nil {
			t.Error(err)
		}
		wantStatus(t, p, 0, 2, 0, 0)
	}
	if err := p.Close(t.Context()); err != nil || made != 2 || closed != 2 {
		t.Errorf("Close = %v with %d made and %d closed, want 2 and 2", err, made, closed)
	}
}

func TestPermitsBoundCallsLikeAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p anyPool = newPermits(nil, "api", PoolPolicy{Size: 1, Overflow: 1})
		a, err := p.borrowAny(t.Context(), call{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := p.borrowAny(t.Context(), call{})
		if err != nil {
			t.Fatal(err)
		}
		wantStatus(t, p, 2, 0, 1, 0)
		if _, err := p.borrowAny(t.Context(), call{}); !errors.Is(err, ErrPoolTimeout) {
			t.Errorf("the third got %v, want a pool timeout", err)
		}
		p.giveBackAny(t.Context(), call{}, a, errFault, true)
		p.giveBackAny(t.Context(), call{}, b, nil, false)
		if p.Name() != "api" || p.policy().Size != 1 {
			t.Errorf("name %q, policy %+v", p.Name(), p.policy())
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// The one allocation is the node of the library's list.
func TestPoolBorrowOfAnIdleInstanceAllocatesOnce(t *testing.T) {
	f := newFleet()
	p := startPool(t, f, PoolPolicy{Size: 1, Idle: time.Hour})
	defer closePool(t, p, f)
	ctx := t.Context()
	fill(t, p, 1)
	if n := testing.AllocsPerRun(100, func() {
		l, err := p.borrow(ctx, call{})
		if err != nil {
			t.Fatal(err)
		}
		p.giveBack(ctx, call{}, l, nil, true)
	}); n > 1 {
		t.Errorf("%v allocations, want at most 1", n)
	}
}
