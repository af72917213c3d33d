package protecttest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	protect "github.com/protectgen/protectgen/runtime"
)

// AssertState reports an error unless the breaker called name is in the state.
func AssertState(t testing.TB, rt *protect.Runtime, name string, want protect.State) {
	t.Helper()
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
func AssertBucket(t testing.TB, rt *protect.Runtime, name, entity string, remaining uint64) {
	t.Helper()
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
// or waits for. It is what a test of code that may leak ends with.
func AssertIdle(t testing.TB, rt *protect.Runtime) {
	t.Helper()
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

// list says which names there are.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
