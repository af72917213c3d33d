// Package calls compares what one protected call costs: in the shape that
// protectgen emits, over the bare libraries, and with the libraries that Go
// programs use today. All of them run in one process, so that the ratios hold
// on a noisy machine:
//
//	cd benchmarks && go test -bench . -benchmem -count 10 ./calls
package calls

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	fscb "github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	pool "github.com/jolestar/go-commons-pool/v2"
	circuitbreaker "github.com/mercari/go-circuitbreaker"
	"github.com/sethvargo/go-limiter/memorystore"
	"github.com/sony/gobreaker/v2"

	protect "github.com/protectgen/protectgen/runtime"
)

const plenty = 1 << 40

type service interface {
	Get(ctx context.Context, user string) (int, error)
}

type backend struct{ n int }

func (b *backend) Get(context.Context, string) (int, error) { return b.n, nil }

// emitted is a method as protectgen writes it.
type emitted struct{ get *protect.Guard[service] }

func (p *emitted) Get(ctx context.Context, user string) (r0 int, err error) {
	err = p.get.Do(ctx, user, func(ctx context.Context, next service) (err error) {
		r0, err = next.Get(ctx, user)
		return err
	})
	return r0, err
}

func protected(b *testing.B, p protect.Policy, pooled bool) service {
	b.Helper()
	rt := protect.New()
	b.Cleanup(func() { _ = rt.Close(context.Background()) })
	spec := protect.Spec{Key: "calls.service.Get", Policy: p}
	var guards []*protect.Guard[service]
	var err error
	if pooled {
		instances, e := protect.NewPool(rt, "calls.service", protect.PoolPolicy{Size: 10}, protect.Factory[service]{
			New: func(context.Context) (service, error) { return new(backend), nil },
		})
		if e != nil {
			b.Fatal(e)
		}
		guards, err = protect.NewPooledGuards(rt, instances, spec)
	} else {
		guards, err = protect.NewGuards[service](rt, new(backend), spec)
	}
	if err != nil {
		b.Fatal(err)
	}
	return &emitted{guards[0]}
}

func run(b *testing.B, call func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := call(); err != nil {
			b.Fatal(err)
		}
	}
}

func get(b *testing.B, s service) {
	ctx := context.Background()
	run(b, func() error { _, err := s.Get(ctx, "ada"); return err })
}

var (
	limit   = &protect.LimitPolicy{Tokens: plenty, Window: time.Hour}
	breaker = &protect.BreakerPolicy{Failures: 5}
)

func BenchmarkDirect(b *testing.B) { get(b, new(backend)) }

func BenchmarkBreaker(b *testing.B) {
	ctx := context.Background()
	b.Run("protectgen", func(b *testing.B) { get(b, protected(b, protect.Policy{Breaker: breaker}, false)) })
	b.Run("bare", func(b *testing.B) {
		cb := circuitbreaker.New(circuitbreaker.WithCounterResetInterval(-1))
		s := new(backend)
		run(b, func() error {
			_, err := cb.Do(ctx, func() (any, error) { n, err := s.Get(ctx, "ada"); return n, err })
			return err
		})
	})
	b.Run("gobreaker", func(b *testing.B) {
		cb := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{})
		s := new(backend)
		run(b, func() error {
			_, err := cb.Execute(func() (int, error) { return s.Get(ctx, "ada") })
			return err
		})
	})
	b.Run("failsafe", func(b *testing.B) {
		e := failsafe.With[int](fscb.NewBuilder[int]().WithFailureThreshold(5).Build())
		s := new(backend)
		run(b, func() error {
			_, err := e.Get(func() (int, error) { return s.Get(ctx, "ada") })
			return err
		})
	})
}

// BenchmarkParallel is BenchmarkBreaker with as many callers at once as there
// are processors, each with a method of its own: the best that a program can
// hope for, and what shows a lock or a counter that all of them share.
func BenchmarkParallel(b *testing.B) {
	ctx := context.Background()
	parallel := func(b *testing.B, method func() func() error) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			call := method()
			for pb.Next() {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.Run("protectgen", func(b *testing.B) {
		rt := protect.New()
		defer func() { _ = rt.Close(ctx) }()
		var n atomic.Int64
		parallel(b, func() func() error {
			key := fmt.Sprint("calls.service.Get", n.Add(1))
			guards, err := protect.NewGuards[service](rt, new(backend), protect.Spec{Key: key, Policy: protect.Policy{Breaker: breaker}})
			if err != nil {
				b.Error(err)
			}
			s := &emitted{guards[0]}
			return func() error { _, err := s.Get(ctx, "ada"); return err }
		})
	})
	b.Run("gobreaker", func(b *testing.B) {
		parallel(b, func() func() error {
			cb := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{})
			s := new(backend)
			return func() error {
				_, err := cb.Execute(func() (int, error) { return s.Get(ctx, "ada") })
				return err
			}
		})
	})
	b.Run("failsafe", func(b *testing.B) {
		parallel(b, func() func() error {
			e := failsafe.With[int](fscb.NewBuilder[int]().WithFailureThreshold(5).Build())
			s := new(backend)
			return func() error {
				_, err := e.Get(func() (int, error) { return s.Get(ctx, "ada") })
				return err
			}
		})
	})
}

func BenchmarkLimiterAndBreaker(b *testing.B) {
	ctx := context.Background()
	b.Run("protectgen", func(b *testing.B) { get(b, protected(b, protect.Policy{Limit: limit, Breaker: breaker}, false)) })
	b.Run("bare", func(b *testing.B) {
		store, err := memorystore.New(&memorystore.Config{Tokens: plenty, Interval: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = store.Close(ctx) }()
		cb := circuitbreaker.New(circuitbreaker.WithCounterResetInterval(-1))
		s := new(backend)
		run(b, func() error {
			if _, _, _, ok, err := store.Take(ctx, "ada"); err != nil || !ok {
				return err
			}
			if !cb.Ready() {
				return circuitbreaker.ErrOpen
			}
			_, err := s.Get(ctx, "ada")
			return cb.Done(ctx, err)
		})
	})
	b.Run("failsafe", func(b *testing.B) {
		e := failsafe.With[int](
			ratelimiter.NewBursty[int](plenty, time.Hour),
			fscb.NewBuilder[int]().WithFailureThreshold(5).Build(),
		)
		s := new(backend)
		run(b, func() error {
			_, err := e.Get(func() (int, error) { return s.Get(ctx, "ada") })
			return err
		})
	})
}

func BenchmarkLimiterBreakerAndPool(b *testing.B) {
	ctx := context.Background()
	b.Run("protectgen", func(b *testing.B) { get(b, protected(b, protect.Policy{Limit: limit, Breaker: breaker}, true)) })
	b.Run("bare", func(b *testing.B) {
		store, err := memorystore.New(&memorystore.Config{Tokens: plenty, Interval: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = store.Close(ctx) }()
		cb := circuitbreaker.New(circuitbreaker.WithCounterResetInterval(-1))
		instances := pool.NewObjectPool(ctx, pool.NewPooledObjectFactorySimple(
			func(context.Context) (any, error) { return new(backend), nil }), pool.NewDefaultPoolConfig())
		defer instances.Close(ctx)
		run(b, func() error {
			if _, _, _, ok, err := store.Take(ctx, "ada"); err != nil || !ok {
				return err
			}
			if !cb.Ready() {
				return circuitbreaker.ErrOpen
			}
			s, err := instances.BorrowObject(ctx)
			if err != nil {
				return cb.Done(ctx, err)
			}
			_, err = s.(*backend).Get(ctx, "ada")
			if err := instances.ReturnObject(ctx, s); err != nil {
				return err
			}
			return cb.Done(ctx, err)
		})
	})
	b.Run("failsafe with a bulkhead", func(b *testing.B) {
		e := failsafe.With[int](
			ratelimiter.NewBursty[int](plenty, time.Hour),
			fscb.NewBuilder[int]().WithFailureThreshold(5).Build(),
			bulkhead.New[int](10),
		)
		s := new(backend)
		run(b, func() error {
			_, err := e.Get(func() (int, error) { return s.Get(ctx, "ada") })
			return err
		})
	})
}
