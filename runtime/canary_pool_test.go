package runtime

import (
	"context"
	"errors"
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

// Defence: the gate; TestPoolModel, TestPoolUnderStress, and for New and Check
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
// Close; that a panic in the library's evictor ends the process cannot be shown
// here, and does not matter since we never start it.
func TestCanaryLibraryLosesThePlaceOfAPanic(t *testing.T) {
	boom := func() { panic("boom") }
	cases := map[string]func(b *bare, p *commons.ObjectPool){
		"MakeObject":      func(b *bare, _ *commons.ObjectPool) { b.make = func() (any, error) { boom(); return nil, nil } },
		"ActivateObject":  func(b *bare, _ *commons.ObjectPool) { b.activate = func() bool { boom(); return true } },
		"ValidateObject":  func(b *bare, _ *commons.ObjectPool) { b.validate = func() bool { boom(); return true } },
		"PassivateObject": func(b *bare, _ *commons.ObjectPool) { b.passivate = func() bool { boom(); return true } },
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

// Defence: our DestroyObject does nothing; TestPoolCloseThatFailsLosesNoPlace.
func TestCanaryLibraryDestroysUnderTheLockOfTheObject(t *testing.T) {
	b := &bare{}
	p := b.pool(nil)
	o := bareBorrow(t, p)
	asked := make(chan struct{})
	answered := false
	b.destroy = func(o *commons.PooledObject) {
		go func() {
			defer close(asked)
			o.GetState()
		}()
		select {
		case <-asked:
			answered = true
		case <-time.After(20 * time.Millisecond):
		}
	}

	_ = p.InvalidateObject(context.Background(), o)

	if <-asked; answered {
		t.Error("the object could be asked for its state")
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
