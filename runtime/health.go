package runtime

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// statusTimeout bounds how long a store is asked for a status.
const statusTimeout = time.Second

// status asks each part of the plan. The pool and the breaker answer from
// memory; the limiter's store may have to be asked elsewhere. When that does
// not answer, the rest of the status is there all the same.
func (pl *plan) status() (Status, error) {
	s := Status{Key: pl.entry.key, Policy: pl.policy.clone()}
	if pl.breaker != nil {
		s.Breaker = new(pl.breaker.Status())
	}
	if pl.bulkhead != nil {
		s.Bulkhead = new(pl.bulkhead.status())
	}
	if pl.pool != nil {
		s.Pool = new(pl.pool.Status())
	}
	if pl.limiter != nil {
		ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
		defer cancel()
		l, err := pl.limiter.status(ctx, bucketOf("", ""), "", pl.scale)
		if err != nil {
			if ctx.Err() != nil {
				err = &Error{Kind: KindLimiterFailed, Name: pl.limiter.name, Err: err}
			}
			return s, err
		}
		s.Limiter = &l
	}
	return s, nil
}

// Health sums up all parts of rt. It is healthy when the Runtime is open, no
// breaker is open, and no pool or bulkhead keeps callers waiting with nothing
// left to give.
func (rt *Runtime) Health() Health {
	h := Health{
		Policies: len(rt.Keys()),
		Breakers: map[string]State{},
		Pools:    map[string]PoolStatus{},
	}
	problem := func(format string, args ...any) {
		h.Problems = append(h.Problems, fmt.Sprintf(format, args...))
	}
	if rt.life.over() {
		problem("the runtime is closed")
	}
	for _, name := range rt.Breakers() {
		b, err := rt.Breaker(name)
		if err != nil {
			continue // gone since it was listed
		}
		s := b.Status()
		h.Breakers[name] = s.State
		if s.State == Open {
			problem("breaker %s is open", name)
		}
	}
	for _, name := range rt.Pools() {
		p, err := find(rt, "pool", name, func(c *core) map[string]slot[anyPool] { return c.pools })
		if err != nil {
			continue
		}
		s := p.Status()
		h.Pools[name] = s
		if s.Waiting > 0 && s.Active >= s.Size+s.MaxOverflow {
			problem("pool %s is exhausted: %d waiting", name, s.Waiting)
		}
	}
	for _, name := range namesOf(rt, func(c *core) map[string]slot[*bulkhead] { return c.bulkheads }) {
		b, err := find(rt, "bulkhead", name, func(c *core) map[string]slot[*bulkhead] { return c.bulkheads })
		if err != nil {
			continue
		}
		if s := b.status(); s.Waiting > 0 {
			problem("bulkhead %s is full: %d waiting", name, s.Waiting)
		}
	}
	slices.Sort(h.Problems)
	h.Healthy = len(h.Problems) == 0
	return h
}
