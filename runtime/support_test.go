package runtime_test

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	limiter "github.com/sethvargo/go-limiter"

	protect "github.com/protectgen/protectgen/runtime"
)

func goexit() { runtime.Goexit() }

// recorder is an Observer that remembers.
type recorder struct {
	mu     sync.Mutex
	events []protect.Event
}

func (r *recorder) Observe(_ context.Context, e protect.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

func (r *recorder) all() []protect.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *recorder) kinds() []protect.EventKind {
	var kinds []protect.EventKind
	for _, e := range r.all() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func failingStores(err error) func(string, uint64, time.Duration) (limiter.Store, error) {
	return func(string, uint64, time.Duration) (limiter.Store, error) { return nil, err }
}
