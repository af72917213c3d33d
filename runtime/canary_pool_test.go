package runtime

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	commons "github.com/jolestar/go-commons-pool/v2"
)

// The tests below show what the pool library does when left to itself, and
// name the tests that hold our pool to better. One that fails says that the
// library changed, and that a defence may have become idle.

// bare is a factory for the library whose functions a test replaces.
type bare struct {
	make                          func() (any, error)
	destroy                       func(o *commons.PooledObject)
	validate, activate, passivate func() bool
}

func (b *bare) pool(config func(*commons.ObjectPoolConfig)) *commons.ObjectPool {
	if b.make == nil {
		b.make = func() (any, error) { return new(int), nil }
	}
	asError := func(hook *func() bool) func(context.Context, *commons.PooledObject) error {
		return func(context.Context, *commons.PooledObject) error {
			if *hook != nil && !(*hook)() {
				return errFault
			}
			return nil
		}
	}
	factory := commons.NewPooledObjectFactory(
		func(context.Context) (any, error) { return b.make() },
		func(_ context.Context, o *commons.PooledObject) error {
			if b.destroy != nil {
				b.destroy(o)
			}
			return nil
		},
		func(context.Context, *commons.PooledObject) bool { return b.validate == nil || b.validate() },
		asError(&b.activate),
		asError(&b.passivate),
	)
	c := commons.NewDefaultPoolConfig()
	c.MaxTotal = 1
	if config != nil {
		config(c)
	}
	return commons.NewObjectPool(context.Background(), factory, c)
}

func failMake() (any, error) { return nil, errFault }
func fails() bool            { return false }

func bareBorrow(t *testing.T, p *commons.ObjectPool) any {
	t.Helper()
	o, err := p.BorrowObject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// bareWaiter borrows on a goroutine of its own, and returns once that waits or
// is done. done reports which; leave ends the wait.
func bareWaiter(p *commons.ObjectPool) (done func() bool, leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	return bareWaiterWith(ctx, cancel, p)
}

func bareWaiterWith(ctx context.Context, cancel func(), p *commons.ObjectPool) (done func() bool, leave func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = p.BorrowObject(ctx)
	}()
	synctest.Wait()
	done = func() bool {
		synctest.Wait()
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
	return done, func() { cancel(); <-ended }
}

// slowWaiter is a bareWaiter who has said that it waits, and does not listen
// until goOn is closed.
func slowWaiter(p *commons.ObjectPool, goOn <-chan struct{}) (done func() bool, leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	return bareWaiterWith(&slowContext{Context: ctx, goOn: goOn}, cancel, p)
}

// slowContext holds up who waits for it. The library asks for Done twice: with
// its lock, to see whether it may wait, and without it, when it does.
type slowContext struct {
	context.Context
	goOn  <-chan struct{}
	asked int
}

func (c *slowContext) Done() <-chan struct{} {
	if c.asked++; c.asked == 2 {
		<-c.goOn
	}
	return c.Context.Done()
}

// Defence: the gate; TestPoolModel, and for New and Check
// TestPoolNewThatFailsLosesNoPlace, TestPoolCheckFailureMovesOnToTheNextInstance.
func TestCanaryLibraryLosesWaiters(t *testing.T) {
	// Each case ends with the pool empty, so that anybody may make an object.
	cases := map[string]func(t *testing.T, b *bare) (*commons.ObjectPool, func()){
		"when an object is invalidated and the next cannot be made": func(t *testing.T, b *bare) (*commons.ObjectPool, func()) {
			p := b.pool(nil)
			o := bareBorrow(t, p)
			return p, func() { b.make = failMake; _ = p.InvalidateObject(context.Background(), o) }
		},
		"when validation fails on return and the next cannot be made": func(t *testing.T, b *bare) (*commons.ObjectPool, func()) {
			p := b.pool(func(c *commons.ObjectPoolConfig) { c.TestOnReturn = true })
			o := bareBorrow(t, p)
			return p, func() {
				b.make, b.validate = failMake, fails
				_ = p.ReturnObject(context.Background(), o)
			}
		},
		"when MaxIdle is 0": func(t *testing.T, b *bare) (*commons.ObjectPool, func()) {
			p := b.pool(func(c *commons.ObjectPoolConfig) { c.MaxIdle = 0 })
			o := bareBorrow(t, p)
			return p, func() { _ = p.ReturnObject(context.Background(), o) }
		},
		"when another borrower's MakeObject fails": func(_ *testing.T, b *bare) (*commons.ObjectPool, func()) {
			fail := make(chan struct{})
			b.make = func() (any, error) { <-fail; return failMake() }
			p := b.pool(nil)
			_, _ = bareWaiter(p)
			return p, func() { close(fail) }
		},
		"when another borrower's ActivateObject fails": func(_ *testing.T, b *bare) (*commons.ObjectPool, func()) {
			fail := make(chan struct{})
			b.activate = func() bool { <-fail; return false }
			p := b.pool(nil)
			_, _ = bareWaiter(p)
			return p, func() { close(fail) }
		},
		"when another borrower's ValidateObject fails": func(_ *testing.T, b *bare) (*commons.ObjectPool, func()) {
			fail := make(chan struct{})
			b.validate = func() bool { <-fail; return false }
			p := b.pool(func(c *commons.ObjectPoolConfig) { c.TestOnCreate = true })
			_, _ = bareWaiter(p)
			return p, func() { close(fail) }
		},
		"when the evictor takes the object": func(t *testing.T, b *bare) (*commons.ObjectPool, func()) {
			policy := slowEviction{began: make(chan struct{}), end: make(chan struct{})}
			commons.RegistryEvictionPolicy("slow", policy)
			p := b.pool(func(c *commons.ObjectPoolConfig) {
				c.EvictionPolicyName = "slow"
				c.TimeBetweenEvictionRuns = time.Second
			})
			_ = p.ReturnObject(context.Background(), bareBorrow(t, p))
			<-policy.began
			return p, func() { close(policy.end) }
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, free := prepare(t, &bare{})
				done, leave := bareWaiter(p)

				free()

				if done() {
					t.Error("the waiter was served, or told")
				}
				if n := p.GetNumActive() + p.GetNumIdle(); n != 0 {
					t.Errorf("%d objects exist, want an empty pool", n)
				}
				leave()
				p.Close(context.Background())
			})
		})
	}
}

// slowEviction holds the evictor up in the middle of its work.
type slowEviction struct{ began, end chan struct{} }

func (e slowEviction) Evict(*commons.EvictionConfig, *commons.PooledObject, int) bool {
	close(e.began)
	<-e.end
	return true
}

// Two signals, for two who are about to wait, are one.
//
// Defence: the gate hands each place to one waiter;
// TestGateGreaterSizeLetsWaitersIn, TestGateModel.
func TestCanaryLibraryLosesAWaiterToACoalescedSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		p := (&bare{}).pool(func(c *commons.ObjectPoolConfig) { c.MaxTotal = 2 })
		a, b := bareBorrow(t, p), bareBorrow(t, p)
		goOn := make(chan struct{})
		firstDone, firstLeave := slowWaiter(p, goOn)
		secondDone, secondLeave := slowWaiter(p, goOn)

		_ = p.ReturnObject(ctx, a)
		_ = p.ReturnObject(ctx, b)
		close(goOn)

		if firstDone() == secondDone() {
			t.Errorf("the waiters were served: %v and %v, want one of the two", firstDone(), secondDone())
		}
		if n := p.GetNumIdle(); n != 1 {
			t.Errorf("%d objects are idle, want the one that a waiter could have", n)
		}
		firstLeave()
		secondLeave()
		p.Close(ctx)
	})
}

// Defence: TestGateClosedRefusesWaitersAndNewcomers,
// TestPoolCloseWaitsForBorrowersAndRefusesTheRest.
func TestCanaryLibraryCloseMissesLateWaiters(t *testing.T) {
	ctx := context.Background()
	cases := map[string]func(t *testing.T) (p *commons.ObjectPool, done func() bool, leave func()){
		"who comes before Close, and waits after it": func(t *testing.T) (*commons.ObjectPool, func() bool, func()) {
			var closes sync.Once
			var p *commons.ObjectPool
			o := &tracked{used: func() { closes.Do(func() { p.Close(ctx) }) }}
			p = (&bare{make: func() (any, error) { return o, nil }}).pool(nil)
			bareBorrow(t, p)
			// The next borrower asks how long the object has been out.
			p.AbandonedConfig = commons.NewDefaultAbandonedConfig()
			p.AbandonedConfig.RemoveAbandonedOnBorrow = true
			done, leave := bareWaiter(p)
			_ = p.ReturnObject(ctx, o)
			return p, done, leave
		},
		"who has a signal from before it": func(t *testing.T) (*commons.ObjectPool, func() bool, func()) {
			p := (&bare{}).pool(nil)
			o := bareBorrow(t, p)
			goOn := make(chan struct{})
			done, leave := slowWaiter(p, goOn)
			_ = p.ReturnObject(ctx, o)
			bareBorrow(t, p) // overtakes
			p.Close(ctx)
			close(goOn)
			synctest.Wait()
			_ = p.ReturnObject(ctx, o)
			return p, done, leave
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, done, leave := prepare(t)
				if !p.IsClosed() || p.GetNumActive()+p.GetNumIdle() != 0 {
					t.Error("the pool is not closed and empty")
				}
				if done() {
					t.Error("the waiter was told")
				}
				leave()
			})
		})
	}
}

// tracked is an object that is told when the library asks for its last use.
type tracked struct{ used func() }

func (o *tracked) GetLastUsed() time.Time { o.used(); return time.Now() }

// Defence: TestPoolCloseWaitsForBorrowersAndRefusesTheRest.
func TestCanaryLibraryCloseDoesNotWaitForBorrowers(t *testing.T) {
	destroyed := 0
	b := &bare{destroy: func(*commons.PooledObject) { destroyed++ }}
	p := b.pool(nil)
	o := bareBorrow(t, p)

	p.Close(context.Background())

	if destroyed != 0 || p.GetNumActive() != 1 {
		t.Errorf("%d destroyed, %d active; want 0, 1", destroyed, p.GetNumActive())
	}
	_ = p.ReturnObject(context.Background(), o)
}

// Defence: TestPoolClosedWhileAnInstanceIsMadeLendsItToNobody.
func TestCanaryLibraryMakesObjectsAfterClose(t *testing.T) {
	b := &bare{}
	p := b.pool(nil)
	_ = p.ReturnObject(context.Background(), bareBorrow(t, p))
	made := 0
	b.make = func() (any, error) { made++; return new(int), nil }
	b.activate = func() bool { // fails for the idle object, after the pool was closed
		b.activate = nil
		p.Close(context.Background())
		return false
	}

	if _, err := p.BorrowObject(context.Background()); err != nil || made != 1 {
		t.Errorf("BorrowObject = %v with %d made, want an object made after Close", err, made)
	}
}

// Defence: boxes; TestPoolLendsAnyType.
func TestCanaryLibraryTellsObjectsApartByAddress(t *testing.T) {
	t.Run("values have none", func(t *testing.T) {
		b := &bare{make: func() (any, error) { return 7, nil }}
		p := b.pool(nil)
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = p.BorrowObject(context.Background())
	})
	t.Run("empty structs share one", func(t *testing.T) {
		b := &bare{make: func() (any, error) { return &struct{}{}, nil }}
		p := b.pool(func(c *commons.ObjectPoolConfig) { c.MaxTotal = 2 })
		bareBorrow(t, p)
		bareBorrow(t, p)
		if n := p.GetNumActive(); n != 1 {
			t.Errorf("%d of 2 objects are known, want 1", n)
		}
	})
}

// Defence: TestPoolNewThatFailsLosesNoPlace and its like for Check, Broken and
// Close.
func TestCanaryLibraryLosesThePlaceOfAPanic(t *testing.T) {
	boom := func() { panic("boom") }
	cases := map[string]func(b *bare, p *commons.ObjectPool){
		"MakeObject":      func(b *bare, _ *commons.ObjectPool) { b.make = func() (any, error) { boom(); return nil, nil } },
		"ActivateObject":  func(b *bare, _ *commons.ObjectPool) { b.activate = func() bool { boom(); return true } },
		"ValidateObject":  func(b *bare, _ *commons.ObjectPool) { b.validate = func() bool { boom(); return true } },
		"PassivateObject": func(b *bare, _ *commons.ObjectPool) { b.passivate = func() bool { boom(); return true } },
		"DestroyObject": func(b *bare, _ *commons.ObjectPool) {
			b.passivate = fails // so that it is destroyed
			b.destroy = func(*commons.PooledObject) { boom() }
		},
	}
	for name, arm := range cases {
		t.Run(name, func(t *testing.T) {
			b := &bare{}
			p := b.pool(func(c *commons.ObjectPoolConfig) {
				c.TestOnBorrow, c.TestOnCreate, c.BlockWhenExhausted = true, true, false
			})
			arm(b, p)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				_ = p.ReturnObject(context.Background(), bareBorrow(t, p))
			}()
			*b = bare{make: func() (any, error) { return new(int), nil }}

			if _, err := p.BorrowObject(context.Background()); err == nil {
				t.Error("the place was not lost")
			}
		})
	}
}

// Defence: a reaper of ours instead; TestPoolStartsNoGoroutineOfTheLibrary,
// TestPoolReaperSurvivesCloseHoweverItFails.
func TestCanaryLibraryEvictorDiesOfAPanicAndTheProcessWithIt(t *testing.T) {
	boom := func() bool { panic("boom") }
	cases := map[string]func(b *bare, p *commons.ObjectPool){
		"MakeObject": func(b *bare, p *commons.ObjectPool) {
			p.Clear(context.Background())
			p.Config.MinIdle = 1 // so that one is made
			b.make = func() (any, error) { boom(); return nil, nil }
		},
		"ActivateObject":  func(b *bare, _ *commons.ObjectPool) { b.activate = boom },
		"ValidateObject":  func(b *bare, _ *commons.ObjectPool) { b.validate = boom },
		"PassivateObject": func(b *bare, _ *commons.ObjectPool) { b.passivate = boom },
		"DestroyObject": func(b *bare, _ *commons.ObjectPool) {
			b.validate = fails // so that it is destroyed
			b.destroy = func(*commons.PooledObject) { boom() }
		},
	}
	if arm, ok := cases[inChild()]; ok {
		synctest.Test(t, func(t *testing.T) {
			b := &bare{}
			p := b.pool(func(c *commons.ObjectPoolConfig) { c.TestWhileIdle = true })
			_ = p.AddObject(context.Background())
			arm(b, p)
			p.Config.TimeBetweenEvictionRuns = time.Minute
			p.StartEvictor()
			time.Sleep(time.Hour)
			p.Close(context.Background()) // not reached
		})
		return
	}
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			output, code := runInChild(t, "TestCanaryLibraryEvictorDiesOfAPanicAndTheProcessWithIt", name)
			if code != 2 || !strings.Contains(output, "panic: boom") || !strings.Contains(output, "(*ObjectPool).startEvictor") {
				t.Errorf("the process ended with %d, want a panic of the evictor:\n%s", code, output)
			}
		})
	}
}

// Defence: our DestroyObject does nothing; TestPoolCloseThatFailsLosesNoPlace.
func TestCanaryLibraryDestroysUnderTheLockOfTheObject(t *testing.T) {
	b := &bare{}
	p := b.pool(nil)
	o := bareBorrow(t, p)
	locked := false
	b.destroy = func(o *commons.PooledObject) {
		// Whatever asks for the object's state would wait for this lock for ever.
		mu := inside[sync.Mutex](t, reflect.ValueOf(o), "lock")
		if locked = !mu.TryLock(); !locked {
			mu.Unlock()
		}
	}

	_ = p.InvalidateObject(context.Background(), o)

	if !locked {
		t.Error("the object is not locked")
	}
}

// Defence: TestPoolNeverChangesTheLibrarysSettings.
func TestCanaryLibraryReadsItsSettingsWithoutALock(t *testing.T) {
	switch {
	case !builtWithRace():
		t.Skip("a data race can be shown only by a test that was built with -race")
	case inChild() != "":
		p := (&bare{}).pool(nil)
		borrowed := make(chan struct{})
		go func() {
			defer close(borrowed)
			_, _ = p.BorrowObject(context.Background())
		}()
		p.Config.MaxTotal = 2
		<-borrowed
		return
	}
	output, code := runInChild(t, t.Name(), "race")
	if code != exitOfARace || !strings.Contains(output, "DATA RACE") || !strings.Contains(output, "(*ObjectPool).create") {
		t.Errorf("the process ended with %d, want a data race:\n%s", code, output)
	}
}

// Defence: TestPoolShrinksAsInstancesComeBack.
func TestCanaryLibraryDoesNotShrinkWithMaxTotal(t *testing.T) {
	ctx := context.Background()
	b := &bare{}
	p := b.pool(func(c *commons.ObjectPoolConfig) { c.MaxTotal = 3 })
	objects := []any{bareBorrow(t, p), bareBorrow(t, p), bareBorrow(t, p)}

	p.Config.MaxTotal = 1
	for _, o := range objects {
		_ = p.ReturnObject(ctx, o)
	}

	if n := p.GetNumIdle(); n != 3 {
		t.Errorf("%d objects are kept, want all 3", n)
	}
}

// Defence: TestPoolTellsADeadlineFromACancellation.
func TestCanaryLibraryHidesWhyAWaitEnded(t *testing.T) {
	b := &bare{}
	p := b.pool(nil)
	bareBorrow(t, p)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	_, err := p.BorrowObject(ctx)

	if _, ok := err.(*commons.NoSuchElementErr); !ok || errors.Is(err, context.Canceled) {
		t.Errorf("BorrowObject = %v, want an error that is not the context's", err)
	}
}
