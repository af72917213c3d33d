package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBulkheadRefusesAtOnceWithoutAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBulkhead("db", BulkheadPolicy{Max: 2})
		start := time.Now()
		for range 2 {
			if err := b.enter(t.Context(), call{}); err != nil {
				t.Fatal(err)
			}
		}

		err := b.enter(t.Context(), call{key: "a.B.C"})

		e, ok := errors.AsType[*Error](err)
		if !ok || e.Kind != KindBulkheadFull || e.Key != "a.B.C" || e.Name != "db" || !errors.Is(err, ErrBulkheadFull) {
			t.Errorf("enter = %v, want bulkhead full for a.B.C: db", err)
		}
		if time.Since(start) != 0 {
			t.Errorf("the refusal took %v", time.Since(start))
		}
		b.leave()
		if err := b.enter(t.Context(), call{}); err != nil {
			t.Errorf("enter = %v after somebody left", err)
		}
	})
}

func TestBulkheadWaitsForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBulkhead("db", BulkheadPolicy{Max: 1, Wait: time.Second})
		_ = b.enter(t.Context(), call{})
		time.AfterFunc(300*time.Millisecond, b.leave)
		start := time.Now()

		if err := b.enter(t.Context(), call{}); err != nil || time.Since(start) != 300*time.Millisecond {
			t.Errorf("enter = %v after %v, want a place after 300ms", err, time.Since(start))
		}
		if err := b.enter(t.Context(), call{}); !errors.Is(err, ErrBulkheadFull) || time.Since(start) != 1300*time.Millisecond {
			t.Errorf("enter = %v after %v, want bulkhead full after 1.3s", err, time.Since(start))
		}
	})
}

func TestBulkheadTellsADeadlineFromACancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBulkhead("db", BulkheadPolicy{Max: 1, Wait: time.Minute})
		_ = b.enter(t.Context(), call{})

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.enter(ctx, call{})
		if !errors.Is(err, ErrBulkheadFull) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the deadline: %v, want bulkhead full and deadline exceeded", err)
		}

		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if err := b.enter(ctx, call{}); err != context.Canceled {
			t.Errorf("after the cancellation: %v, want context.Canceled", err)
		}
	})
}

func TestBulkheadDoesNotLetADoneContextIn(t *testing.T) {
	b := newBulkhead("db", BulkheadPolicy{Max: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	if err := b.enter(ctx, call{}); err != context.Canceled {
		t.Errorf("enter = %v, want context.Canceled", err)
	}
	if s := b.status(); s.Active != 0 {
		t.Errorf("status %+v, want nobody in", s)
	}
}

func TestBulkheadPlaceHandedToACancelledWaiterIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBulkhead("db", BulkheadPolicy{Max: 1, Wait: Forever})
		_ = b.enter(t.Context(), call{})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- b.enter(ctx, call{}) }()
		synctest.Wait()

		cancelAtHandOver(&b.gate, 1, cancel)

		if err := <-result; err != context.Canceled {
			t.Fatalf("enter = %v with a cancelled context", err)
		}
		if s := b.status(); s.Active != 0 {
			t.Fatalf("status %+v, want nobody in", s)
		}
	})
}

func TestBulkheadClosedRefusesWaitersAndNewcomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBulkhead("db", BulkheadPolicy{Max: 1, Wait: Forever})
		_ = b.enter(t.Context(), call{})
		result := make(chan error, 1)
		go func() { result <- b.enter(t.Context(), call{}) }()
		synctest.Wait()
		if s := b.status(); s != (BulkheadStatus{Name: "db", Max: 1, Active: 1, Waiting: 1}) {
			t.Errorf("status %+v, want one in and one waiting", s)
		}

		b.close()

		if err := <-result; !errors.Is(err, ErrClosed) {
			t.Errorf("the waiter got %v, want closed", err)
		}
		if err := b.enter(t.Context(), call{}); !errors.Is(err, ErrClosed) {
			t.Errorf("a newcomer got %v, want closed", err)
		}
		b.leave()
	})
}

func TestBulkheadTakesNewSettings(t *testing.T) {
	b := newBulkhead("db", BulkheadPolicy{Max: 1})
	_ = b.enter(t.Context(), call{})

	b.resize(BulkheadPolicy{Max: 2})

	if err := b.enter(t.Context(), call{}); err != nil {
		t.Errorf("enter = %v with a place more", err)
	}
	if s := b.status(); s.Max != 2 || s.Active != 2 {
		t.Errorf("status %+v, want 2 of 2", s)
	}
}
