package runtime_test

import (
	"context"
	"errors"
	"fmt"
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

// weather is what generated code protects in these tests.
type weather interface {
	Forecast(ctx context.Context, city string) (string, error)
}

type station struct{ err error }

func (s *station) Forecast(_ context.Context, city string) (string, error) {
	return city + ": sunny", s.err
}

// forecast is the emitted shape of a method.
func forecast(ctx context.Context, g *protect.Guard[weather], user, city string) (r0 string, err error) {
	err = g.Do(ctx, user, func(ctx context.Context, next weather) (err error) {
		r0, err = next.Forecast(ctx, city)
		return err
	})
	return r0, err
}

func guard(t *testing.T, rt *protect.Runtime, next weather, spec protect.Spec) *protect.Guard[weather] {
	t.Helper()
	guards, err := protect.NewGuards(rt, next, spec)
	if err != nil {
		t.Fatal(err)
	}
	return guards[0]
}

func TestEmittedCallAllocatesNothing(t *testing.T) {
	rt := newRuntime(t)
	ctx := t.Context()
	limited := protect.Policy{
		Limit:    &protect.LimitPolicy{Tokens: 1 << 40, Window: time.Hour},
		Breaker:  &protect.BreakerPolicy{},
		Bulkhead: &protect.BulkheadPolicy{Max: 10},
	}
	plain := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Plain", Policy: limited})
	retried := limited
	retried.Retry = &protect.RetryPolicy{Attempts: 3}
	retrying := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Retried", Policy: retried})
	pool, err := protect.NewPool(rt, "w.W", protect.PoolPolicy{Size: 1}, protect.Factory[weather]{
		New: func(context.Context) (weather, error) { return &station{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	pooled, err := protect.NewPooledGuards(rt, pool, protect.Spec{Key: "w.W.Pooled", Policy: limited})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		guard *protect.Guard[weather]
		most  float64
	}{
		{"limiter, breaker and bulkhead", plain, 0},
		{"with retry", retrying, 0},
		{"with a pool", pooled[0], 1},
	} {
		if got := testing.AllocsPerRun(1000, func() {
			if _, err := forecast(ctx, c.guard, "ada", ""); err != nil {
				t.Fatal(err)
			}
		}); got > c.most { // the callee allocates nothing for a city without a name
			t.Errorf("%s: %v allocations a call, want at most %v", c.name, got, c.most)
		}
	}
	ada := &struct{ name string }{"ada"}
	if got := testing.AllocsPerRun(1000, func() {
		if err := keyed(ctx, plain, ada); err != nil {
			t.Fatal(err)
		}
	}); got > 0 {
		t.Errorf("with a key that may panic: %v allocations a call, want none", got)
	}
}

func TestTwoWrappersShareTheirParts(t *testing.T) {
	rt := newRuntime(t)
	spec := protect.Spec{
		Key:     "w.W.Forecast",
		Policy:  protect.Policy{Limit: &protect.LimitPolicy{Tokens: 2, Window: time.Hour}, Breaker: &protect.BreakerPolicy{}},
		Breaker: "w.W",
	}
	a, b := guard(t, rt, &station{}, spec), guard(t, rt, &station{}, spec)
	eu := guard(t, rt.Scope("eu"), &station{}, spec)
	for _, g := range []*protect.Guard[weather]{a, b} {
		if _, err := forecast(t.Context(), g, "ada", "Oslo"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := forecast(t.Context(), a, "ada", "Oslo")
	wantErr(t, "third call of two wrappers", err, protect.ErrRateLimited)
	if _, err := forecast(t.Context(), eu, "ada", "Oslo"); err != nil {
		t.Errorf("the scope shares the bucket: %v", err)
	}
	if got, want := rt.Breakers(), []string{"eu/w.W", "w.W"}; !slices.Equal(got, want) {
		t.Errorf("breakers = %v, want %v", got, want)
	}
	if got, want := rt.Scope("eu").Limiters(), []string{"w.W.Forecast"}; !slices.Equal(got, want) {
		t.Errorf("the scope's limiters = %v, want %v", got, want)
	}

	spec.Policy.Limit = &protect.LimitPolicy{Tokens: 3, Window: time.Hour}
	_, err = protect.NewGuards[weather](rt, &station{}, spec)
	wantErr(t, "other settings under one key", err, protect.ErrInvalid)
}

// Two packages may have one name, and their interfaces too. What they protect
// is not the same.
func TestInterfacesOfTwoPackagesDoNotShareAName(t *testing.T) {
	rt := newRuntime(t)
	spec := func(method string) protect.Spec {
		return protect.Spec{Key: "v1.Client." + method, Breaker: "v1.Client", Policy: protect.Policy{Breaker: &protect.BreakerPolicy{}}}
	}
	guards := func(rt *protect.Runtime, method string) error {
		_, err := protect.NewGuards[weather](rt, &station{}, spec(method))
		return err
	}
	foreign := func(rt *protect.Runtime, method string) error {
		_, err := protect.NewGuards[fmt.Stringer](rt, time.Second, spec(method))
		return err
	}
	if err := guards(rt, "Get"); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"Get", "Put"} {
		err := foreign(rt, method)
		wantErr(t, method+" of another package's interface", err, protect.ErrInvalid)
		if !strings.Contains(err.Error(), "package github.com/protectgen/protectgen/runtime") || !strings.Contains(err.Error(), "of fmt") {
			t.Errorf("%v: want both packages", err)
		}
	}
	if got, want := rt.Keys(), []string{"v1.Client.Get"}; !slices.Equal(got, want) {
		t.Errorf("keys = %v, want %v", got, want)
	}
	if err := guards(rt, "Put"); err != nil {
		t.Errorf("the package's own: %v", err)
	}

	eu := rt.Scope("eu")
	if err := foreign(eu, "Get"); err != nil {
		t.Errorf("in a scope: %v", err)
	}
	if err := eu.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := guards(rt.Scope("eu"), "Get"); err != nil {
		t.Errorf("in a scope that was closed and made again: %v", err)
	}
}

// Whatever two wrappers of one key may differ in is refused, and what is only
// written differently is not.
func TestWrappersOfOneKeyAgreeOnEverySetting(t *testing.T) {
	spec := func() protect.Spec {
		return protect.Spec{Key: "w.W.Forecast", Bulkhead: "w.W", Policy: protect.Policy{
			Timeout:  time.Second,
			Retry:    &protect.RetryPolicy{Attempts: 3},
			Limit:    &protect.LimitPolicy{Tokens: 2, Window: time.Hour},
			Breaker:  &protect.BreakerPolicy{Needs: []string{"db"}},
			Bulkhead: &protect.BulkheadPolicy{Max: 1},
			Pool:     &protect.PoolPolicy{Size: 1},
		}}
	}
	for name, change := range map[string]func(*protect.Spec){
		"timeout":      func(s *protect.Spec) { s.Policy.Timeout = 0 },
		"retry":        func(s *protect.Spec) { s.Policy.Retry.Attempts = 4 },
		"no retry":     func(s *protect.Spec) { s.Policy.Retry = nil },
		"limit":        func(s *protect.Spec) { s.Policy.Limit.OnError = protect.Allow },
		"needs":        func(s *protect.Spec) { s.Policy.Breaker.Needs = nil },
		"bulkhead":     func(s *protect.Spec) { s.Policy.Bulkhead.Wait = 1 },
		"pool":         func(s *protect.Spec) { s.Policy.Pool.Size = 2 },
		"shared parts": func(s *protect.Spec) { s.Limiter = "w.W" },
	} {
		rt := newRuntime(t)
		guard(t, rt, &station{}, spec())
		other := spec()
		change(&other)
		if _, err := protect.NewGuards[weather](rt, &station{}, other); !errors.Is(err, protect.ErrInvalid) {
			t.Errorf("another %s: got %v, want %v", name, err, protect.ErrInvalid)
		}
		same := spec()
		same.Policy.Retry.Backoff, same.Policy.Retry.Max = 100*time.Millisecond, 2*time.Second
		same.Policy.Breaker.Failures, same.Policy.Pool.Wait = 5, 5*time.Second
		if _, err := protect.NewGuards[weather](rt, &station{}, same); err != nil {
			t.Errorf("defaults written out: %v", err)
		}
		// Under another key the shared bulkhead has to agree all the same.
		other = protect.Spec{Key: "w.W.Alerts", Bulkhead: "w.W", Policy: protect.Policy{Bulkhead: &protect.BulkheadPolicy{Max: 2}}}
		if _, err := protect.NewGuards[weather](rt, &station{}, other); !errors.Is(err, protect.ErrInvalid) {
			t.Errorf("another bulkhead of that name: got %v, want %v", err, protect.ErrInvalid)
		}
	}
}

func TestMethodsThatShareABreakerJudgeForThemselves(t *testing.T) {
	rt := newRuntime(t)
	spec := func(key string, judge func(error) protect.Outcome) protect.Spec {
		return protect.Spec{Key: key, Breaker: "shared", Policy: protect.Policy{
			Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: time.Hour, Failure: judge},
		}}
	}
	guards, err := protect.NewGuards[weather](rt, &station{err: errBackend},
		spec("w.W.Strict", nil), spec("w.W.Lenient", protect.Ignore(nil, protect.Is(errBackend))))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := forecast(t.Context(), guards[1], "", "Oslo")
		wantErr(t, "what Lenient ignores", err, errBackend)
	}
	_, err = forecast(t.Context(), guards[0], "", "Oslo")
	wantErr(t, "what counts for Strict", err, errBackend)
	_, err = forecast(t.Context(), guards[1], "", "Oslo")
	wantErr(t, "their breaker", err, protect.ErrBreakerOpen)
}

func TestGuardsAreMadeAllOrNone(t *testing.T) {
	rt := newRuntime(t)
	if _, err := rt.NewBreaker("taken", protect.BreakerPolicy{Failures: 9}); err != nil {
		t.Fatal(err)
	}
	_, err := protect.NewGuards[weather](rt, &station{},
		protect.Spec{Key: "w.W.A", Policy: protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}}},
		protect.Spec{Key: "w.W.B", Policy: protect.Policy{Breaker: &protect.BreakerPolicy{}}, Breaker: "taken"},
	)
	wantErr(t, "a taken name", err, protect.ErrInvalid)
	if len(rt.Keys()) != 0 || len(rt.Limiters()) != 0 || len(rt.Breakers()) != 1 {
		t.Errorf("left behind: keys %v, limiters %v, breakers %v", rt.Keys(), rt.Limiters(), rt.Breakers())
	}
	_, err = protect.NewGuards[weather](rt, nil)
	wantErr(t, "nil next", err, protect.ErrInvalid)
	_, err = protect.NewGuards[weather](rt, &station{}, protect.Spec{Key: "w.W.A", Policy: protect.Policy{Limit: &protect.LimitPolicy{}}})
	wantErr(t, "invalid policy", err, protect.ErrInvalid)
}

func TestConfigureHoldsFromTheNextCallOn(t *testing.T) {
	rt := newRuntime(t)
	g := guard(t, rt, &station{err: errBackend}, protect.Spec{
		Key:     "w.W.Forecast",
		Policy:  protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 3, Recovery: time.Hour}},
		Breaker: "w.W",
	})
	for range 2 {
		_, _ = forecast(t.Context(), g, "", "Oslo")
	}

	// The breaker's settings are unchanged: it keeps its two failures.
	configure(t, rt, "w.W.Forecast", protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 1, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{Failures: 3, Recovery: time.Hour},
	})
	_, err := forecast(t.Context(), g, "", "Oslo")
	wantErr(t, "third failure", err, errBackend)
	_, err = forecast(t.Context(), g, "", "Oslo")
	wantErr(t, "fourth call", err, protect.ErrBreakerOpen)

	// Another setting makes a breaker of the key's own; the shared one stays.
	configure(t, rt, "w.W.Forecast", protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 7}})
	if got, want := rt.Breakers(), []string{"w.W", "w.W.Forecast"}; !slices.Equal(got, want) {
		t.Errorf("breakers = %v, want %v", got, want)
	}
	if got := rt.Limiters(); len(got) != 0 {
		t.Errorf("limiters = %v: the layer is gone from the policy", got)
	}
	_, err = forecast(t.Context(), g, "", "Oslo")
	wantErr(t, "with a fresh breaker", err, errBackend)

	// Without a configured policy the directives hold again.
	rt.Remove("w.W.Forecast")
	if p, _ := rt.Policy("w.W.Forecast"); p.Breaker.Failures != 3 {
		t.Errorf("policy = %+v", p.Breaker)
	}
	_, err = forecast(t.Context(), g, "", "Oslo")
	wantErr(t, "the shared breaker, as it was", err, protect.ErrBreakerOpen)
	if got, want := rt.Breakers(), []string{"w.W"}; !slices.Equal(got, want) {
		t.Errorf("breakers = %v, want %v", got, want)
	}
}

// A command is no state that was learned: it holds until the next one.
func TestCommandOutlastsAChangeOfTheBreakersSettings(t *testing.T) {
	for _, c := range []struct {
		name    string
		command func(*protect.Breaker)
		want    protect.BreakerStatus
		refused error
		changes []string
	}{
		{"ForceOpen", (*protect.Breaker).ForceOpen, protect.BreakerStatus{Name: "api", State: protect.Open, Forced: true}, protect.ErrBreakerOpen, []string{"closed to open"}},
		{"ForceClosed", (*protect.Breaker).ForceClosed, protect.BreakerStatus{Name: "api", Forced: true}, nil, nil},
		{"Reset", (*protect.Breaker).Reset, protect.BreakerStatus{Name: "api"}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var events recorder
			rt := newRuntime(t, protect.WithObserver(&events))
			policy := func(failures int) protect.Policy {
				return protect.Policy{Breaker: &protect.BreakerPolicy{Failures: failures}}
			}
			configure(t, rt, "api", policy(1))
			b, err := rt.Breaker("api")
			wantErr(t, "Breaker", err, nil)
			c.command(b)
			events.reset()

			configure(t, rt, "api", policy(2))

			var changes []string
			for _, e := range events.all() {
				if e.Kind == protect.EventBreakerState {
					changes = append(changes, e.From.String()+" to "+e.To.String())
				}
			}
			if !slices.Equal(changes, c.changes) {
				t.Errorf("the new breaker went %v, want %v", changes, c.changes)
			}
			s, err := rt.Status("api")
			wantErr(t, "Status", err, nil)
			if *s.Breaker != c.want {
				t.Errorf("breaker = %+v, want %+v", *s.Breaker, c.want)
			}
			_, err = protect.Execute(t.Context(), rt, "api", succeed)
			wantErr(t, "a call", err, c.refused)

			b, err = rt.Breaker("api")
			wantErr(t, "Breaker", err, nil)
			b.Reset()
			_, err = protect.Execute(t.Context(), rt, "api", succeed)
			wantErr(t, "after Reset", err, nil)
		})
	}
}

func TestConfigureBeforeTheWrapper(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "w.W.Forecast", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}})
	g := guard(t, rt, &station{}, protect.Spec{
		Key:    "w.W.Forecast",
		Policy: protect.Policy{Limit: &protect.LimitPolicy{Tokens: 100, Window: time.Hour}},
	})
	_, _ = forecast(t.Context(), g, "", "Oslo")
	_, err := forecast(t.Context(), g, "", "Oslo")
	wantErr(t, "the configured limit", err, protect.ErrRateLimited)
}

func TestConfigureKeepsTheFunctionsOfTheDirectives(t *testing.T) {
	rt := newRuntime(t)
	g := guard(t, rt, &station{err: errBackend}, protect.Spec{
		Key: "w.W.Forecast",
		Policy: protect.Policy{
			Breaker: &protect.BreakerPolicy{Failures: 5, Failure: protect.Ignore(nil, protect.Is(errBackend))},
			Retry:   &protect.RetryPolicy{Attempts: 9, When: func(error) bool { return false }},
			Limit:   &protect.LimitPolicy{Tokens: 100, Window: time.Hour, Scale: func() float64 { return 0.5 }},
		},
	})
	configure(t, rt, "w.W.Forecast", protect.Policy{
		Breaker: &protect.BreakerPolicy{Failures: 1},
		Retry:   &protect.RetryPolicy{Attempts: 2},
		Limit:   &protect.LimitPolicy{Tokens: 6, Window: time.Hour},
	})
	for range 3 {
		_, err := forecast(t.Context(), g, "", "Oslo")
		wantErr(t, "an ignored error", err, errBackend)
	}
	_, err := forecast(t.Context(), g, "", "Oslo")
	wantErr(t, "half of the limit, and no retries", err, protect.ErrRateLimited)
}

// Functions are no settings: changing them keeps the layers' state, and they
// hold all the same.
func TestFunctionsOfTheLatestConfigureHold(t *testing.T) {
	rt := newRuntime(t)
	// A policy whose every function says the same: n attempts are worth it, n
	// tenths of the limit hold, and failures count or not.
	policy := func(tenths float64, again bool, o protect.Outcome) protect.Policy {
		return protect.Policy{
			Limit:   &protect.LimitPolicy{Tokens: 10, Window: time.Hour, Scale: func() float64 { return tenths / 10 }},
			Retry:   &protect.RetryPolicy{Attempts: 2, Backoff: 1, When: func(error) bool { return again }},
			Breaker: &protect.BreakerPolicy{Failures: 4, Failure: func(error) protect.Outcome { return o }},
		}
	}
	call := func() int {
		attempts := 0
		_, _ = protect.Execute(t.Context(), rt, "api", func(context.Context) (int, error) { attempts++; return 0, errBackend })
		return attempts
	}
	want := func(what string, attempts, failures int, limit, used uint64) {
		t.Helper()
		if n := call(); n != attempts {
			t.Errorf("%s: %d attempts, want %d", what, n, attempts)
		}
		s, err := rt.Status("api")
		wantErr(t, "Status", err, nil)
		if s.Breaker.Failures != failures || s.Limiter.Limit != limit || s.Limiter.Used != used {
			t.Errorf("%s: %d failures, %d of %d tokens used, want %d, %d of %d",
				what, s.Breaker.Failures, s.Limiter.Used, s.Limiter.Limit, failures, used, limit)
		}
	}

	configure(t, rt, "api", policy(10, true, protect.OutcomeFailure))
	want("at first", 2, 2, 10, 2)
	configure(t, rt, "api", policy(5, false, protect.OutcomeNeutral))
	want("with other functions", 1, 2, 5, 3)
	none := policy(0, false, 0)
	none.Limit.Scale, none.Retry.When, none.Breaker.Failure = nil, nil, nil
	configure(t, rt, "api", none)
	want("without functions", 2, 4, 10, 5)
	configure(t, rt, "api", policy(0, true, protect.OutcomeFailure))
	want("scaled to nothing", 0, 4, 0, 5)
}

func TestMethodsThatShareALimiterScaleForThemselves(t *testing.T) {
	rt := newRuntime(t)
	spec := func(key string, scale func() float64) protect.Spec {
		return protect.Spec{Key: key, Limiter: "shared", Policy: protect.Policy{
			Limit: &protect.LimitPolicy{Tokens: 4, Window: time.Hour, Scale: scale},
		}}
	}
	half := guard(t, rt, &station{}, spec("w.W.Half", func() float64 { return 0.5 }))
	whole := guard(t, rt, &station{}, spec("w.W.Whole", nil))
	for _, c := range []struct {
		g    *protect.Guard[weather]
		want error
	}{{whole, nil}, {half, nil}, {half, protect.ErrRateLimited}, {whole, nil}, {whole, nil}, {whole, protect.ErrRateLimited}} {
		_, err := forecast(t.Context(), c.g, "ada", "Oslo")
		if !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
}

func TestConfigureRefusesWhatCannotHold(t *testing.T) {
	rt := newRuntime(t)
	err := rt.Configure("api", protect.Policy{
		Timeout: -1,
		Limit:   &protect.LimitPolicy{},
		Breaker: &protect.BreakerPolicy{Failures: -1},
	})
	wantErr(t, "invalid", err, protect.ErrInvalid)
	if _, ok := rt.Policy("api"); ok {
		t.Error("part of an invalid policy was applied")
	}
	wantErr(t, "no key", rt.Configure("", protect.Policy{}), protect.ErrInvalid)
}

// A part that a change of the policy closes must not refuse a call that was
// about to use it.
func TestPoliciesChangeWhileCallsRun(t *testing.T) {
	rt := newRuntime(t)
	g := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast"})
	stop := make(chan struct{})
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := forecast(t.Context(), g, "ada", "Oslo"); err != nil {
					t.Errorf("a call was refused: %v", err)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := range 300 {
		configure(t, rt, "w.W.Forecast", protect.Policy{
			Limit:    &protect.LimitPolicy{Tokens: 1 << 40, Window: time.Duration(i%3+1) * time.Hour},
			Breaker:  &protect.BreakerPolicy{Failures: i%5 + 1},
			Bulkhead: &protect.BulkheadPolicy{Max: 10 + i%2},
			Pool:     &protect.PoolPolicy{Size: 10 + i%3},
		})
		if i%7 == 0 {
			rt.Remove("w.W.Forecast")
		}
		_ = rt.Keys()
		_, _ = rt.Status("w.W.Forecast")
		_ = rt.Health()
	}
	close(stop)
	wg.Wait()
	if calls.Load() == 0 {
		t.Error("no call was made meanwhile")
	}
}

func TestCloseRefusesDrainsAndFreesEverything(t *testing.T) {
	rt := protect.New()
	var closed atomic.Int64
	pool, err := protect.NewPool(rt, "w.W", protect.PoolPolicy{Size: 1}, protect.Factory[weather]{
		New:   func(context.Context) (weather, error) { return &station{}, nil },
		Close: func(weather) error { closed.Add(1); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	guards, err := protect.NewPooledGuards(rt, pool, protect.Spec{Key: "w.W.Forecast"})
	if err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	result := make(chan error)
	go func() {
		result <- guards[0].Do(context.Background(), "", func(context.Context, weather) error {
			close(inside)
			<-leave
			return nil
		})
	}()
	<-inside

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wantErr(t, "Close with a call under way", rt.Close(ctx), context.DeadlineExceeded)
	_, err = forecast(t.Context(), guards[0], "", "Oslo")
	wantErr(t, "a new call", err, protect.ErrClosed)
	if closed.Load() != 0 {
		t.Error("the instance was closed under its borrower")
	}
	close(leave)
	if err := <-result; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := rt.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	if closed.Load() != 1 {
		t.Errorf("the instance was closed %d times", closed.Load())
	}

	_, err = protect.Execute(t.Context(), rt, "api", succeed)
	wantErr(t, "Execute", err, protect.ErrClosed)
	_, err = rt.NewBreaker("b", protect.BreakerPolicy{})
	wantErr(t, "NewBreaker", err, protect.ErrClosed)
	_, err = rt.NewLimiter("l", protect.LimitPolicy{Tokens: 1, Window: time.Second})
	wantErr(t, "NewLimiter", err, protect.ErrClosed)
	_, err = protect.NewPool(rt, "p", protect.PoolPolicy{}, protect.Factory[int]{New: func(context.Context) (int, error) { return 0, nil }})
	wantErr(t, "NewPool", err, protect.ErrClosed)
	_, err = protect.NewGuards[weather](rt, &station{}, protect.Spec{Key: "k"})
	wantErr(t, "NewGuards", err, protect.ErrClosed)
	wantErr(t, "Configure", rt.Configure("api", protect.Policy{}), protect.ErrClosed)
	if h := rt.Health(); h.Healthy {
		t.Error("a closed runtime is healthy")
	}
}

func TestScopeClosesItsOwnPartsOnly(t *testing.T) {
	rt := newRuntime(t)
	eu := rt.Scope("eu")
	for _, r := range []*protect.Runtime{rt, eu, eu.Scope("west")} {
		if _, err := r.NewBreaker("b", protect.BreakerPolicy{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := eu.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := rt.Breakers(), []string{"b"}; !slices.Equal(got, want) {
		t.Errorf("breakers = %v, want %v", got, want)
	}
	_, err := protect.Execute(t.Context(), eu, "api", succeed)
	wantErr(t, "a call in the closed scope", err, protect.ErrClosed)
	if _, err := protect.Execute(t.Context(), rt, "api", succeed); err != nil {
		t.Errorf("a call outside: %v", err)
	}
	if _, err := rt.Scope("eu").NewBreaker("b", protect.BreakerPolicy{Failures: 2}); err != nil {
		t.Errorf("a new scope of that name: %v", err)
	}
}

// A scope lists and finds its parts under their own names; what they say of
// themselves has the scope's name in front, for whoever sees the whole Runtime.
func TestScopeIsInTheNamesThatPartsGive(t *testing.T) {
	var events recorder
	rt := newRuntime(t, protect.WithObserver(&events))
	west := rt.Scope("eu").Scope("west")
	configure(t, west, "api", protect.Policy{
		Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}, Breaker: &protect.BreakerPolicy{},
		Bulkhead: &protect.BulkheadPolicy{Max: 1}, Pool: &protect.PoolPolicy{},
	})
	_, err := protect.Execute(t.Context(), west, "api", succeed)
	wantErr(t, "Execute", err, nil)
	_, err = protect.Execute(t.Context(), west, "api", succeed)
	refusal, _ := errors.AsType[*protect.Error](err)
	s, err := west.Status("api")
	wantErr(t, "Status", err, nil)
	const whole = "eu/west/api"
	for _, name := range []string{s.Key, s.Limiter.Name, s.Breaker.Name, s.Bulkhead.Name, s.Pool.Name, refusal.Key, refusal.Name} {
		if name != whole {
			t.Errorf("got %s, want %s", name, whole)
		}
	}
	for _, e := range events.all() {
		if e.Key != whole && e.Kind != protect.EventBreakerInstalled || e.Name != whole && e.Name != "" {
			t.Errorf("%v: key %q, name %q", e.Kind, e.Key, e.Name)
		}
	}
	for view, want := range map[*protect.Runtime]string{west: "api", rt.Scope("eu"): "west/api", rt.Scope("eu/west"): "api", rt: whole} {
		for _, names := range [][]string{view.Keys(), view.Limiters(), view.Breakers(), view.Pools()} {
			if !slices.Equal(names, []string{want}) {
				t.Errorf("listed %v, want %s", names, want)
			}
		}
		if h := view.Health(); len(h.Breakers) != 1 || h.Pools[want].Name != whole {
			t.Errorf("health %+v, want it of %s", h, want)
		}
	}
}

func TestPartsAreFoundUnderTheirNames(t *testing.T) {
	rt := newRuntime(t)
	b, err := rt.NewBreaker("b", protect.BreakerPolicy{Failures: 2, Recovery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	b.ForceOpen()
	same, err := rt.NewBreaker("b", protect.BreakerPolicy{Failures: 2, Recovery: time.Hour, Probes: 1})
	if err != nil || same != b || same.Status().State != protect.Open {
		t.Errorf("the same settings: %v, %v", same, err)
	}
	_, err = rt.NewBreaker("b", protect.BreakerPolicy{Failures: 3})
	wantErr(t, "other settings", err, protect.ErrInvalid)
	_, err = rt.Breaker("none")
	wantErr(t, "unknown breaker", err, protect.ErrNotFound)
	_, err = rt.Limiter("none")
	wantErr(t, "unknown limiter", err, protect.ErrNotFound)
	_, err = protect.PoolOf[int](rt, "none")
	wantErr(t, "unknown pool", err, protect.ErrNotFound)
	_, err = rt.Status("none")
	wantErr(t, "unknown key", err, protect.ErrNotFound)

	factory := protect.Factory[int]{New: func(context.Context) (int, error) { return 1, nil }}
	pool, err := protect.NewPool(rt, "p", protect.PoolPolicy{}, factory)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := protect.PoolOf[int](rt, "p"); got != pool || err != nil {
		t.Errorf("PoolOf = %v, %v", got, err)
	}
	_, err = protect.PoolOf[string](rt, "p")
	wantErr(t, "another type", err, protect.ErrInvalid)
	_, err = protect.NewPool(rt, "p", protect.PoolPolicy{}, factory)
	wantErr(t, "a second pool", err, protect.ErrInvalid)
	if err := pool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := protect.NewPool(rt, "p", protect.PoolPolicy{}, factory); err != nil {
		t.Errorf("the name of a closed pool: %v", err)
	}
}

func TestHealthNamesWhatIsWrong(t *testing.T) {
	rt := newRuntime(t)
	b, _ := rt.NewBreaker("db", protect.BreakerPolicy{})
	_, _ = rt.NewBreaker("cache", protect.BreakerPolicy{})
	configure(t, rt, "api", protect.Policy{Pool: &protect.PoolPolicy{Size: 3}})
	h := rt.Health()
	if !h.Healthy || h.Policies != 1 || len(h.Breakers) != 2 || h.Pools["api"].Size != 3 {
		t.Errorf("health = %+v", h)
	}
	b.ForceOpen()
	if h := rt.Health(); h.Healthy || !slices.Equal(h.Problems, []string{"breaker db is open"}) {
		t.Errorf("health = %+v", h)
	}
}

func TestStatusTellsTheRestWhenAStoreDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t, protect.WithStores(func(string, uint64, time.Duration) (limiter.Store, error) { return slowStore{}, nil }))
		configure(t, rt, "api", protect.Policy{
			Limit: &protect.LimitPolicy{Tokens: 1, Window: time.Hour}, Breaker: &protect.BreakerPolicy{}, Pool: &protect.PoolPolicy{},
		})
		start := time.Now()
		s, err := rt.Status("api")
		wantErr(t, "Status", err, protect.ErrLimiterFailed)
		if asked := time.Since(start); asked != time.Second {
			t.Errorf("answered after %v", asked)
		}
		if s.Limiter != nil || s.Breaker == nil || s.Pool == nil || s.Policy.Limit == nil {
			t.Errorf("got %+v, want all but the limiter", s)
		}
	})
}

func TestWithGuardsAnotherInstanceWithTheSameParts(t *testing.T) {
	rt := newRuntime(t)
	g := guard(t, rt, &station{}, protect.Spec{
		Key: "w.W.Forecast", Policy: protect.Policy{Limit: &protect.LimitPolicy{Tokens: 2, Window: time.Hour}},
	})
	other := g.With(&station{err: errBackend})
	if _, err := forecast(t.Context(), g, "", "Oslo"); err != nil {
		t.Fatal(err)
	}
	_, err := forecast(t.Context(), other, "", "Oslo")
	wantErr(t, "the other instance", err, errBackend)
	_, err = forecast(t.Context(), other, "", "Oslo")
	wantErr(t, "the same bucket", err, protect.ErrRateLimited)
}

func TestStoresAreOpenedOncePerLimiterAndClosed(t *testing.T) {
	failing := errors.New("no store today")
	rt := newRuntime(t, protect.WithStores(failingStores(failing)))
	_, err := rt.NewLimiter("l", protect.LimitPolicy{Tokens: 1, Window: time.Second})
	wantErr(t, "a store that does not open", err, failing)
	if got := rt.Limiters(); len(got) != 0 {
		t.Errorf("limiters = %v", got)
	}
}

func BenchmarkEmittedCall(b *testing.B) {
	rt := protect.New()
	defer func() { _ = rt.Close(context.Background()) }()
	guards, err := protect.NewGuards[weather](rt, &station{}, protect.Spec{Key: "w.W.Forecast", Policy: protect.Policy{
		Limit: &protect.LimitPolicy{Tokens: 1 << 40, Window: time.Hour}, Breaker: &protect.BreakerPolicy{},
	}})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := forecast(ctx, guards[0], "ada", ""); err != nil {
			b.Fatal(err)
		}
	}
}

// keyed is the emitted shape of a method whose key may panic.
func keyed(ctx context.Context, g *protect.Guard[weather], user *struct{ name string }) error {
	return g.DoKeyed(ctx, func() string { return user.name }, func(ctx context.Context, next weather) error {
		_, err := next.Forecast(ctx, "")
		return err
	})
}

func TestAKeyThatPanicsIsAPanicOfTheCall(t *testing.T) {
	// given a limit by user, under a breaker that the first failure opens
	seen := &recorder{}
	rt := newRuntime(t, protect.WithObserver(seen))
	g := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast", Policy: protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 1, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{Failures: 1},
	}})

	// when there is no user to ask
	seen.reset()
	err := keyed(t.Context(), g, nil)

	// then the call failed, with the stack that leads to the key
	failure, ok := errors.AsType[*protect.PanicError](err)
	if !ok || protect.KindOf(err) != protect.KindPanic || !strings.Contains(string(failure.Stack), "runtime_test.keyed") {
		t.Errorf("err = %v", err)
	}
	if got, want := seen.kinds(), []protect.EventKind{protect.EventStart, protect.EventException, protect.EventStop}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	// and neither limiter nor breaker know of it
	s, err := rt.Status("w.W.Forecast")
	if err != nil || s.Limiter.Used != 0 || s.Breaker.State != protect.Closed {
		t.Errorf("status %+v %+v (%v)", s.Limiter, s.Breaker, err)
	}
	ada := &struct{ name string }{"ada"}
	if err := keyed(t.Context(), g, ada); err != nil {
		t.Errorf("a call with a user: %v", err)
	}
	wantErr(t, "a second call of that user", keyed(t.Context(), g, ada), protect.ErrRateLimited)

	wantErr(t, "no key", g.DoKeyed(t.Context(), nil, func(context.Context, weather) error { return nil }), protect.ErrInvalid)
	if err := rt.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "closed", keyed(t.Context(), g, nil), protect.ErrClosed)
}

func TestAKeyThatPanicsGoesOnWhenTheRuntimeRethrows(t *testing.T) {
	rt := newRuntime(t, protect.WithRethrow())
	g := guard(t, rt, &station{}, protect.Spec{Key: "w.W.Forecast"})
	defer func() {
		if v, ok := recover().(error); !ok || !strings.Contains(v.Error(), "nil pointer") {
			t.Errorf("recovered %v", v)
		}
	}()
	t.Errorf("it returned %v", keyed(t.Context(), g, nil))
}
