package runtime

import (
	"context"
	"sync"
	"testing"
	"time"

	circuitbreaker "github.com/mercari/go-circuitbreaker"
)

// BenchmarkBreaker measures an admitted call that succeeds, next to the bare
// library and to the least that a breaker with one mutex can do.
func BenchmarkBreaker(b *testing.B) {
	ctx := b.Context()
	bare := circuitbreaker.New(circuitbreaker.WithCounterResetInterval(-1))
	mutex := &mutexBreaker{limit: 5}
	calls := map[string]func(){
		"library": func() {
			if bare.Ready() {
				_ = bare.Done(ctx, nil)
			}
		},
		"mutex": func() {
			if generation, ok := mutex.admit(); ok {
				mutex.settle(generation, true)
			}
		},
	}
	for name, p := range map[string]BreakerPolicy{
		"row":    {},
		"within": {Within: time.Minute},
		"rate":   {Rate: 0.5, Of: 100, Within: time.Minute},
	} {
		breaker := givenBreaker(b, p)
		calls["ours "+name] = func() {
			permit, _ := breaker.admit(ctx, call{})
			breaker.settle(ctx, call{}, permit, OutcomeSuccess, nil)
		}
	}
	for name, do := range calls {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				do()
			}
		})
		b.Run(name+" parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					do()
				}
			})
		})
	}
}

// BenchmarkBreakerRefusal measures what a call costs while the breaker is open.
func BenchmarkBreakerRefusal(b *testing.B) {
	breaker := givenOpenBreaker(b, BreakerPolicy{Recovery: time.Hour})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = breaker.admit(ctx, call{})
	}
}

// mutexBreaker is a yardstick: a mutex, a generation and a count.
type mutexBreaker struct {
	mu         sync.Mutex
	open       bool
	generation uint64
	failures   int
	limit      int
}

func (m *mutexBreaker) admit() (uint64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation, !m.open
}

func (m *mutexBreaker) settle(generation uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case generation != m.generation:
	case ok:
		m.failures = 0
	default:
		m.failures++
		m.open = m.failures >= m.limit
	}
}
