package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestGateServesWaitersInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{size: 1}
		if !g.tryAcquire() {
			t.Fatal("an empty gate has no place")
		}
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				if err := g.acquire(t.Context(), Forever); err != nil {
					t.Error(err)
				}
				order = append(order, i) // the place is the lock
				g.release()
			})
			synctest.Wait()
		}

		g.release()
		wg.Wait()

		if want := []int{0, 1, 2, 3, 4}; !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
	})
}

func TestGateNewcomerDoesNotOvertakeWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{size: 1}
		g.tryAcquire()
		go func() { _ = g.acquire(t.Context(), Forever) }()
		synctest.Wait()

		g.release()

		// The waiter's goroutine has not run yet; the place is already its.
		if g.tryAcquire() {
			t.Error("a newcomer took the place of the first in line")
		}
		if err := g.acquire(t.Context(), 0); !errors.Is(err, errGateFull) {
			t.Errorf("acquire = %v, want errGateFull", err)
		}
	})
}

func TestGateWaitIsOverAfterTheGivenTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{size: 1}
		g.tryAcquire()
		start := time.Now()

		err := g.acquire(t.Context(), time.Second)

		if !errors.Is(err, errGateFull) || time.Since(start) != time.Second {
			t.Errorf("acquire = %v after %v, want errGateFull after 1s", err, time.Since(start))
		}
		if _, active, waiting := g.counts(); active != 1 || waiting != 0 {
			t.Errorf("active %d, waiting %d; want 1, 0", active, waiting)
		}
	})
}

func TestGateCancelledWaiterLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{size: 1}
		g.tryAcquire()
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- g.acquire(ctx, Forever) }()
		synctest.Wait()
		go func() { second <- g.acquire(t.Context(), Forever) }()
		synctest.Wait()

		cancel()
		if err := <-first; err != context.Canceled {
			t.Errorf("first = %v, want context.Canceled", err)
		}
		g.release()
		if err := <-second; err != nil {
			t.Errorf("second = %v", err)
		}
	})
}

// cancelAtHandOver gives places back, and cancels those in line who get them
// before they can notice: whatever they woke up from, both are true.
func cancelAtHandOver(g *gate, places int, cancel context.CancelFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	cancel()
	g.active -= places
	g.grant()
}

func TestGateWaiterCancelledAtTheHandOverHasThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{size: 1}
		g.tryAcquire()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- g.acquire(ctx, Forever) }()
		synctest.Wait()

		cancelAtHandOver(&g, 1, cancel)

		if err := <-result; err != nil {
			t.Fatalf("acquire = %v after the place was handed over", err)
		}
		if _, active, _ := g.counts(); active != 1 {
			t.Fatalf("active %d, want 1", active)
		}
		g.release()
		if !g.tryAcquire() {
			t.Fatal("the place was lost")
		}
	})
}

func TestGateSmallerSizeTakesEffectAsPlacesAreReleased(t *testing.T) {
	g := gate{size: 3}
	for range 3 {
		g.tryAcquire()
	}

	g.resize(1)

	g.release()
	g.release()
	if g.tryAcquire() {
		t.Fatal("a place was taken while one of one is in use")
	}
	g.release()
	if !g.tryAcquire() {
		t.Fatal("no place in an empty gate")
	}
}

func TestGateGreaterSizeLetsWaitersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{size: 1}
		g.tryAcquire()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = g.acquire(t.Context(), Forever) })
		}
		synctest.Wait()

		g.resize(3)
		synctest.Wait()

		if _, active, waiting := g.counts(); active != 3 || waiting != 1 {
			t.Errorf("active %d, waiting %d; want 3, 1", active, waiting)
		}
		g.release()
		wg.Wait()
	})
}

func TestGateClosedRefusesWaitersAndNewcomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate{size: 1}
		g.tryAcquire()
		result := make(chan error, 1)
		go func() { result <- g.acquire(t.Context(), Forever) }()
		synctest.Wait()

		if g.close() {
			t.Error("close called a gate empty that somebody is in")
		}

		if err := <-result; !errors.Is(err, errGateClosed) {
			t.Errorf("waiter got %v, want errGateClosed", err)
		}
		if err := g.acquire(t.Context(), Forever); !errors.Is(err, errGateClosed) {
			t.Errorf("newcomer got %v, want errGateClosed", err)
		}
		if g.tryAcquire() || g.tryExceed(1) {
			t.Error("a place was taken in a closed gate")
		}
		if !g.release() {
			t.Error("the last one out was not told so")
		}
		if g.close() {
			t.Error("a second close called the gate empty again")
		}
	})
}

func TestGateEmptyOnCloseIsReportedByClose(t *testing.T) {
	g := gate{size: 1}
	if !g.close() {
		t.Error("close did not report the empty gate")
	}
	if g.close() {
		t.Error("a second close reported it again")
	}
}

func TestGateExceedsOnlyFromTheCountGiven(t *testing.T) {
	g := gate{size: 1}
	g.tryAcquire()
	if g.tryExceed(0) || g.tryExceed(2) {
		t.Error("a place was taken though another number is in use")
	}
	if !g.tryExceed(1) {
		t.Error("no place though one is in use")
	}
	g.release()
	if g.tryAcquire() {
		t.Error("a place is free though the only one is in use")
	}
}

func TestGateFastPathAllocatesNothing(t *testing.T) {
	g := gate{size: 1}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if !g.tryAcquire() || g.release() || g.acquire(ctx, Forever) != nil || g.release() {
			t.Fatal("a free place was not to be had")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// The gate against a model of two numbers and a line.
func TestGateModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) {
			type waiter struct {
				cancel context.CancelFunc
				result chan error
			}
			size := rapid.IntRange(1, 3).Draw(rt, "size")
			g := gate{size: size}
			active, closed, empties := 0, false, 0
			var line []waiter
			defer func() {
				for _, w := range line {
					w.cancel()
				}
			}()
			served := func() { // moves the model's line up, and expects the gate to have done so
				for active < size && len(line) > 0 {
					if err := <-line[0].result; err != nil {
						rt.Fatalf("the first in line got %v", err)
					}
					line[0].cancel()
					line = line[1:]
					active++
				}
			}
			count := func(empty bool) {
				if empty {
					empties++
				}
			}
			rt.Repeat(map[string]func(*rapid.T){
				"try": func(rt *rapid.T) {
					want := !closed && active < size
					if got := g.tryAcquire(); got != want {
						rt.Fatalf("tryAcquire = %v, want %v", got, want)
					}
					if want {
						active++
					}
				},
				"acquire": func(rt *rapid.T) {
					ctx, cancel := context.WithCancel(context.Background())
					w := waiter{cancel, make(chan error, 1)}
					go func() { w.result <- g.acquire(ctx, Forever) }()
					synctest.Wait()
					switch {
					case closed:
						cancel()
						if err := <-w.result; !errors.Is(err, errGateClosed) {
							rt.Fatalf("acquire = %v, want errGateClosed", err)
						}
					default:
						line = append(line, w)
						served()
					}
				},
				"give up": func(rt *rapid.T) {
					if len(line) == 0 {
						rt.Skip("nobody waits")
					}
					i := rapid.IntRange(0, len(line)-1).Draw(rt, "who")
					line[i].cancel()
					if err := <-line[i].result; err != context.Canceled {
						rt.Fatalf("a cancelled waiter got %v", err)
					}
					line = slices.Delete(line, i, i+1)
				},
				"release": func(rt *rapid.T) {
					if active == 0 {
						rt.Skip("no place is taken")
					}
					active--
					count(g.release())
					served()
				},
				"resize": func(rt *rapid.T) {
					size = rapid.IntRange(1, 4).Draw(rt, "new size")
					g.resize(size)
					served()
				},
				"exceed": func(rt *rapid.T) {
					n := rapid.IntRange(0, 4).Draw(rt, "active")
					want := !closed && n == active
					if got := g.tryExceed(n); got != want {
						rt.Fatalf("tryExceed(%d) = %v with %d active", n, got, active)
					}
					if want {
						active++
					}
				},
				"close": func(rt *rapid.T) {
					if rapid.IntRange(0, 4).Draw(rt, "dice") > 0 {
						rt.Skip("closing is rare, or nothing else would happen")
					}
					closed = true
					count(g.close())
					for _, w := range line {
						if err := <-w.result; !errors.Is(err, errGateClosed) {
							rt.Fatalf("a waiter got %v, want errGateClosed", err)
						}
						w.cancel()
					}
					line = nil
				},
				"": func(rt *rapid.T) {
					synctest.Wait()
					s, a, w := g.counts()
					if s != size || a != active || w != len(line) {
						rt.Fatalf("size %d, active %d, waiting %d; want %d, %d, %d", s, a, w, size, active, len(line))
					}
					want := 0
					if closed && active == 0 {
						want = 1
					}
					if empties != want {
						rt.Fatalf("reported empty %d times, want %d", empties, want)
					}
				},
			})
		})
	})
}

func TestGateUnderStress(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := gate{size: 3}
	var in, out atomic.Int64
	var empties atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(100))*time.Microsecond)
				if err := g.acquire(ctx, time.Duration(rand.IntN(100))*time.Microsecond); err == nil {
					if n := in.Add(1); n > 5 {
						t.Errorf("%d are in, of at most 5", n)
					}
					in.Add(-1)
					out.Add(1)
					if g.release() {
						empties.Add(1)
					}
				}
				cancel()
			}
		})
	}
	wg.Go(func() {
		for range 200 {
			g.resize(1 + rand.IntN(5))
		}
	})
	wg.Wait()

	_, active, waiting := g.counts()
	if active != 0 || waiting != 0 || out.Load() == 0 || empties.Load() != 0 {
		t.Errorf("active %d, waiting %d, %d served, %d times empty; want 0, 0, some, 0", active, waiting, out.Load(), empties.Load())
	}
	if !g.close() {
		t.Error("the gate is not empty")
	}
}
