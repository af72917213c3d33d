package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	limiter "github.com/sethvargo/go-limiter"

	protect "github.com/protectgen/protectgen/runtime"
)

func TestEventNames(t *testing.T) {
	want := []string{
		"protect.execute.start", "protect.execute.stop", "protect.execute.exception", "protect.triggered",
		"protect.limiter.allowed", "protect.limiter.denied", "protect.limiter.error",
		"protect.breaker.executed", "protect.breaker.rejected", "protect.breaker.installed", "protect.breaker.state",
		"protect.pool.checkout", "protect.pool.checkin", "protect.pool.timeout",
	}
	for i, name := range want {
		if got := protect.EventKind(i + 1).String(); got != name {
			t.Errorf("kind %d is %s, want %s", i+1, got, name)
		}
	}
}

func TestObserverThatPanicsHarmsNobody(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(
		protect.ObserverFunc(func(context.Context, protect.Event) { panic("bad observer") }),
		&events,
	))
	configure(t, rt, "api", protect.Policy{Breaker: &protect.BreakerPolicy{}})
	if _, err := protect.Execute(t.Context(), rt, "api", succeed); err != nil {
		t.Fatal(err)
	}
	if kinds := events.kinds(); len(kinds) == 0 || kinds[len(kinds)-1] != protect.EventStop {
		t.Errorf("the other observer saw %v", kinds)
	}
}

func TestObserverMayCallBack(t *testing.T) {
	var rt *protect.Runtime
	depth, installed := 0, 0
	rt = newRuntime(t, protect.WithObserver(protect.ObserverFunc(func(ctx context.Context, e protect.Event) {
		if depth++; depth > 20 {
			return
		}
		if e.Kind == protect.EventBreakerInstalled {
			installed++
		}
		_ = rt.Health()
		_ = rt.Configure("from the observer", protect.Policy{Breaker: &protect.BreakerPolicy{Failures: depth}})
		if b, err := rt.Breaker("api"); err == nil {
			_ = b.Status()
		}
		_, _ = protect.Execute(ctx, rt, "api", succeed)
	})))
	configure(t, rt, "api", protect.Policy{
		Limit: &protect.LimitPolicy{Tokens: 1000, Window: time.Hour}, Breaker: &protect.BreakerPolicy{}, Pool: &protect.PoolPolicy{Size: 50},
	})
	if _, err := protect.Execute(t.Context(), rt, "api", fail); !errors.Is(err, errBackend) {
		t.Fatal(err)
	}
	if installed == 0 {
		t.Error("no breaker was announced")
	}
}

func TestEveryRefusalIsTriggeredWithItsLayer(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	hour := time.Hour
	for _, c := range []struct {
		layer  string
		policy protect.Policy
	}{
		{protect.LayerLimiter, protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: hour}}},
		{protect.LayerBreaker, protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: hour}}},
		{protect.LayerBulkhead, protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 1}}},
		{protect.LayerPool, protect.Policy{Pool: &protect.PoolPolicy{Size: 1, Wait: 1}}},
		{protect.LayerTimeout, protect.Policy{Timeout: time.Millisecond}},
	} {
		configure(t, rt, c.layer, c.policy)
		inner := func(ctx context.Context) (string, error) {
			_, _ = protect.Execute(ctx, rt, c.layer, succeed) // meets a full bulkhead or pool
			if c.layer == protect.LayerTimeout {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "", errBackend
		}
		_, _ = protect.Execute(t.Context(), rt, c.layer, inner)
		_, _ = protect.Execute(t.Context(), rt, c.layer, succeed)
		seen := 0
		for _, e := range events.all() {
			if e.Kind == protect.EventTriggered && e.Layer == c.layer && e.Key == c.layer && e.Err != nil {
				seen++
			}
		}
		if seen == 0 {
			t.Errorf("no refusal by the %s was seen", c.layer)
		}
	}
}

func TestPanicIsAFailureWhateverItsValue(t *testing.T) {
	for _, v := range []error{context.Canceled, protect.Neutral(errBackend), &protect.Error{Kind: protect.KindRateLimited}} {
		var events recorder
		rt := newRuntime(t, protect.WithObserver(&events))
		ctx, cancel := context.WithCancel(t.Context())
		_, err := protect.Execute(ctx, rt, "api", func(context.Context) (string, error) {
			cancel()
			panic(v)
		})
		if kind := protect.KindOf(err); kind != protect.KindPanic {
			t.Errorf("panic(%v): got %v, want a panic", v, err)
		}
		want := []protect.EventKind{protect.EventStart, protect.EventException, protect.EventStop}
		if kinds := events.kinds(); !slices.Equal(kinds, want) {
			t.Errorf("panic(%v): got %v, want %v", v, kinds, want)
			continue
		}
		if o := events.all()[2].Outcome; o != protect.OutcomeFailure {
			t.Errorf("panic(%v): a %v", v, o)
		}
	}
}

func TestEveryEventOfACallSaysWhoseItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events recorder
		rt := newRuntime(t, protect.WithObserver(&events))
		configure(t, rt, "api", protect.Policy{
			Limit: &protect.LimitPolicy{Tokens: 10, Window: time.Hour}, Breaker: &protect.BreakerPolicy{Failures: 1}, Pool: &protect.PoolPolicy{Size: 1},
		})
		events.reset()
		use := protect.UseLimiter("calls", "ada")
		_, _ = protect.Execute(t.Context(), rt, "api", func(ctx context.Context) (string, error) {
			_, _ = protect.Execute(ctx, rt, "api", succeed, use) // finds no instance
			return "", errBackend
		}, use)
		_, _ = protect.Execute(t.Context(), rt, "api", succeed, use) // finds the breaker open
		seen := map[protect.EventKind]bool{}
		for _, e := range events.all() {
			if seen[e.Kind] = true; e.Entity != "ada" || e.Key != "api" {
				t.Errorf("%v: key %q, entity %q", e.Kind, e.Key, e.Entity)
			}
		}
		if len(seen) != 11 { // all but limiter denied, limiter error and breaker installed
			t.Errorf("saw %d kinds of event: %v", len(seen), seen)
		}
	})
}

// stingy is a store that gives no token back.
type stingy struct {
	limiter.Store
	burst func(context.Context) error
}

func (s stingy) Burst(ctx context.Context, _ string, _ uint64) error { return s.burst(ctx) }

func TestStoreThatGivesNoTokenBackIsToldOfWithItsCall(t *testing.T) {
	for name, burst := range map[string]func(context.Context) error{
		"fails":   func(context.Context) error { return errBackend },
		"is mute": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var events recorder
				rt := newRuntime(t, protect.WithObserver(&events), protect.WithStores(func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
					s, err := protect.OpenSimStore(name, tokens, window)
					return stingy{s, burst}, err
				}))
				configure(t, rt, "api", protect.Policy{
					Limit: &protect.LimitPolicy{Tokens: 9, Window: time.Hour}, Bulkhead: &protect.BulkheadPolicy{Max: 1},
				})
				leave := hold(rt, "api")
				events.reset()

				_, err := protect.Execute(t.Context(), rt, "api", succeed, protect.UseLimiter("calls", "ada"), protect.Attr("tier", 1))

				wantErr(t, "the call", err, protect.ErrBulkheadFull)
				i := slices.IndexFunc(events.all(), func(e protect.Event) bool { return e.Kind == protect.EventLimiterError })
				if i < 0 {
					t.Fatalf("saw %v", events.kinds())
				}
				e := events.all()[i]
				if e.Key != "api" || e.Entity != "ada" || len(e.Attrs) != 1 || !errors.Is(e.Err, protect.ErrLimiterFailed) {
					t.Errorf("the event is %+v", e)
				}
				wantErr(t, "the call under way", leave(), nil)
			})
		})
	}
}

func TestObserversMayAppendToTheAttributes(t *testing.T) {
	var own [2][]slog.Attr
	observer := func(i int) protect.Observer {
		return protect.ObserverFunc(func(_ context.Context, e protect.Event) { own[i] = append(e.Attrs, slog.Int("observer", i)) })
	}
	rt := newRuntime(t, protect.WithObserver(observer(0), observer(1)))
	_, err := protect.Execute(t.Context(), rt, "api", succeed, protect.Attr("a", 1), protect.Attr("b", 2), protect.Attr("c", 3))
	wantErr(t, "Execute", err, nil)
	for i, attrs := range own {
		if got := attrs[3].Value.Int64(); got != int64(i) {
			t.Errorf("observer %d finds what observer %d appended", i, got)
		}
	}
}

func TestOneStopForEachStart(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	endings := []func(context.Context) (string, error){
		succeed, fail,
		func(context.Context) (string, error) { panic("boom") },
		func(context.Context) (string, error) { goexit(); return "", nil },
	}
	for _, end := range endings {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = protect.Execute(t.Context(), rt, "api", end)
		}()
		<-done
	}
	counts := map[protect.EventKind]int{}
	for _, e := range events.all() {
		counts[e.Kind]++
	}
	if counts[protect.EventStart] != 4 || counts[protect.EventStop] != 4 || counts[protect.EventException] != 3 {
		t.Errorf("counts = %v", counts)
	}
}

func TestSlogObserverLogsWhatHappened(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	rt := newRuntime(t, protect.WithObserver(protect.SlogObserver(logger)))
	configure(t, rt, "api", protect.Policy{
		Breaker: &protect.BreakerPolicy{Failures: 1}, Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour},
	})
	_, _ = protect.Execute(t.Context(), rt, "api", fail, protect.UseLimiter("calls", "ada"), protect.Attr("amount", 100))
	_, _ = protect.Execute(t.Context(), rt, "api", fail)
	for _, want := range []string{
		`level=WARN msg=protect.breaker.state key=api name=api layer=breaker`, `from=closed to=open`,
		`level=WARN msg=protect.execute.exception`, `level=INFO msg=protect.triggered`, `entity=ada`, `amount=100`, `outcome=failure`, fmt.Sprintf("error=%q", errBackend.Error()),
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, out.String())
		}
	}
}

func TestEventsOfOnePartComeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		first := make(chan struct{})
		rt := newRuntime(t, protect.WithObserver(protect.ObserverFunc(func(_ context.Context, e protect.Event) {
			if e.Kind != protect.EventBreakerState {
				return
			}
			seen = append(seen, e.To.String())
			if len(seen) == 1 {
				<-first
			}
		})))
		b, err := rt.NewBreaker("api", protect.BreakerPolicy{})
		if err != nil {
			t.Fatal(err)
		}
		go b.ForceOpen()
		synctest.Wait()

		b.Reset() // while the observer is busy with the change before

		if got := strings.Join(seen, " "); got != "open" {
			t.Errorf("saw %s, want open alone", got)
		}
		close(first)
		synctest.Wait()
		if got := strings.Join(seen, " "); got != "open closed" {
			t.Errorf("saw %s, want open closed", got)
		}
	})
}

// Events of one part are delivered one at a time, so many calls can cause more of
// them than a slow observer takes in.
func TestNoCallDeliversWhatOthersCauseWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told int // by one at a time
		rt := newRuntime(t, protect.WithObserver(protect.ObserverFunc(func(_ context.Context, e protect.Event) {
			time.Sleep(time.Millisecond)
			if e.Kind == protect.EventBreakerExecuted {
				told++
			}
		})))
		configure(t, rt, "api", protect.Policy{Breaker: &protect.BreakerPolicy{}})
		var calls, longest atomic.Int64
		var wg sync.WaitGroup
		end := time.Now().Add(10 * time.Second)
		for range 16 {
			wg.Go(func() {
				for time.Now().Before(end) {
					start := time.Now()
					_, err := protect.Execute(t.Context(), rt, "api", succeed)
					wantErr(t, "a call", err, nil)
					calls.Add(1)
					for d, l := int64(time.Since(start)), longest.Load(); d > l && !longest.CompareAndSwap(l, d); l = longest.Load() {
					}
				}
			})
		}
		wg.Wait()
		if got := time.Duration(longest.Load()); got > 500*time.Millisecond {
			t.Errorf("a call took %v", got)
		}
		if n := int(calls.Load()); told != n {
			t.Errorf("%d calls, and %d of them told", n, told)
		}
	})
}

func TestObserverThatDoesNotReturnHoldsNobodyUpForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *protect.Breaker
		var changes []protect.State
		stuck, inside := make(chan struct{}), make(chan struct{})
		rt := newRuntime(t, protect.WithObserver(protect.ObserverFunc(func(_ context.Context, e protect.Event) {
			if e.Kind != protect.EventBreakerState {
				return
			}
			if changes = append(changes, e.To); len(changes) == 1 {
				defer func() { <-stuck }()
				for range 100 { // more than the queue takes without a word
					b.Reset()
					b.ForceOpen()
				}
				close(inside)
			} else if len(changes) < 100 {
				b.ForceClosed() // from open, or no change
				b.ForceOpen()
			}
		})))
		b, err := rt.NewBreaker("api", protect.BreakerPolicy{})
		wantErr(t, "NewBreaker", err, nil)
		start := time.Now()
		ended := make(chan struct{})
		go func() {
			b.ForceOpen()
			close(ended)
		}()
		<-inside

		for range 100 {
			b.Reset()
			b.ForceOpen()
		}

		close(stuck)
		<-ended
		if len(changes) != 401+2*98 {
			t.Errorf("saw %d changes", len(changes))
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("that took %v", took)
		}
		for i, to := range changes {
			if want := []protect.State{protect.Open, protect.Closed}[i%2]; to != want {
				t.Fatalf("change %d is to %v, want %v", i, to, want)
			}
		}
	})
}

func TestARefusalByAPartThatIsGoneIsTriggeredToo(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	triggered := func(err error, sentinel error, layer string) {
		t.Helper()
		wantErr(t, layer, err, sentinel)
		var layers []string
		for _, e := range events.all() {
			if e.Kind == protect.EventTriggered {
				layers = append(layers, e.Layer)
				if e.Key != "api" || e.Name == "" || e.Err != err {
					t.Errorf("%s: %+v", layer, e)
				}
			}
		}
		if want := strings.Fields(layer); !slices.Equal(layers, want) {
			t.Errorf("refusals by %v, want %v", layers, want)
		}
		events.reset()
	}

	// Parts that never were.
	for layer, opt := range map[string]protect.ExecuteOption{
		protect.LayerLimiter: protect.UseLimiter("none", "ada"),
		protect.LayerBreaker: protect.UseBreaker("none"),
		protect.LayerPool:    protect.UsePool("none"),
	} {
		_, err := protect.Execute(t.Context(), rt, "api", succeed, opt)
		triggered(err, protect.ErrNotFound, layer)
	}

	// A factory that was refused by something else is no refusal of the pool's.
	elsewhere := &protect.Error{Kind: protect.KindRateLimited, Name: "elsewhere"}
	pool, err := protect.NewPool(rt, "pool", protect.PoolPolicy{Size: 1}, protect.Factory[int]{
		New: func(context.Context) (int, error) { return 0, elsewhere },
	})
	if err != nil {
		t.Fatal(err)
	}
	on := func() error {
		_, err := protect.ExecuteOn(t.Context(), rt, "api", pool, func(context.Context, int) (int, error) { return 0, nil })
		return err
	}
	triggered(on(), elsewhere, "")

	// A pool that was closed, and a Runtime that has no layers any more.
	if err := pool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	triggered(on(), protect.ErrClosed, protect.LayerPool)
	if err := rt.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	triggered(on(), protect.ErrClosed, "")
}
