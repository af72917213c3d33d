package runtime_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// fields returns the names of the fields that err complains about.
func fields(err error) []string {
	var names []string
	var collect func(error)
	collect = func(err error) {
		switch e := err.(type) {
		case *protect.Error:
			names = append(names, e.Name)
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				collect(err)
			}
		}
	}
	collect(err)
	slices.Sort(names)
	return slices.Compact(names)
}

func TestValidateRefusesCountsThatOverflow(t *testing.T) {
	most := protect.Policy{
		Breaker:  &protect.BreakerPolicy{Failures: math.MaxInt},
		Bulkhead: &protect.BulkheadPolicy{Max: math.MaxInt},
	}
	var want []string
	if math.MaxInt > math.MaxInt32 { // where an int has 32 bits, each that it can hold is fine
		want = []string{"breaker.failures", "bulkhead.max"}
	}
	if got := fields(most.Validate()); !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
}

func TestValidateNamesEveryFieldThatCannotHold(t *testing.T) {
	for name, c := range map[string]struct {
		policy protect.Policy
		want   []string
	}{
		"nothing": {protect.Policy{}, nil},
		"defaults": {protect.Policy{
			Breaker: &protect.BreakerPolicy{}, Pool: &protect.PoolPolicy{},
		}, nil},
		"what has no default": {protect.Policy{
			Retry: &protect.RetryPolicy{}, Limit: &protect.LimitPolicy{}, Bulkhead: &protect.BulkheadPolicy{},
		}, []string{"bulkhead.max", "limit.tokens", "limit.window", "retry.attempts"}},
		"negative": {protect.Policy{
			Timeout:  -1,
			Retry:    &protect.RetryPolicy{Attempts: -1, Backoff: -1, Max: -1},
			Limit:    &protect.LimitPolicy{Tokens: 1, Window: -1, Wait: -1, OnError: -1},
			Breaker:  &protect.BreakerPolicy{Failures: -1, Within: -1, Rate: -0.1, Of: -1, Recovery: -1, Probes: -1, Slow: -1},
			Bulkhead: &protect.BulkheadPolicy{Max: -1, Wait: -1},
			Pool:     &protect.PoolPolicy{Size: -1, Overflow: -1, Wait: -1, Idle: -1, Life: -1, Prefill: -1},
		}, []string{
			"breaker.failures", "breaker.of", "breaker.probes", "breaker.rate", "breaker.recovery", "breaker.slow", "breaker.within",
			"bulkhead.max", "bulkhead.wait", "limit.onerror", "limit.wait", "limit.window",
			"pool.idle", "pool.life", "pool.overflow", "pool.prefill", "pool.size", "pool.wait",
			"retry.attempts", "retry.backoff", "retry.max", "timeout",
		}},
		"overflowing": {protect.Policy{
			Limit: &protect.LimitPolicy{Tokens: math.MaxUint64, Window: 1},
			Pool:  &protect.PoolPolicy{Size: math.MaxInt32, Overflow: 1},
		}, []string{"limit.tokens", "pool.overflow"}},
		"not a number": {protect.Policy{Breaker: &protect.BreakerPolicy{Rate: math.NaN()}}, []string{"breaker.rate"}},
		"a rate of more than all": {protect.Policy{
			Breaker: &protect.BreakerPolicy{Rate: 1.1, Of: 1, Within: 1},
		}, []string{"breaker.rate"}},
		"half a rate":       {protect.Policy{Breaker: &protect.BreakerPolicy{Rate: 0.5}}, []string{"breaker.of", "breaker.within"}},
		"of without a rate": {protect.Policy{Breaker: &protect.BreakerPolicy{Of: 3}}, []string{"breaker.of"}},
		"failures and a rate": {protect.Policy{
			Breaker: &protect.BreakerPolicy{Failures: 1, Rate: 0.5, Of: 1, Within: 1},
		}, []string{"breaker.failures"}},
		"needs": {protect.Policy{Breaker: &protect.BreakerPolicy{Needs: []string{"a", "", "a"}}}, []string{"breaker.needs"}},
		"more prefilled than the default size": {protect.Policy{
			Pool: &protect.PoolPolicy{Prefill: 11},
		}, []string{"pool.prefill"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.policy.Validate()
			if got := fields(err); !slices.Equal(got, c.want) {
				t.Errorf("fields %v, want %v\n%v", got, c.want, err)
			}
			if (err != nil) != errors.Is(err, protect.ErrInvalid) {
				t.Errorf("%v does not match ErrInvalid", err)
			}
		})
	}
}

func TestPolicyIsTheSameAfterJSON(t *testing.T) {
	want := protect.Policy{
		Timeout:  2 * time.Second,
		Retry:    &protect.RetryPolicy{Attempts: 3, Backoff: time.Millisecond, Max: time.Second},
		Limit:    &protect.LimitPolicy{Tokens: 100, Window: time.Minute, Wait: time.Second, OnError: protect.Local},
		Breaker:  &protect.BreakerPolicy{Rate: 0.5, Of: 20, Within: time.Second, Recovery: time.Minute, Probes: 2, Slow: time.Second, Needs: []string{"db"}},
		Bulkhead: &protect.BulkheadPolicy{Max: 10, Wait: time.Second},
		Pool:     &protect.PoolPolicy{Size: 2, Overflow: 1, Wait: protect.Forever, Idle: time.Minute, Life: time.Hour, Prefill: 1},
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got protect.Policy
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nfrom %s", got, data)
	}
}

func TestPolicyReadsAsItIsWritten(t *testing.T) {
	var p protect.Policy
	err := json.Unmarshal([]byte(`{"timeout": "1m30s", "limit": "100/m", "breaker": {"rate": "50%", "of": 20, "within": "10s"}, "pool": {"wait": "forever"}}`), &p)
	if err != nil {
		t.Fatal(err)
	}
	want := protect.Policy{
		Timeout: 90 * time.Second,
		Limit:   &protect.LimitPolicy{Tokens: 100, Window: time.Minute},
		Breaker: &protect.BreakerPolicy{Rate: 0.5, Of: 20, Within: 10 * time.Second},
		Pool:    &protect.PoolPolicy{Wait: protect.Forever},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v", p)
	}
	var limit protect.LimitPolicy
	for null, into := range map[string]any{
		`null`:                       &limit,
		`{"breaker":{"rate":null}}`:  new(protect.Policy),
		`{"retry":{"backoff":null}}`: new(protect.Policy),
	} {
		if err := json.Unmarshal([]byte(null), into); err != nil {
			t.Errorf("%s, which by convention says nothing: %v", null, err)
		}
	}
	for _, bad := range []string{
		`{"timeout": "30"}`, `{"timeout": 30}`, `{"limit": "100"}`, `{"limit": "x/1m"}`, `{"limit": "1/d"}`,
		`{"breaker": {"rate": "half"}}`, `{"breaker": {"rate": "x%"}}`, `{"limit": {"onerror": "panic"}}`,
	} {
		if err := json.Unmarshal([]byte(bad), new(protect.Policy)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
