package protecttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	protect "github.com/protectgen/protectgen/runtime"
)

// AssertState reports an error unless the breaker called name is in the state.
// A nil rt means [protect.Default], here and below.
func AssertState(t testing.TB, rt *protect.Runtime, name string, want protect.State) {
	t.Helper()
	rt = orDefault(rt)
	b, err := rt.Breaker(name)
	if err != nil {
		t.Errorf("%v; there are %s", err, list(rt.Breakers()))
		return
	}
	if s := b.Status(); s.State != want {
		t.Errorf("breaker %s is %v, want %v: %d failures, forced %v, next probe in %v",
			name, s.State, want, s.Failures, s.Forced, s.RetryAfter)
	}
}

// AssertBucket reports an error unless the entity has so many tokens left in
// the limiter called name. The empty entity is the bucket of calls without one.
// What [protect.UseLimiter] counts for an operation under a key with a limit is
// in buckets of their own, which this does not see.
func AssertBucket(t testing.TB, rt *protect.Runtime, name, entity string, remaining uint64) {
	t.Helper()
	rt = orDefault(rt)
	l, err := rt.Limiter(name)
	if err != nil {
		t.Errorf("%v; there are %s", err, list(rt.Limiters()))
		return
	}
	s, err := l.Status(context.Background(), entity)
	if err != nil {
		t.Errorf("limiter %s: %v", name, err)
		return
	}
	if s.Remaining != remaining {
		t.Errorf("limiter %s has %d of %d tokens left for %q, want %d", name, s.Remaining, s.Limit, entity, remaining)
	}
}

// AssertIdle reports an error for each pool and bulkhead that somebody is in
// or waits for. It is what a test of code that may leak ends with. Of a Runtime
// that is closed it reports whether anything keeps that from its end.
func AssertIdle(t testing.TB, rt *protect.Runtime) {
	t.Helper()
	rt = orDefault(rt)
	if _, err := rt.Status(""); errors.Is(err, protect.ErrClosed) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if rt.Close(ctx) == context.Canceled { // as it is; what instances report when they are closed comes joined
			t.Error("the Runtime is closed and still busy: a call, an instance or a store has not come to its end")
		}
		return
	}
	busy := map[string]bool{}
	note := func(what, name string, active, waiting int) {
		if active != 0 || waiting != 0 {
			busy[fmt.Sprintf("%s %s is busy: %d active, %d waiting", what, name, active, waiting)] = true
		}
	}
	for name, s := range rt.Health().Pools {
		note("pool", name, s.Active, s.Waiting)
	}
	for _, key := range rt.Keys() {
		// A limiter whose store fails is no concern of this, nor is a key that
		// is gone by now.
		if s, _ := rt.Status(key); s.Bulkhead != nil {
			note("bulkhead", s.Bulkhead.Name, s.Bulkhead.Active, s.Bulkhead.Waiting)
		}
	}
	messages := make([]string, 0, len(busy))
	for m := range busy {
		messages = append(messages, m)
	}
	slices.Sort(messages)
	for _, m := range messages {
		t.Error(m)
	}
}

func orDefault(rt *protect.Runtime) *protect.Runtime {
	if rt == nil {
		return protect.Default()
	}
	return rt
}

// list says which names there are.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
