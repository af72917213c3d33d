package runtime_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	limiter "github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"

	protect "github.com/protectgen/protectgen/runtime"
)

type policies = map[string]protect.Policy

func limitOf(tokens uint64) protect.Policy {
	return protect.Policy{Limit: &protect.LimitPolicy{Tokens: tokens, Window: time.Hour}}
}

func TestConfigureAllSetsAndRemoves(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "old", limitOf(1))
	configure(t, rt, "kept", limitOf(1))
	if err := rt.ConfigureAll(policies{"a": limitOf(2), "kept": limitOf(3)}, "old", "unknown"); err != nil {
		t.Fatal(err)
	}
	if got, want := rt.Keys(), []string{"a", "kept"}; !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
	if got, want := rt.Limiters(), []string{"a", "kept"}; !slices.Equal(got, want) {
		t.Errorf("limiters %v, want %v", got, want)
	}
	if p, _ := rt.Policy("kept"); p.Limit.Tokens != 3 {
		t.Errorf("the policy of kept is %+v", p.Limit)
	}
}

func TestConfigureAllIsAllOrNothing(t *testing.T) {
	for _, down := range []string{"eu/a", "eu/z"} {
		t.Run(down, func(t *testing.T) {
			// given a bucket in use, a breaker that is open, and a store that
			// cannot be opened
			open := map[limiter.Store]bool{}
			rt := newRuntime(t, protect.WithStores(func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
				if name == down && tokens != 1 {
					return nil, errBackend
				}
				s, err := memorystore.New(&memorystore.Config{Tokens: tokens, Interval: window, DisablePurge: true})
				open[s] = true
				return s, err
			}))
			eu := rt.Scope("eu")
			policy := limitOf(10)
			policy.Breaker = &protect.BreakerPolicy{Failures: 1, Recovery: time.Hour}
			configure(t, eu, "m", policy)
			configure(t, eu, "gone", limitOf(5))
			_, _ = protect.Execute(t.Context(), eu, "m", fail)
			_, _ = protect.Execute(t.Context(), eu, "gone", succeed)
			before := len(open)

			// when a change of all of them fails
			other := limitOf(20)
			other.Breaker = &protect.BreakerPolicy{Failures: 2, Recovery: time.Hour}
			err := eu.ConfigureAll(policies{"a": limitOf(2), "m": other, "z": limitOf(2)}, "gone")

			// then nothing has changed, and no layer has lost its state
			if key := strings.TrimPrefix(down, "eu/"); !errors.Is(err, protect.ErrLimiterFailed) || !errors.Is(err, errBackend) {
				t.Errorf("the error of %s is %v", key, err)
			}
			if got, want := eu.Keys(), []string{"gone", "m"}; !slices.Equal(got, want) {
				t.Errorf("keys %v, want %v", got, want)
			}
			s, err := eu.Status("m")
			if err != nil || s.Limiter.Limit != 10 || s.Limiter.Used != 1 || s.Breaker.State != protect.Open {
				t.Errorf("m is %+v, %+v (%v)", s.Limiter, s.Breaker, err)
			}
			if s, err := eu.Status("gone"); err != nil || s.Limiter.Used != 1 {
				t.Errorf("gone is %+v (%v)", s.Limiter, err)
			}
			if len(open) > before+2 {
				t.Errorf("%d stores were opened for the change", len(open)-before)
			}
		})
	}
}

func TestConfigureAllSaysWhatIsWrong(t *testing.T) {
	rt := newRuntime(t)
	err := rt.ConfigureAll(policies{"": limitOf(1), "a": limitOf(1), "b": limitOf(0), "c": {Timeout: -1}}, "a")
	want := strings.Join([]string{
		"protect: invalid: key: a policy needs a key",
		"protect: invalid: key: a is both to be set and to be removed",
		"b: protect: invalid: limit.tokens: 0 lets no call pass; the limit must be at least 1",
		"c: protect: invalid: timeout: -1ns is negative",
	}, "\n")
	if err == nil || err.Error() != want || !errors.Is(err, protect.ErrInvalid) {
		t.Errorf("the error is\n%v\nwant\n%s", err, want)
	}
	if got := rt.Keys(); len(got) != 0 {
		t.Errorf("keys %v", got)
	}

	if err := rt.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "closed", rt.ConfigureAll(policies{"a": limitOf(1)}), protect.ErrClosed)
}

// A part that another key uses may change its settings once that key gives it
// up in the same step, whichever of the two is looked at first.
func TestConfigureAllLooksAtTheUsersThatThereWillBe(t *testing.T) {
	for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
		owner, user := names[0], names[1]
		t.Run(owner+" owns", func(t *testing.T) {
			// given a limiter that one key owns and the other uses by its name
			rt := newRuntime(t)
			declare := func() { guard(t, rt, &station{}, protect.Spec{Key: user, Limiter: owner, Policy: limitOf(1)}) }
			configure(t, rt, owner, limitOf(1))
			declare()
			wantErr(t, "alone", rt.Configure(owner, limitOf(2)), protect.ErrInvalid)

			// when both change at once, one to what it takes for itself
			if err := rt.ConfigureAll(policies{owner: limitOf(2), user: limitOf(3)}); err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]uint64{owner: 2, user: 3} {
				if s, err := rt.Status(key); err != nil || s.Limiter.Name != key || s.Limiter.Limit != want {
					t.Errorf("%s is under %+v (%v), want a limit of %d of its own", key, s.Limiter, err, want)
				}
			}

			// and when the other would still use it, the step is refused
			err := rt.ConfigureAll(policies{owner: limitOf(4)}, user)
			wantErr(t, "still in use", err, protect.ErrInvalid)
			if s, _ := rt.Status(user); s.Limiter.Limit != 3 {
				t.Errorf("%s is under %+v", user, s.Limiter)
			}
		})
	}
}

// A part is only dropped when no plan that the step leaves behind uses it.
func TestConfigureAllKeepsWhatIsStillInUse(t *testing.T) {
	rt := newRuntime(t)
	configure(t, rt, "a", limitOf(9))
	g := guard(t, rt, &station{}, protect.Spec{Key: "b", Limiter: "a", Policy: limitOf(9)})
	if _, err := forecast(t.Context(), g, "", "Oslo"); err != nil {
		t.Fatal(err)
	}
	policy := limitOf(9)
	policy.Timeout = time.Minute
	if err := rt.ConfigureAll(policies{"b": policy}, "a"); err != nil {
		t.Fatal(err)
	}
	if s, err := rt.Status("b"); err != nil || s.Limiter == nil || s.Limiter.Name != "a" || s.Limiter.Used != 1 {
		t.Errorf("b is under %+v (%v), want the limiter that it used", s.Limiter, err)
	}
}
