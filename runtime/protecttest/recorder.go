package protecttest

import (
	"context"
	"slices"
	"sync"

	protect "github.com/protectgen/protectgen/runtime"
)

// Recorder is an Observer that remembers: give one to [protect.WithObserver].
// It is safe for concurrent use, and the zero Recorder is ready. An event is
// there once the call that caused it has returned, unless another goroutine was
// delivering an event of the same breaker or pool at that moment: that one
// delivers it then.
type Recorder struct {
	mu     sync.Mutex
	events []protect.Event
}

// Observe remembers e.
func (r *Recorder) Observe(_ context.Context, e protect.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events returns what happened, in order.
func (r *Recorder) Events() []protect.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Of returns the events of some kinds, in order.
func (r *Recorder) Of(kinds ...protect.EventKind) []protect.Event {
	return slices.DeleteFunc(r.Events(), func(e protect.Event) bool { return !slices.Contains(kinds, e.Kind) })
}

// Kinds returns the kind of each event, in order.
func (r *Recorder) Kinds() []protect.EventKind {
	events := r.Events()
	kinds := make([]protect.EventKind, len(events))
	for i, e := range events {
		kinds[i] = e.Kind
	}
	return kinds
}

// Reset forgets everything.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}
