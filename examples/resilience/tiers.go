package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// Gateway has a pool for each priority, so that what can wait never takes the
// place of what cannot.
type Gateway interface {
	// Charge is critical: its connections are there from the start, it has no
	// overflow, and it waits as long as its context.
	//
	//protect:pool critical_pool size=10 overflow=0 prefill=10 wait=forever
	Charge(ctx context.Context, id string) (string, error)

	// Browse is the normal traffic.
	//
	//protect:pool normal_pool size=20 overflow=10 wait=30s
	Browse(ctx context.Context, id string) (string, error)

	// Report is work for the background: when there is no place, it gives up
	// soon.
	//
	//protect:pool background_pool size=5 overflow=2 wait=1s
	Report(ctx context.Context, id string) (string, error)

	Close() error
}

// gateway implements Gateway on a service; each pool has its own.
type gateway struct{ *client }

func (g gateway) Charge(ctx context.Context, id string) (string, error) { return g.get(ctx, "/"+id) }
func (g gateway) Browse(ctx context.Context, id string) (string, error) { return g.get(ctx, "/"+id) }
func (g gateway) Report(ctx context.Context, id string) (string, error) { return g.get(ctx, "/"+id) }

func tiers(ctx context.Context, out io.Writer) (err error) {
	var servers [3]*service
	for i, name := range []string{"critical", "normal", "background"} {
		servers[i] = startService(name)
		defer servers[i].close()
	}
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	factory := func(s *service) protect.Factory[Gateway] {
		return protect.Factory[Gateway]{New: func(context.Context) (Gateway, error) { return gateway{s.client()}, nil }}
	}
	wrapper, err := NewProtectedGateway(rt, ProtectedGatewayFactories{
		CriticalPool: factory(servers[0]), NormalPool: factory(servers[1]), BackgroundPool: factory(servers[2]),
	})
	if err != nil {
		return err
	}

	// The most urgent comes last: the others are full by then.
	crowds := []*crowd{
		{pool: "background_pool", call: wrapper.Report, places: 7, server: servers[2]},
		{pool: "normal_pool", call: wrapper.Browse, places: 30, server: servers[1]},
		{pool: "critical_pool", call: wrapper.Charge, places: 10, server: servers[0]},
	}
	for _, c := range crowds {
		c.release = c.server.hold()
	}
	defer func() { // also when something went wrong
		for _, c := range crowds {
			c.leave()
		}
	}()
	for _, c := range crowds {
		if err := c.fill(ctx); err != nil {
			return err
		}
		status, err := c.status(rt)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-16s %2d callers are served at once: %d and %d more\n", c.pool, status.Active, status.Size, status.Overflow)
	}

	late, cancel := context.WithTimeout(ctx, 20*time.Second) // for the case that it is served, and held
	defer cancel()
	_, err = wrapper.Report(late, "late")
	fmt.Fprintf(out, "one more report gives up: %v\n", protect.KindOf(err))
	for _, c := range crowds[1:] {
		c.join(ctx)
		if err := until(ctx, "the caller waits", func() bool {
			status, err := c.status(rt)
			return err == nil && status.Waiting == 1
		}); err != nil {
			return err
		}
		fmt.Fprintf(out, "one more caller of %s waits\n", c.pool)
	}

	for _, c := range crowds {
		c.leave()
		status, err := c.status(rt)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-16s %2d answers, %d stay\n", c.pool, c.served, status.Idle)
	}
	return wrapper.Close()
}

// crowd is callers of one method at once.
type crowd struct {
	pool    string
	call    func(ctx context.Context, id string) (string, error)
	places  int
	server  *service
	release func()

	callers sync.WaitGroup
	mu      sync.Mutex
	served  int
}

// join adds a caller.
func (c *crowd) join(ctx context.Context) {
	c.callers.Go(func() {
		answer, err := c.call(ctx, "1")
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil && answer == c.server.name+"/1" {
			c.served++
		}
	})
}

// fill adds callers until every place is taken.
func (c *crowd) fill(ctx context.Context) error {
	for range c.places {
		c.join(ctx)
	}
	return c.server.holding(ctx, int64(c.places))
}

// leave has everybody served. Leaving again does nothing.
func (c *crowd) leave() {
	if c.release != nil {
		c.release()
		c.release = nil
	}
	c.callers.Wait()
}

func (c *crowd) status(rt *protect.Runtime) (protect.PoolStatus, error) {
	pool, err := protect.PoolOf[Gateway](rt, c.pool)
	if err != nil {
		return protect.PoolStatus{}, err
	}
	return pool.Status(), nil
}
