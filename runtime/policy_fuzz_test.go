package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// Numbers as they come from a file, a comment or a mistake. Whatever Validate
// says is right: a policy that it refuses changes nothing, and under one that
// it accepts calls are made and refused, their statuses read and the Runtime
// closed, without a panic and without an error that is no refusal.

func FuzzLimit(f *testing.F) {
	f.Add(uint64(100), int64(time.Minute), int64(0), 0, 1.0)
	f.Add(uint64(1), int64(1), int64(math.MaxInt64), 1, 0.5)
	f.Add(uint64(1<<53), int64(math.MaxInt64), int64(1), 2, math.NaN())
	f.Add(uint64(1<<53+1), int64(-1), int64(-1), 3, math.Inf(-1))
	f.Add(uint64(0), int64(0), int64(0), -1, -1.0)
	f.Add(uint64(3), int64(time.Hour), int64(0), 0, math.Inf(1))
	f.Fuzz(func(t *testing.T, tokens uint64, window, wait int64, onError int, scale float64) {
		p := protect.LimitPolicy{Tokens: tokens, Window: time.Duration(window), Wait: time.Duration(wait), OnError: protect.OnError(onError)}
		limit := tokens
		if scale != 1 {
			p.Scale = func() float64 { return scale }
			if scale < 1 {
				limit = uint64(math.Round(float64(tokens) * max(scale, 0)))
			}
		}
		wantValid(t, p.Validate(), tokens > 0 && tokens <= 1<<53 && window > 0 && wait >= 0 && onError >= 0 && onError <= 2)

		s := underPolicy(t, protect.Policy{Limit: &p})
		if s == nil {
			return
		}
		if s.Limiter.Limit != limit || s.Limiter.Used > limit || s.Limiter.Remaining != limit-s.Limiter.Used {
			t.Errorf("%+v of %d", s.Limiter, limit)
		}
	})
}

func FuzzBreaker(f *testing.F) {
	f.Add(5, int64(0), 0.0, 0, int64(30*time.Second), 1, int64(0))
	f.Add(0, int64(10*time.Second), 0.5, 20, int64(1), 3, int64(time.Second))
	f.Add(0, int64(1), math.SmallestNonzeroFloat64, math.MaxInt32, int64(math.MaxInt64), math.MaxInt32, int64(math.MaxInt64))
	f.Add(math.MaxInt32, int64(math.MaxInt64), 0.0, 0, int64(0), 0, int64(1))
	f.Add(1, int64(1), math.NaN(), 1, int64(1), 1, int64(1))
	f.Add(-1, int64(-1), 1.5, -1, int64(-1), -1, int64(-1))
	f.Fuzz(func(t *testing.T, failures int, within int64, rate float64, of int, recovery int64, probes int, slow int64) {
		p := protect.BreakerPolicy{
			Failures: failures, Within: time.Duration(within), Rate: rate, Of: of,
			Recovery: time.Duration(recovery), Probes: probes, Slow: time.Duration(slow),
		}
		count := func(n int) bool { return n >= 0 && n <= math.MaxInt32 }
		valid := count(failures) && count(of) && count(probes) && within >= 0 && recovery >= 0 && slow >= 0 && rate >= 0 && rate <= 1
		if rate > 0 {
			valid = valid && failures == 0 && of > 0 && within > 0
		} else {
			valid = valid && of == 0
		}
		wantValid(t, p.Validate(), valid)

		s := underPolicy(t, protect.Policy{Breaker: &p})
		if s == nil {
			return
		}
		if opened := s.Breaker.State != protect.Closed; within == 0 && opened != (failures == 1 || failures == 2) {
			t.Errorf("%+v after two failures in a row", s.Breaker)
		}
	})
}

func FuzzCapacity(f *testing.F) {
	tooMany := int64(math.MaxInt32) + 1 // some other number where an int has 32 bits
	f.Add(10, int64(0), 10, 5, int64(time.Second), int64(0), int64(0), 0)
	f.Add(1, int64(math.MaxInt64), 0, 0, int64(0), int64(1), int64(1), 10)
	f.Add(math.MaxInt32, int64(1), math.MaxInt32, 0, int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), 1)
	f.Add(int(tooMany), int64(1), math.MaxInt32, 1, int64(1), int64(1), int64(1), 0)
	f.Add(0, int64(-1), -1, -1, int64(-1), int64(-1), int64(-1), 11)
	f.Fuzz(func(t *testing.T, most int, wait int64, size, overflow int, poolWait, idle, life int64, prefill int) {
		bulkhead := protect.BulkheadPolicy{Max: most, Wait: time.Duration(wait)}
		wantValid(t, bulkhead.Validate(), most > 0 && most <= math.MaxInt32 && wait >= 0)
		pool := protect.PoolPolicy{
			Size: size, Overflow: overflow, Wait: time.Duration(poolWait),
			Idle: time.Duration(idle), Life: time.Duration(life), Prefill: prefill,
		}
		places := size
		if size == 0 {
			places = 10
		}
		count := func(n int) bool { return n >= 0 && n <= math.MaxInt32 }
		wantValid(t, pool.Validate(), count(size) && count(overflow) && count(prefill) &&
			poolWait >= 0 && idle >= 0 && life >= 0 && prefill <= places && overflow <= math.MaxInt32-places)

		s := underPolicy(t, protect.Policy{Bulkhead: &bulkhead, Pool: &pool})
		if s == nil {
			return
		}
		if s.Bulkhead.Max != most || s.Bulkhead.Active != 0 || s.Pool.Size != places || s.Pool.MaxOverflow != overflow || s.Pool.Active != 0 {
			t.Errorf("%+v, %+v", s.Bulkhead, s.Pool)
		}
	})
}

func FuzzRetry(f *testing.F) {
	f.Add(3, int64(100*time.Millisecond), int64(2*time.Second), int64(time.Second))
	f.Add(64, int64(1), int64(math.MaxInt64), int64(math.MaxInt64))
	f.Add(2, int64(math.MaxInt64), int64(math.MaxInt64), int64(1))
	f.Add(0, int64(-1), int64(-1), int64(-1))
	f.Fuzz(func(t *testing.T, attempts int, backoff, most, timeout int64) {
		p := protect.RetryPolicy{Attempts: attempts, Backoff: time.Duration(backoff), Max: time.Duration(most)}
		wantValid(t, p.Validate(), attempts > 0 && attempts <= math.MaxInt32 && backoff >= 0 && most >= 0)
		if attempts > 100 {
			return // right, and longer than a fuzz test has
		}
		underPolicy(t, protect.Policy{Timeout: time.Duration(timeout), Retry: &p})
	})
}

func FuzzPolicyJSON(f *testing.F) {
	f.Add(`{"timeout":"2s","limit":{"tokens":100,"window":"1m","onerror":"local"},"breaker":{"rate":"50%","of":20,"within":"10s"}}`)
	f.Add(`{"limit":"100/m","pool":{"size":3,"wait":"forever"},"retry":{"attempts":3},"bulkhead":{"max":1}}`)
	f.Add(`{"breaker":{"rate":0.3,"of":1,"within":"1ns","needs":["a"]}}`)
	f.Add(`{"timeout":"-1h"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var p, again protect.Policy
		if json.Unmarshal([]byte(text), &p) != nil || p.Validate() != nil {
			return
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatalf("%s became %s, which cannot be read: %v", text, data, err)
		}
		if got, err := json.Marshal(again); err != nil || string(got) != string(data) {
			t.Errorf("%s became %s, and that %s, %v", text, data, got, err)
		}
	})
}

func wantValid(t *testing.T, err error, valid bool) {
	t.Helper()
	if (err == nil) != valid {
		t.Errorf("Validate says %v, want valid %v", err, valid)
	}
	if err != nil && (!errors.Is(err, protect.ErrInvalid) || len(fields(err)) == 0) {
		t.Errorf("%v names no field", err)
	}
}

// underPolicy makes two calls that fail under p, and returns the status after
// them; nil when p is refused.
func underPolicy(t *testing.T, p protect.Policy) (status *protect.Status) {
	t.Helper()
	stores := protect.WithStores(protect.OpenSimStore)
	synctest.Test(t, func(t *testing.T) {
		rt := newRuntime(t, stores)
		if err := rt.Configure("api", p); err != nil {
			if p.Validate() == nil || !errors.Is(err, protect.ErrInvalid) {
				t.Errorf("Configure: %v", err)
			}
			if _, ok := rt.Policy("api"); ok {
				t.Error("a policy that was refused holds")
			}
			return
		}
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			_, err := protect.Execute(ctx, rt, "api", fail)
			cancel()
			if kind := protect.KindOf(err); !errors.Is(err, errBackend) && kind <= protect.KindOperation {
				t.Errorf("%v: %v is neither the callee's error nor a refusal", kind, err)
			}
		}
		s, err := rt.Status("api")
		if err != nil {
			t.Errorf("Status: %v", err)
		}
		if p.Validate() != nil {
			t.Error("an invalid policy holds")
		}
		status = &s
	})
	return status
}
