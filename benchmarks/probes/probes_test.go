// Package probes shows what becomes of a circuit breaker whose half-open probe
// panics or ends its goroutine: ours, and those that Go programs use today. It
// fails when a peer behaves otherwise than our README says:
//
//	cd benchmarks && go test -v ./probes
package probes

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/sony/gobreaker/v2"

	protect "github.com/protectgen/protectgen/runtime"
)

var errDown = errors.New("down")

const recovery = 20 * time.Millisecond

// breaker calls fn through a breaker that opens on the first failure.
type breaker func(fn func() error) error

func breakers(t *testing.T) map[string]breaker {
	rt := protect.New()
	t.Cleanup(func() { _ = rt.Close(context.Background()) })
	ours, err := rt.NewBreaker("probe", protect.BreakerPolicy{Failures: 1, Recovery: recovery})
	if err != nil {
		t.Fatal(err)
	}
	theirs := gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
		Timeout:     recovery,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 1 },
	})
	fs := failsafe.With[any](circuitbreaker.NewBuilder[any]().WithFailureThreshold(1).WithDelay(recovery).Build())
	return map[string]breaker{
		"protectgen": func(fn func() error) error {
			return ours.Do(t.Context(), func(context.Context) error { return fn() })
		},
		"gobreaker": func(fn func() error) error {
			_, err := theirs.Execute(func() (any, error) { return nil, fn() })
			return err
		},
		"failsafe-go": func(fn func() error) error { return fs.Run(fn) },
	}
}

// recovers reports whether a breaker whose probe ended in that way lets a
// healthy call through again.
func recovers(call breaker, end func()) bool {
	_ = call(func() error { return errDown })
	time.Sleep(2 * recovery)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		_ = call(func() error { end(); return nil })
	}()
	<-done
	for range 10 {
		time.Sleep(2 * recovery)
		if call(func() error { return nil }) == nil {
			return true
		}
	}
	return false
}

func TestProbesThatDoNotReturn(t *testing.T) {
	wedged := map[string]bool{"panic failsafe-go": true, "Goexit failsafe-go": true, "Goexit gobreaker": true}
	endings := map[string]func(){"panic": func() { panic("probe") }, "Goexit": runtime.Goexit}
	for ending, end := range endings {
		for name, call := range breakers(t) {
			ok := recovers(call, end)
			t.Logf("%s in a probe: %s recovers: %v", ending, name, ok)
			if ok == wedged[ending+" "+name] {
				t.Errorf("%s in a probe of %s: recovers %v", ending, name, ok)
			}
		}
	}
}
