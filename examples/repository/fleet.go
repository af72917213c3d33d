package main

import (
	"context"
	"sync/atomic"

	"github.com/protectgen/protectgen/examples/repository/users"
	protect "github.com/protectgen/protectgen/runtime"
)

// fleet counts the connections that the pool makes, lends and closes, and
// what must never be.
type fleet struct {
	url string

	opened, closed atomic.Int64
	alive          gauge // from before the dial until Close has returned
	busy           gauge // lent

	lentTwice, closedTwice, lentClosed atomic.Int64 // never
}

// factory is what the pool makes its connections with.
func (f *fleet) factory() protect.Factory[users.Repository] {
	return protect.Factory[users.Repository]{
		New: func(ctx context.Context) (users.Repository, error) {
			f.alive.add(1)
			conn, err := users.Connect(ctx, f.url)
			if err != nil {
				f.alive.add(-1)
				return nil, err
			}
			f.opened.Add(1)
			return &vessel{conn: conn, fleet: f}, nil
		},
		// A connection that died while it lay idle costs nobody a call.
		Check: func(ctx context.Context, r users.Repository) error { return r.(*vessel).conn.Ping(ctx) },
	}
}

// faults is how often something happened that must never happen.
func (f *fleet) faults() int64 {
	return f.lentTwice.Load() + f.closedTwice.Load() + f.lentClosed.Load()
}

// vessel is a connection that tells its fleet what is done with it.
type vessel struct {
	conn   *users.Connection
	fleet  *fleet
	busy   atomic.Bool
	closed atomic.Bool
}

func (v *vessel) FindByEmail(ctx context.Context, email string) (*users.User, error) {
	defer v.lend()()
	return v.conn.FindByEmail(ctx, email)
}

func (v *vessel) Save(ctx context.Context, user *users.User) error {
	defer v.lend()()
	return v.conn.Save(ctx, user)
}

func (v *vessel) Close() error {
	if v.closed.Swap(true) {
		v.fleet.closedTwice.Add(1)
		return nil
	}
	defer v.fleet.alive.add(-1)
	v.fleet.closed.Add(1)
	return v.conn.Close()
}

// lend marks the vessel as busy until the function that it returns is called.
func (v *vessel) lend() func() {
	if v.busy.Swap(true) {
		v.fleet.lentTwice.Add(1)
	}
	if v.closed.Load() {
		v.fleet.lentClosed.Add(1)
	}
	v.fleet.busy.add(1)
	return func() {
		v.fleet.busy.add(-1)
		v.busy.Store(false)
	}
}

// gauge is a number that goes up and down and remembers how high it was.
type gauge struct{ now, peak atomic.Int64 }

func (g *gauge) add(n int64) {
	now := g.now.Add(n)
	for peak := g.peak.Load(); now > peak && !g.peak.CompareAndSwap(peak, now); {
		peak = g.peak.Load()
	}
}

// forget makes the peak what is there now.
func (g *gauge) forget() { g.peak.Store(g.now.Load()) }
