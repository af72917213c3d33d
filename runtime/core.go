package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// core is what a Runtime and its scopes share: the parts and the policies,
// each under its full name.
//
// Invariants:
//   - The maps change only inside a transaction (tx), under mu.
//   - No code of the user runs under mu: stores are opened and closed, pools
//     filled and events delivered outside it.
//   - An entry's plan is never nil, and refers to parts that are in the maps
//     or were there when it was made. A part is closed only after every plan
//     that used it was replaced, so a call that meets a closed part finds
//     another plan, or the end of its Runtime.
type core struct {
	sink    *sink
	open    storeOpener
	rethrow bool

	mu        sync.RWMutex
	entries   map[string]slot[*entry]
	limiters  map[string]slot[*Limiter]
	breakers  map[string]slot[*Breaker]
	bulkheads map[string]slot[*bulkhead]
	pools     map[string]slot[anyPool]
	homes     map[string]slot[string] // by an interface's name: the path of the package that its wrappers are of
	scopes    map[string]*life        // by prefix; the whole Runtime is ""

	// leaving are the limiters that are out of use and may not be closed yet,
	// each with what is closed once they are.
	leaving map[*Limiter]chan struct{}
}

// entry is a policy key.
type entry struct {
	key  string
	plan atomic.Pointer[plan]

	terms // guarded by core.mu
}

// terms are what an entry's plan is made from.
type terms struct {
	spec       *Spec   // what directives gave, with full names; nil without a wrapper
	pool       anyPool // that the wrapper's calls run on; nil without one
	configured *Policy // what Configure gave; nil without
}

// policy returns the policy that holds: the configured one, with the functions
// of the directives where it has none, or else that of the directives.
func (t terms) policy() Policy {
	if t.configured == nil {
		if t.spec == nil {
			return Policy{}
		}
		return t.spec.Policy.clone()
	}
	p := t.configured.clone()
	if t.spec == nil {
		return p
	}
	given := t.spec.Policy
	if p.Limit != nil && p.Limit.Scale == nil && given.Limit != nil {
		p.Limit.Scale = given.Limit.Scale
	}
	if p.Breaker != nil && p.Breaker.Failure == nil && given.Breaker != nil {
		p.Breaker.Failure = given.Breaker.Failure
	}
	if p.Retry != nil && p.Retry.When == nil && given.Retry != nil {
		p.Retry.When = given.Retry.When
	}
	return p
}

func newCore(o options, root *life) *core {
	return &core{
		sink:      newSink(o.observers),
		open:      o.open,
		rethrow:   o.rethrow,
		entries:   map[string]slot[*entry]{},
		limiters:  map[string]slot[*Limiter]{},
		breakers:  map[string]slot[*Breaker]{},
		bulkheads: map[string]slot[*bulkhead]{},
		pools:     map[string]slot[anyPool]{},
		homes:     map[string]slot[string]{},
		scopes:    map[string]*life{"": root},
		leaving:   map[*Limiter]chan struct{}{},
	}
}

func (c *core) entry(key string) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[key].part
}

// scope returns the life under prefix. A scope of a parent that has ended has
// ended too, and so has one inside a scope that is still closing, whoever asks:
// the end of that would forget it, and the end of the Runtime not reach it.
func (c *core) scope(prefix string, parent *life) *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	if parent.over() {
		return parent
	}
	if l := c.ending(prefix); l != nil {
		return l
	}
	l, ok := c.scopes[prefix]
	if !ok {
		l = newLife()
		c.scopes[prefix] = l
	}
	return l
}

// scopeOf returns the prefix of the scope that a full name lies in, the
// innermost one. The caller holds mu.
func (c *core) scopeOf(name string) string {
	for i := len(name); i > 0; i-- {
		if name[i-1] == '/' && c.scopes[name[:i]] != nil {
			return name[:i]
		}
	}
	return ""
}

// lifeOf returns the life of the innermost scope that a full name lies in. The
// caller holds mu.
func (c *core) lifeOf(name string) *life { return c.scopes[c.scopeOf(name)] }

// ending returns the scope around name that was closed and still has calls or
// parts to see off, nil without one. The caller holds mu.
func (c *core) ending(name string) *life {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if l := c.scopes[name[:i+1]]; l != nil && l.over() {
			return l
		}
	}
	return nil
}

// close ends the scopes under prefix and their parts, once, and waits for it.
// Whoever still has a view of a scope that ended before does not end another of
// its name.
func (c *core) close(ctx context.Context, prefix string, l *life) error {
	c.mu.Lock()
	if l.over() {
		c.mu.Unlock()
		return l.wait(ctx)
	}
	var ending, earlier []*life
	for p, scope := range c.scopes {
		switch {
		case !strings.HasPrefix(p, prefix):
		case scope.end():
			ending = append(ending, scope)
		default:
			earlier = append(earlier, scope) // closed by itself, and not done yet
		}
	}
	// No transaction changes what is under prefix from here on, so what is
	// there now is all there will be.
	all := c.under(prefix)
	for l, closed := range c.leaving {
		if strings.HasPrefix(l.name, prefix) {
			all.leaving = append(all.leaving, closed)
		}
	}
	c.mu.Unlock()

	go func() {
		err := all.close(slices.Concat(ending, earlier))
		for _, scope := range earlier {
			<-scope.finished
		}
		c.forget(prefix)
		for _, scope := range ending {
			scope.finish(err)
		}
	}()
	return l.wait(ctx)
}

// parts is a set of parts that end together.
type parts struct {
	limiters  []*Limiter
	breakers  []*Breaker
	bulkheads []*bulkhead
	pools     []anyPool
	leaving   []chan struct{}
}

// under returns the parts whose names begin with prefix. The caller holds mu.
func (c *core) under(prefix string) parts {
	return parts{
		limiters:  pick(c.limiters, prefix),
		breakers:  pick(c.breakers, prefix),
		bulkheads: pick(c.bulkheads, prefix),
		pools:     pick(c.pools, prefix),
	}
}

func pick[P any](m map[string]slot[P], prefix string) []P {
	var picked []P
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(name, prefix) {
			picked = append(picked, m[name].part)
		}
	}
	return picked
}

// close lets the calls of the lives finish and ends every part.
//
// Whoever waits for a pool, a bulkhead or a token is refused at once, so that a
// queue does not hold up the end; breakers and stores stay until the last call
// left.
func (p parts) close(lives []*life) error {
	// What cannot end in time goes on until it can: nothing is abandoned.
	ctx := context.Background()
	errs := make([]error, len(p.pools))
	var wg sync.WaitGroup
	for i, pool := range p.pools {
		wg.Go(func() { errs[i] = pool.Close(ctx) })
	}
	for _, b := range p.bulkheads {
		b.close()
	}
	for _, l := range p.limiters {
		l.endWaits()
	}
	for _, l := range lives {
		<-l.drained
	}
	wg.Wait()
	for _, b := range p.breakers {
		b.close()
	}
	for _, l := range p.limiters {
		if err := l.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("protect: limiter %s: %w", l.Name(), err))
		}
	}
	for _, closed := range p.leaving {
		<-closed
	}
	return errors.Join(errs...)
}

// leave notes that limiters are out of use; whoever does so retires them. The
// caller holds mu.
func (c *core) leave(limiters []*Limiter) {
	for _, l := range limiters {
		c.leaving[l] = make(chan struct{})
	}
}

// retireTime is how long a change waits for the stores and the instances that it
// puts out of use.
const retireTime = time.Second

// retire closes limiters that leave, and the instances that pools have too many.
// What takes its time for that does not hold up the change: the rest goes on by
// itself, and the end of the Runtime waits for it.
func (c *core) retire(limiters []*Limiter, pools []anyPool) {
	if len(limiters)+len(pools) == 0 {
		return
	}
	ends := make([]chan struct{}, len(limiters)+len(pools))
	c.mu.Lock()
	for i, l := range limiters {
		ends[i] = c.leaving[l]
	}
	c.mu.Unlock()
	for i, l := range limiters {
		go func() {
			_ = l.close(context.Background())
			c.mu.Lock()
			delete(c.leaving, l)
			c.mu.Unlock()
			close(ends[i])
		}()
	}
	for i, p := range pools {
		trimmed := make(chan struct{})
		ends[len(limiters)+i] = trimmed
		go func() {
			defer close(trimmed)
			p.trim() // with a place held, for which the end of the pool waits
		}()
	}
	timer := time.NewTimer(retireTime)
	defer timer.Stop()
	for _, ch := range ends {
		select {
		case <-ch:
		case <-timer.C:
			return
		}
	}
}

// discard retires limiters that never were in use.
func (c *core) discard(limiters ...*Limiter) {
	c.mu.Lock()
	c.leave(limiters)
	c.mu.Unlock()
	c.retire(limiters, nil)
}

// forget frees the names of an ended scope.
func (c *core) forget(prefix string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	drop := func(name string) bool { return strings.HasPrefix(name, prefix) }
	maps.DeleteFunc(c.entries, func(name string, _ slot[*entry]) bool { return drop(name) })
	maps.DeleteFunc(c.limiters, func(name string, _ slot[*Limiter]) bool { return drop(name) })
	maps.DeleteFunc(c.breakers, func(name string, _ slot[*Breaker]) bool { return drop(name) })
	maps.DeleteFunc(c.bulkheads, func(name string, _ slot[*bulkhead]) bool { return drop(name) })
	maps.DeleteFunc(c.pools, func(name string, _ slot[anyPool]) bool { return drop(name) })
	maps.DeleteFunc(c.homes, func(name string, _ slot[string]) bool { return drop(name) })
	maps.DeleteFunc(c.scopes, func(name string, _ *life) bool { return name != "" && drop(name) })
}
