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

// levels are the policies of a whole application, in one place. A key need not
// have anything else to its name.
var levels = map[string]protect.Policy{
	"external_apis": {
		Breaker: &protect.BreakerPolicy{Failures: 5, Recovery: 30 * time.Second},
		Limit:   &protect.LimitPolicy{Tokens: 500, Window: time.Minute},
		Pool:    &protect.PoolPolicy{Size: 20, Overflow: 10},
	},
	"api_heavy": { // much traffic
		Breaker: &protect.BreakerPolicy{Failures: 10, Recovery: time.Minute},
		Limit:   &protect.LimitPolicy{Tokens: 1000, Window: time.Minute},
		Pool:    &protect.PoolPolicy{Size: 50, Overflow: 25},
	},
	"background": {
		Breaker: &protect.BreakerPolicy{Failures: 3, Recovery: 30 * time.Second},
		Limit:   &protect.LimitPolicy{Tokens: 100, Window: time.Minute},
		Pool:    &protect.PoolPolicy{Size: 5, Overflow: 2},
	},
	"critical": {
		Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: 5 * time.Second},
		Limit:   &protect.LimitPolicy{Tokens: 1, Window: time.Second},
		Pool:    &protect.PoolPolicy{Size: 3},
	},
	// The key of a method: stricter than what its directive says.
	"main.Mailer.Send": {
		Breaker: &protect.BreakerPolicy{Failures: 1, Recovery: time.Minute},
	},
}

// Mailer is protected by default, and can be configured like any key.
type Mailer interface {
	//protect:breaker failures=5 recovery=30s
	Send(ctx context.Context, to string) (string, error)
}

// mailer implements Mailer on the service.
type mailer struct{ *client }

func (m mailer) Send(ctx context.Context, to string) (string, error) { return m.get(ctx, "/"+to) }

// start is what an application does first. Whatever the policies are about may
// come later, in any order.
func start(levels map[string]protect.Policy) (*protect.Runtime, error) {
	rt := protect.New()
	for key, policy := range levels {
		if err := rt.Configure(key, policy); err != nil {
			return nil, errors.Join(fmt.Errorf("configuring %s: %w", key, err), rt.Close(context.Background()))
		}
	}
	return rt, nil
}

func startup(ctx context.Context, out io.Writer) (err error) {
	server := startService("start")
	defer server.close()
	api := server.client()
	rt, err := start(levels)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()

	for _, key := range rt.Keys() {
		p, _ := rt.Policy(key)
		fmt.Fprintf(out, "%-18s breaker %d/%v", key, p.Breaker.Failures, p.Breaker.Recovery)
		if p.Limit != nil && p.Pool != nil {
			fmt.Fprintf(out, ", limit %d/%v, pool %d+%d", p.Limit.Tokens, p.Limit.Window, p.Pool.Size, p.Pool.Overflow)
		}
		fmt.Fprintln(out)
	}

	call := func(key string) error {
		_, err := protect.Execute(ctx, rt, key, func(ctx context.Context) (string, error) { return api.get(ctx, "/"+key) })
		return err
	}
	background := func(n int) int { return passing(n, func() error { return call("background") }) }
	fmt.Fprintf(out, "\nbackground: %d of 101 calls pass\n", background(101))
	raised := levels["background"]
	raised.Limit = &protect.LimitPolicy{Tokens: 200, Window: time.Minute}
	if err := rt.Configure("background", raised); err != nil {
		return err
	}
	fmt.Fprintf(out, "background, with 200 a minute from now on: %d of 201 calls pass\n", background(201))

	fmt.Fprintf(out, "a mistake is refused: %v\n", rt.Configure("background", protect.Policy{Limit: &protect.LimitPolicy{Tokens: 200}}))
	p, _ := rt.Policy("background")
	fmt.Fprintf(out, "and changes nothing: background still has %d/%v\n", p.Limit.Tokens, p.Limit.Window)

	server.answer(http.StatusServiceUnavailable)
	fmt.Fprintf(out, "\ncritical fails: %v\n", call("critical"))
	fmt.Fprintf(out, "critical, at once again: %v\n", protect.KindOf(call("critical")))
	mail, err := NewProtectedMailer(rt, mailer{api})
	if err != nil {
		return err
	}
	_, first := mail.Send(ctx, "ada")
	_, second := mail.Send(ctx, "ada")
	fmt.Fprintf(out, "a mailer that is made last has the policy of its key: %v, then %v\n", first, protect.KindOf(second))

	fmt.Fprintf(out, "\nclosed: %v, and again: %v\n", rt.Close(ctx), rt.Close(ctx))
	fmt.Fprintf(out, "a call that comes too late: %v\n", protect.KindOf(call("api_heavy")))
	return nil
}
