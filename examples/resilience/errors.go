package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// orders places orders with a service that may be down, slow or fed up.
type orders struct {
	rt    *protect.Runtime
	pool  *protect.Pool[*client]
	queue []string // orders to be placed later
}

// post is a way to place an order on a borrowed client.
type post func(c *client, ctx context.Context, path string) (string, error)

// place has an answer whatever goes wrong. What a caller does about it depends
// on the kind of the error, never on its text.
func (o *orders) place(ctx context.Context, item string, post post) string {
	result, err := protect.ExecuteOn(ctx, o.rt, "external_api", o.pool,
		func(ctx context.Context, c *client) (string, error) { return post(c, ctx, "/"+item) },
		protect.UseLimiter("api_calls", "system"), protect.UseBreaker("api_breaker"))
	if err == nil {
		return "placed: " + result
	}
	switch protect.KindOf(err) {
	case protect.KindRateLimited:
		o.queue = append(o.queue, item) // the error's RetryAfter says when it is worth while
		return "queued"
	case protect.KindBreakerOpen:
		return "taken down for later: the service is known to be down"
	case protect.KindPoolTimeout:
		return "service busy"
	}
	// The service's own error, returned or thrown: a panic is looked through.
	if answer, ok := errors.AsType[*httpError](err); ok && answer.Status == http.StatusServiceUnavailable {
		return "service unavailable"
	}
	return fmt.Sprintf("internal error: %v", err)
}

func answers(ctx context.Context, out io.Writer) (err error) {
	server := startService("orders")
	defer server.close()
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	if err := rt.Configure("external_api", protect.Policy{
		Limit: &protect.LimitPolicy{Tokens: 100, Window: time.Minute},
	}); err != nil {
		return err
	}
	breaker, err := rt.NewBreaker("api_breaker", protect.BreakerPolicy{Failures: 3, Recovery: 30 * time.Second})
	if err != nil {
		return err
	}
	pool, err := protect.NewPool(rt, "http_pool", protect.PoolPolicy{Size: 1, Prefill: 1, Wait: 200 * time.Millisecond}, protect.Factory[*client]{
		New:   func(context.Context) (*client, error) { return server.client(), nil },
		Close: (*client).Close,
	})
	if err != nil {
		return err
	}
	o := &orders{rt: rt, pool: pool}
	say := func(when, answer string) { fmt.Fprintf(out, "%-28s %s\n", when, answer) }

	say("all is well", o.place(ctx, "lamp", (*client).get))

	server.answer(http.StatusServiceUnavailable)
	say("a 503 that is returned", o.place(ctx, "lamp", (*client).get))
	say("a 503 that is thrown", o.place(ctx, "lamp", (*client).mustGet))
	server.answer(http.StatusInternalServerError)
	say("anything else", o.place(ctx, "lamp", (*client).get))
	say("after three failures", o.place(ctx, "lamp", (*client).get))

	breaker.Reset()
	server.answer(http.StatusOK)
	release := server.hold()
	first := make(chan string, 1)
	go func() { first <- o.place(ctx, "lamp", (*client).get) }()
	err = server.holding(ctx, 1)
	say("the one client is taken", o.place(ctx, "chair", (*client).get))
	release()
	say("and then given back", <-first)
	if err != nil {
		return err
	}

	for len(o.queue) == 0 {
		o.place(ctx, "table", (*client).get)
	}
	say("more than 100 in a minute", fmt.Sprintf("queued: %v", o.queue))
	say("the server", fmt.Sprintf("was reached %d times", server.reached.Load()))
	return nil
}
