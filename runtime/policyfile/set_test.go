package policyfile_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	limiter "github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/memorystore"
	"pgregory.net/rapid"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/policyfile"
)

func timeout(d time.Duration) protect.Policy { return protect.Policy{Timeout: d} }

func limit(tokens uint64) protect.Policy {
	return protect.Policy{Limit: &protect.LimitPolicy{Tokens: tokens, Window: time.Hour}}
}

type policies = map[string]protect.Policy

// holding returns the policies that hold in rt, by key.
func holding(rt *protect.Runtime) policies {
	held := policies{}
	for _, key := range rt.Keys() {
		held[key], _ = rt.Policy(key)
	}
	return held
}

// apply applies what must be accepted, and returns the keys that changed.
func apply(t *testing.T, s *policyfile.Set, p policies) []string {
	t.Helper()
	changed, err := s.Apply(p)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// stores opens stores in memory, but none for the name that is down.
type stores struct {
	down   string
	opened []string
}

func (s *stores) open(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
	if name == s.down {
		return nil, errors.New("out of order")
	}
	s.opened = append(s.opened, name)
	return memorystore.New(&memorystore.Config{Tokens: tokens, Interval: window, DisablePurge: true})
}

func closing(t *testing.T, rt *protect.Runtime) *protect.Runtime {
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rt
}

func TestApplySetsAndRemoves(t *testing.T) {
	rt := closing(t, protect.New())
	set := policyfile.NewSet(rt)
	if err := rt.Configure("foreign", timeout(9)); err != nil {
		t.Fatal(err)
	}

	if got := apply(t, set, policies{"b": timeout(2), "a": timeout(1)}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("changed at first: %v", got)
	}
	equal(t, holding(rt), policies{"a": timeout(1), "b": timeout(2), "foreign": timeout(9)})

	if got := apply(t, set, policies{"b": timeout(2), "c": timeout(3)}); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("changed then: %v", got)
	}
	equal(t, holding(rt), policies{"b": timeout(2), "c": timeout(3), "foreign": timeout(9)})

	if got := apply(t, set, nil); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("changed at last: %v", got)
	}
	equal(t, holding(rt), policies{"foreign": timeout(9)})
}

func TestAKeyThatLeavesGetsItsDirectivesBack(t *testing.T) {
	rt := closing(t, protect.New())
	if _, err := protect.NewGuards(rt, 1, protect.Spec{Key: "k", Policy: timeout(time.Second)}); err != nil {
		t.Fatal(err)
	}
	set := policyfile.NewSet(rt)

	apply(t, set, policies{"k": timeout(time.Minute)})
	equal(t, holding(rt), policies{"k": timeout(time.Minute)})

	apply(t, set, nil)
	equal(t, holding(rt), policies{"k": timeout(time.Second)})
}

func TestAKeyThatDidNotChangeIsNotTouched(t *testing.T) {
	rt := closing(t, protect.New())
	set := policyfile.NewSet(rt)
	apply(t, set, policies{"k": limit(5)})
	take(t, rt, "k")

	if got := apply(t, set, policies{"k": limit(5), "l": limit(1)}); !slices.Equal(got, []string{"l"}) {
		t.Errorf("changed: %v", got)
	}
	if s, err := rt.Status("k"); err != nil || s.Limiter.Used != 1 {
		t.Errorf("the bucket is %+v (%v), want the token still used", s.Limiter, err)
	}
}

func take(t *testing.T, rt *protect.Runtime, key string) {
	t.Helper()
	_, err := protect.Execute(t.Context(), rt, key, func(context.Context) (int, error) { return 0, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsAppliedUnlessAllOfItIsValid(t *testing.T) {
	rt := closing(t, protect.New())
	set := policyfile.NewSet(rt)
	apply(t, set, policies{"b": timeout(1)})

	_, err := set.Apply(policies{"a": timeout(2), "b": timeout(2), "c": timeout(-1), "d": limit(0), "": timeout(1)})

	want := strings.Join([]string{
		"protect: invalid: key: a policy needs a key",
		"c: protect: invalid: timeout: -1ns is negative",
		"d: protect: invalid: limit.tokens: 0 lets no call pass; the limit must be at least 1",
	}, "\n")
	if err == nil || err.Error() != want || !errors.Is(err, protect.ErrInvalid) {
		t.Errorf("the error is\n%v\nwant\n%s", err, want)
	}
	equal(t, holding(rt), policies{"b": timeout(1)})
}

func TestNothingIsAppliedWhenTheRuntimeRefuses(t *testing.T) {
	for _, down := range []string{"a", "d", "f"} {
		t.Run(down, func(t *testing.T) {
			// given keys of each origin, two of them the Set's
			stores := &stores{}
			rt := closing(t, protect.New(protect.WithStores(stores.open)))
			declare := func(key string) {
				t.Helper()
				if _, err := protect.NewGuards(rt, 1, protect.Spec{Key: key, Policy: timeout(time.Second)}); err != nil {
					t.Fatal(err)
				}
			}
			declare("declared")
			declare("declared.configured")
			for _, key := range []string{"declared.configured", "configured"} {
				if err := rt.Configure(key, timeout(time.Minute)); err != nil {
					t.Fatal(err)
				}
			}
			set := policyfile.NewSet(rt)
			apply(t, set, policies{"b": limit(2), "c": timeout(3)})
			before := holding(rt)

			// when one of the new stores cannot be opened
			next := policies{
				"a": limit(1), "b": limit(3), "d": limit(4), "f": limit(5),
				"configured": timeout(7), "declared": timeout(7), "declared.configured": timeout(7),
			}
			stores.down = down
			changed, err := set.Apply(next)

			// then everything is as it was
			if len(changed) > 0 || err == nil || !strings.HasPrefix(err.Error(), down+": ") || !errors.Is(err, protect.ErrLimiterFailed) {
				t.Errorf("changed %v, error %v", changed, err)
			}
			equal(t, holding(rt), before)
			rt.Remove("declared") // nothing is configured there
			rt.Remove("declared.configured")
			if p, _ := rt.Policy("declared"); p.Timeout != time.Second {
				t.Errorf("the declared policy is %+v", p)
			}
			if p, _ := rt.Policy("declared.configured"); p.Timeout != time.Second {
				t.Errorf("the declared policy below the configured one is %+v", p)
			}

			// and it works the next time
			stores.down = ""
			if got, want := apply(t, set, next), append(slices.Sorted(maps.Keys(next)), "c"); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("changed %v, want %v", got, want)
			}
			equal(t, holding(rt), next)
		})
	}
}

func TestAChangeThatIsRefusedCostsNoLayerItsState(t *testing.T) {
	// given a bucket in use, whose store there is once only
	stores := &stores{}
	rt := closing(t, protect.New(protect.WithStores(func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
		if tokens == 1 && slices.Contains(stores.opened, name) {
			return nil, errors.New("out of stock")
		}
		return stores.open(name, tokens, window)
	})))
	set := policyfile.NewSet(rt)
	apply(t, set, policies{"a": limit(1)})
	take(t, rt, "a")

	// when it changes, and the next key is refused
	stores.down = "b"
	_, err := set.Apply(policies{"a": limit(2), "b": limit(2)})

	// then the bucket is the one that it was
	if want := "b: protect: limiter failed: b: out of order"; err == nil || err.Error() != want {
		t.Errorf("the error is\n%v\nwant\n%s", err, want)
	}
	equal(t, holding(rt), policies{"a": limit(1)})
	if s, err := rt.Status("a"); err != nil || s.Limiter.Used != 1 {
		t.Errorf("the bucket is %+v (%v), want the token still used", s.Limiter, err)
	}
	if got := apply(t, set, policies{"a": limit(1)}); len(got) > 0 {
		t.Errorf("changed %v, though nothing had to", got)
	}
}

func TestAClosedRuntimeRefuses(t *testing.T) {
	rt := protect.New()
	if err := rt.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := policyfile.NewSet(rt).Apply(policies{"k": timeout(1)}); !errors.Is(err, protect.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
}

func TestASetWithoutARuntimeUsesTheDefault(t *testing.T) {
	set := policyfile.NewSet(nil)
	defer apply(t, set, nil)
	apply(t, set, policies{t.Name(): timeout(1)})
	if _, ok := protect.Default().Policy(t.Name()); !ok {
		t.Error("the default Runtime has no such policy")
	}
}

// Whatever is applied in whatever order, with failures in between: what holds
// is what was applied last, and nothing else.
func TestASetAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stores := &stores{}
		rt := protect.New(protect.WithStores(stores.open))
		defer rt.Close(context.Background())
		set := policyfile.NewSet(rt)
		model := policies{}
		keys := []string{"a", "b", "c", "d"}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			next := policies{}
			for _, key := range keys {
				if rapid.Bool().Draw(t, key) {
					next[key] = limit(rapid.Uint64Range(1, 3).Draw(t, "tokens of "+key))
				}
			}
			stores.down = rapid.SampledFrom(append(keys, "", "", "")).Draw(t, "down")
			_, err := set.Apply(next)
			_, wanted := next[stores.down]
			if fails := wanted && !samePolicy(model[stores.down], next[stores.down]); fails != (err != nil) {
				t.Fatalf("the error is %v, want one: %v", err, fails)
			}
			if err == nil {
				model = next
			}
			equal(t, holding(rt), model)
		}
	})
}

func samePolicy(p, q protect.Policy) bool {
	return p.Limit != nil && q.Limit != nil && p.Limit.Tokens == q.Limit.Tokens
}
