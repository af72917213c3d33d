package runtime

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
)

// EventKind says what happened.
type EventKind int

// The kinds of event.
const (
	EventStart            EventKind = iota + 1 // a protected call begins
	EventStop                                  // it ended, in whatever way; one for each start
	EventException                             // the callee failed or panicked; comes before the stop
	EventTriggered                             // a layer refused the call, or its part is closed or was never there
	EventLimiterAllowed                        // a token was taken
	EventLimiterDenied                         // no token was left
	EventLimiterError                          // the limiter's store failed
	EventBreakerExecuted                       // a call that a breaker admitted ended
	EventBreakerRejected                       // a breaker refused a call
	EventBreakerInstalled                      // a breaker was created
	EventBreakerState                          // a breaker changed from From to To
	EventPoolCheckout                          // an instance was borrowed
	EventPoolCheckin                           // it came back, or was destroyed
	EventPoolTimeout                           // no instance could be borrowed in time
)

var eventNames = [...]string{
	EventStart:            "protect.execute.start",
	EventStop:             "protect.execute.stop",
	EventException:        "protect.execute.exception",
	EventTriggered:        "protect.triggered",
	EventLimiterAllowed:   "protect.limiter.allowed",
	EventLimiterDenied:    "protect.limiter.denied",
	EventLimiterError:     "protect.limiter.error",
	EventBreakerExecuted:  "protect.breaker.executed",
	EventBreakerRejected:  "protect.breaker.rejected",
	EventBreakerInstalled: "protect.breaker.installed",
	EventBreakerState:     "protect.breaker.state",
	EventPoolCheckout:     "protect.pool.checkout",
	EventPoolCheckin:      "protect.pool.checkin",
	EventPoolTimeout:      "protect.pool.timeout",
}

// String returns the event's name: "protect.execute.stop".
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "protect.event " + strconv.Itoa(int(k))
}

// The layers, as Event.Layer names them.
const (
	LayerLimiter  = "limiter"
	LayerBreaker  = "breaker"
	LayerBulkhead = "bulkhead"
	LayerPool     = "pool"
	LayerTimeout  = "timeout"
)

// Event is one thing that happened. Fields that do not apply to its kind are
// zero.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Key      string        // the policy key of the call
	Name     string        // the part's name
	Layer    string        // limiter, breaker, bulkhead, pool or timeout
	Entity   string        // whose call it is, by the limiter's buckets
	Duration time.Duration // how long the call ran, or the wait lasted
	Outcome  Outcome       // for ends of calls; that of EventBreakerExecuted is by its policy, Slow and Failure included
	Err      error         // why, when it was not a success
	From, To State         // for changes of a breaker's state
	Attrs    []slog.Attr   // what Attr added to the call
}

// Observer receives events. Observe is called synchronously, on the goroutine
// that caused the event or on one that was delivering an earlier event of the
// same part; it must be safe for concurrent use. No lock is held: it may call
// back into the Runtime. One that panics loses that event and harms nothing
// else. One that takes longer than the calls leave it slows them down.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// ObserverFunc adapts a function to [Observer].
type ObserverFunc func(ctx context.Context, e Event)

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, e Event) { f(ctx, e) }

// SlogObserver returns an Observer that logs each event under its name: changes
// of a breaker's state and failures of the callee or of a limiter's store as
// warnings, refusals as info and everything else at debug level. A nil logger
// means slog.Default().
func SlogObserver(logger *slog.Logger) Observer {
	return ObserverFunc(func(ctx context.Context, e Event) {
		l := logger
		if l == nil {
			l = slog.Default()
		}
		level := e.level()
		if l.Enabled(ctx, level) {
			l.LogAttrs(ctx, level, e.Kind.String(), e.attrs()...)
		}
	})
}

func (e Event) level() slog.Level {
	switch e.Kind {
	case EventBreakerState, EventException, EventLimiterError:
		return slog.LevelWarn
	case EventTriggered:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (e Event) attrs() []slog.Attr {
	attrs := make([]slog.Attr, 0, 8+len(e.Attrs))
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	text("key", e.Key)
	text("name", e.Name)
	text("layer", e.Layer)
	text("entity", e.Entity)
	switch e.Kind {
	case EventBreakerState:
		attrs = append(attrs, slog.String("from", e.From.String()), slog.String("to", e.To.String()))
	case EventStop, EventBreakerExecuted:
		attrs = append(attrs, slog.Duration("duration", e.Duration), slog.String("outcome", e.Outcome.String()))
	case EventPoolCheckout, EventPoolCheckin, EventPoolTimeout, EventException:
		attrs = append(attrs, slog.Duration("duration", e.Duration))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	return append(attrs, e.Attrs...)
}

// sink hands events to the observers of a Runtime. A nil sink has none, and
// costs a comparison: ask on() before building an Event on a hot path.
type sink struct {
	observers []Observer
}

func newSink(observers []Observer) *sink {
	if len(observers) == 0 {
		return nil
	}
	return &sink{observers}
}

func (s *sink) on() bool { return s != nil }

// emit calls every observer in turn. Never call it with a lock held.
func (s *sink) emit(ctx context.Context, e Event) {
	if s == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	for _, o := range s.observers {
		observe(ctx, o, e)
	}
}

func observe(ctx context.Context, o Observer, e Event) {
	defer func() { _ = recover() }()
	o.Observe(ctx, e)
}

// eventQueue keeps the events of one part in order.
//
// A part pushes while it holds its own lock, so that the order of the queue is
// the order of what happened, and flushes after it let go. One goroutine
// delivers at a time; another that flushes meanwhile, or an observer that
// calls back into the part, leaves its events to the one that is delivering.
//
// When more is left than observers take in, whoever flushes waits a while, and
// takes the delivery over from the one that has done its share: so nobody
// delivers for ever, and the queue does not grow without bounds. The wait ends
// by itself, as it may be the observer that waits, for its own return. Waits in
// which no event was done with make the next ones shorter.
//
// The zero queue, with a nil sink, drops everything.
type eventQueue struct {
	sink *sink

	mu         sync.Mutex // taken inside a part's lock, never the other way round
	pending    []queuedEvent
	delivering bool
	relief     []chan bool // who waits to deliver, in order; each is told once whether it is to
	delivered  uint64
	inVain     bool // somebody waited for the event being delivered as long as it could
	halved     int  // how often waits are
}

const (
	// backlog is how many events are left to another without a wait, and how
	// many one goroutine delivers before it lets itself be relieved.
	backlog = 64
	// patience is how long a flush waits for each event that is pending, at most.
	patience = time.Millisecond
	// maxHalved keeps a microsecond of that.
	maxHalved = 10
)

type queuedEvent struct {
	ctx   context.Context
	event Event
}

func (q *eventQueue) push(ctx context.Context, e Event) {
	if !q.sink.on() {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	q.mu.Lock()
	q.pending = append(q.pending, queuedEvent{ctx, e})
	q.mu.Unlock()
}

// flush delivers what is pending. It must be called without any lock.
func (q *eventQueue) flush() {
	if !q.sink.on() || !q.begin() {
		return
	}
	done := false
	defer func() {
		if done {
			return
		}
		// An observer ended the goroutine. Pass the rest on from here.
		q.mu.Lock()
		q.delivering = false
		q.mu.Unlock()
		q.flush()
	}()
	for n := 0; ; n++ {
		next, ok := q.next(n)
		if !ok {
			done = true
			return
		}
		q.sink.emit(next.ctx, next.event)
	}
}

// begin reports whether the caller is to deliver.
func (q *eventQueue) begin() bool {
	q.mu.Lock()
	if !q.delivering {
		q.delivering = true
		q.mu.Unlock()
		return true
	}
	behind := len(q.pending)
	if behind <= backlog || q.inVain {
		q.mu.Unlock()
		return false
	}
	wait, delivered := time.Duration(behind)*patience>>q.halved, q.delivered
	turn := make(chan bool, 1)
	q.relief = append(q.relief, turn)
	q.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case mine := <-turn:
		return mine
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.relief, turn)
	if i < 0 {
		return <-turn // told at that moment
	}
	q.relief = slices.Delete(q.relief, i, i+1)
	if delivered == q.delivered && !q.inVain {
		q.inVain, q.halved = true, min(q.halved+2, maxHalved)
	}
	return false
}

// next returns the next event for a goroutine that has delivered n of them, or
// false when that is not to go on: nothing is left, or another takes over.
func (q *eventQueue) next(n int) (e queuedEvent, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n > 0 {
		q.delivered++
		q.inVain, q.halved = false, max(q.halved-1, 0)
	}
	switch {
	case len(q.pending) == 0:
		for _, turn := range q.relief {
			turn <- false
		}
		q.pending, q.relief, q.delivering = nil, nil, false
		return e, false
	case n >= backlog && len(q.relief) > 0:
		q.relief[0] <- true
		q.relief = q.relief[1:]
		return e, false
	}
	e = q.pending[0]
	q.pending = q.pending[1:]
	return e, true
}
