package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

func Example() {
	ctx := context.Background()
	rt := protect.New()
	defer func() { _ = rt.Close(ctx) }()

	err := rt.Configure("external_api", protect.Policy{
		Limit:   &protect.LimitPolicy{Tokens: 2, Window: time.Hour},
		Breaker: &protect.BreakerPolicy{Failures: 5, Recovery: 30 * time.Second},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		user, err := protect.Execute(ctx, rt, "external_api", func(context.Context) (string, error) {
			return "Ada", nil
		}, protect.UseLimiter("api_calls", "user:456"))
		switch {
		case errors.Is(err, protect.ErrRateLimited):
			fmt.Println("come back later")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(user)
		}
	}
	// Output:
	// Ada
	// Ada
	// come back later
}

func ExampleFirstOf() {
	user, err := protect.FirstOf(context.Background(),
		func(context.Context) (string, error) { return "", errors.New("primary: down") },
		func(context.Context) (string, error) { return "Ada, from the cache", nil },
	)
	fmt.Println(user, err)
	// Output: Ada, from the cache <nil>
}

func ExampleBreaker() {
	rt := protect.New()
	defer func() { _ = rt.Close(context.Background()) }()
	db, err := rt.NewBreaker("db", protect.BreakerPolicy{Failures: 2, Recovery: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		err := db.Do(context.Background(), func(context.Context) error { return errors.New("connection refused") })
		fmt.Println(protect.KindOf(err), db.Status().State)
	}
	// Output:
	// operation closed
	// operation open
	// breaker open open
}

func ExampleNewPool() {
	ctx := context.Background()
	rt := protect.New()
	defer func() { _ = rt.Close(ctx) }()
	pool, err := protect.NewPool(rt, "connections", protect.PoolPolicy{Size: 2}, protect.Factory[string]{
		New:   func(context.Context) (string, error) { return "connection", nil },
		Close: func(c string) error { fmt.Println("closed", c); return nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = pool.Do(ctx, func(_ context.Context, c string) error {
		fmt.Println("using", c, "active:", pool.Status().Active)
		return nil
	})
	// Output:
	// using connection active: 1
	// closed connection
}

func ExampleObserverFunc() {
	rt := protect.New(protect.WithObserver(protect.ObserverFunc(func(_ context.Context, e protect.Event) {
		if e.Kind == protect.EventBreakerState {
			fmt.Println(e.Kind, e.Name, e.From, "to", e.To)
		}
	})))
	defer func() { _ = rt.Close(context.Background()) }()
	b, err := rt.NewBreaker("db", protect.BreakerPolicy{Failures: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = b.Do(context.Background(), func(context.Context) error { return errors.New("down") })
	b.Reset()
	// Output:
	// protect.breaker.state db closed to open
	// protect.breaker.state db open to closed
}
