package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// monitor is an observer that keeps numbers for a dashboard and calls out what
// somebody should look at. A program with metrics has this as a package of
// adapters; here it is by hand. It is safe for concurrent use.
type monitor struct {
	rt *protect.Runtime // set before the first call

	mu                sync.Mutex
	succeeded, failed int
	total             time.Duration
	alerts            []string
	allowed, denied   int
}

// Observe implements protect.Observer.
func (m *monitor) Observe(_ context.Context, e protect.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Kind {
	case protect.EventStop:
		m.total += e.Duration
		if e.Outcome == protect.OutcomeSuccess {
			m.succeeded++
		} else {
			m.failed++
		}
	case protect.EventLimiterAllowed:
		m.allowed++
	case protect.EventLimiterDenied:
		m.denied++
		m.alerts = append(m.alerts, fmt.Sprintf("rate limit exceeded for %s: %s", e.Entity, e.Name))
	case protect.EventBreakerRejected:
		// An observer may ask the runtime: it is called outside all locks.
		b, err := m.rt.Breaker(e.Name)
		if err != nil {
			return
		}
		m.alerts = append(m.alerts, fmt.Sprintf("circuit breaker %s is %v", e.Name, b.Status().State))
	}
}

func monitoring(ctx context.Context, out io.Writer) (err error) {
	server := startService("api")
	defer server.close()
	api := server.client()
	m := &monitor{}
	faulty := protect.ObserverFunc(func(context.Context, protect.Event) { panic("an observer with a bug") })
	rt := protect.New(protect.WithObserver(faulty, m))
	m.rt = rt
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	if _, err := rt.NewLimiter("api_calls", protect.LimitPolicy{Tokens: 5, Window: time.Minute}); err != nil {
		return err
	}
	if _, err := rt.NewBreaker("db_breaker", protect.BreakerPolicy{Failures: 2, Recovery: 30 * time.Second}); err != nil {
		return err
	}

	call := func(opt protect.ExecuteOption) {
		// What became of it, the observer knows.
		_, _ = protect.Execute(ctx, rt, "api", func(ctx context.Context) (string, error) { return api.get(ctx, "/") }, opt)
	}
	for range 6 {
		call(protect.UseLimiter("api_calls", "user:123"))
	}
	server.answer(http.StatusServiceUnavailable)
	for range 3 {
		call(protect.UseBreaker("db_breaker"))
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(out, "calls: %d succeeded, %d did not\n", m.succeeded, m.failed)
	fmt.Fprintf(out, "they took time: %v\n", m.total > 0)
	fmt.Fprintf(out, "limiter: %d allowed, %d denied\n", m.allowed, m.denied)
	for _, alert := range m.alerts {
		fmt.Fprintf(out, "alert: %s\n", alert)
	}
	fmt.Fprintln(out, "An observer that panics on every event has harmed nobody.")
	return nil
}
