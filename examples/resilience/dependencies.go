package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	protect "github.com/protectgen/protectgen/runtime"
)

// Payments takes money.
type Payments interface {
	//protect:breaker name=payments failures=3 recovery=30s
	Charge(ctx context.Context, order string) (string, error)
}

// Inventory takes goods.
type Inventory interface {
	//protect:breaker name=inventory failures=3 recovery=30s
	Reserve(ctx context.Context, order string) (string, error)
}

// Checkout needs both, and a package that this program does not start: a
// breaker that is not there counts as healthy.
type Checkout interface {
	//protect:limit 10/1h name=checkouts
	//protect:breaker name=checkout needs=payments,inventory,shipping.Shipping
	Place(ctx context.Context, order string) (string, error)
}

// remoteShop implements all three, each on its service.
type remoteShop struct{ *client }

func (s remoteShop) Charge(ctx context.Context, order string) (string, error) {
	return s.get(ctx, "/"+order)
}

func (s remoteShop) Reserve(ctx context.Context, order string) (string, error) {
	return s.get(ctx, "/"+order)
}

func (s remoteShop) Place(ctx context.Context, order string) (string, error) {
	return s.get(ctx, "/"+order)
}

func dependencies(ctx context.Context, out io.Writer) (err error) {
	var servers [3]*service
	for i, name := range []string{"payments", "inventory", "checkout"} {
		servers[i] = startService(name)
		defer servers[i].close()
	}
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	payments, paymentsErr := NewProtectedPayments(rt, remoteShop{servers[0].client()})
	inventory, inventoryErr := NewProtectedInventory(rt, remoteShop{servers[1].client()})
	checkout, checkoutErr := NewProtectedCheckout(rt, remoteShop{servers[2].client()})
	if err := errors.Join(paymentsErr, inventoryErr, checkoutErr); err != nil {
		return err
	}

	place := func(when string) {
		answer, err := checkout.Place(ctx, "order-1")
		if refusal, ok := errors.AsType[*protect.Error](err); ok {
			answer = fmt.Sprintf("%v: %v", refusal.Kind, refusal.Err)
		}
		fmt.Fprintf(out, "%-30s %s\n", when, answer)
	}

	place("nothing is open")
	servers[0].answer(http.StatusServiceUnavailable)
	for range 3 {
		_, _ = payments.Charge(ctx, "order-1")
	}
	place("payments is open")
	servers[1].answer(http.StatusServiceUnavailable)
	for range 3 {
		_, _ = inventory.Reserve(ctx, "order-1")
	}
	place("inventory is open as well")

	limiter, err := rt.Limiter("checkouts")
	if err != nil {
		return err
	}
	status, err := limiter.Status(ctx, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%-30s the server was reached %d time, %d token of %d is spent\n", "so far",
		servers[2].reached.Load(), status.Used, status.Limit)

	for _, name := range []string{"payments", "inventory"} {
		breaker, err := rt.Breaker(name)
		if err != nil {
			return err
		}
		breaker.Reset()
	}
	place("both are closed again")
	return nil
}
