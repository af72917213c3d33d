// Package runtime guards calls to things that fail: a rate limiter, a circuit
// breaker, a bulkhead and a pool around each call, with retries and a deadline
// around those. Programs import it as protect.
//
// It is what the code that protectgen generates calls; by hand it is as useful:
//
//	rt := protect.New()
//	defer rt.Close(ctx)
//	err := rt.Configure("external_api", protect.Policy{
//		Limit:   &protect.LimitPolicy{Tokens: 100, Window: time.Minute},
//		Breaker: &protect.BreakerPolicy{Failures: 5, Recovery: 30 * time.Second},
//	})
//	…
//	user, err := protect.Execute(ctx, rt, "external_api", func(ctx context.Context) (*User, error) {
//		return api.GetUser(ctx, id)
//	}, protect.UseLimiter("api_calls", id))
//
// # The order
//
// A call passes its layers in one order, whoever wrote them down in which:
//
//	timeout( retry( limiter → breaker → bulkhead or pool → call ))
//
// An open breaker is seen before a token is spent, and a token is spent by
// calls alone that reach the callee. What a layer took it gives back on every
// way out: return, error, panic, runtime.Goexit, a context that is done.
//
// # Errors
//
// The callee's error comes back as it is. A refusal is an [*Error], which
// matches one of the sentinels ([ErrRateLimited], [ErrBreakerOpen], …) and says
// when to come back; [KindOf] tells all of them apart. A panic comes back as a
// [*PanicError].
//
// # Policies and parts
//
// A [Runtime] holds a [Policy] for each key, and the parts that apply it: each
// [Limiter], [Breaker] and [Pool] has a name, can be found under it and used
// by itself. [Runtime.Configure] changes a policy while calls run.
// [Runtime.Scope] keeps two clients of one interface apart.
//
// # What it is not for
//
// It protects the caller of one process. Limits that many processes share need
// a store of their own ([WithStores]). It does not hedge, balance or cache, and
// it never abandons a call: a callee that ignores its context keeps its caller
// waiting.
//
// Everything here is safe for concurrent use unless it says otherwise. Nothing
// starts a goroutine that outlives [Runtime.Close].
package runtime
