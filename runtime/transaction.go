package runtime

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
)

// tx is one change of what a core holds: all of it happens, or nothing.
//
// The change is a function that runs under core.mu and has no effect but
// through the tx. It is run again when it asks for a limiter whose store is
// not open yet: stores are opened between the runs, without any lock.
type tx struct {
	core *core
	life *life // of the scope that the change belongs to

	limiters  overlay[*Limiter]
	breakers  overlay[*Breaker]
	bulkheads overlay[*bulkhead]
	pools     overlay[anyPool]
	entries   overlay[*entry]
	homes     overlay[string]

	// plans are those of the entries that the change is about, from the
	// beginning; nil until it has made them. A part that such an entry uses now
	// is not in use for that: what counts is the plan that it will have.
	plans map[*entry]*plan

	commits []func()   // run under mu when the change succeeded
	after   []func()   // run after that, without any lock
	retired []*Limiter // out of use, and closed last of all
	resized []anyPool  // may have instances too many, which are closed then too

	opened map[string]*Limiter // limiters whose stores were opened for this change
	wanted func() (*Limiter, error)
}

// slot is the place of a part under its name. A part that stands there for a
// policy key has the key's entry as its owner, and may be replaced or dropped
// with the key's policy.
type slot[P any] struct {
	part  P
	owner *entry
}

// overlay is a map of slots with the changes of a tx over it.
type overlay[P comparable] struct {
	base    map[string]slot[P]
	changes map[string]slot[P] // the zero slot frees the name
}

func over[P comparable](base map[string]slot[P]) overlay[P] {
	return overlay[P]{base, map[string]slot[P]{}}
}

func (o overlay[P]) get(name string) (slot[P], bool) {
	s, ok := o.changes[name]
	if !ok {
		s, ok = o.base[name]
	}
	var free P
	return s, ok && s.part != free
}

func (o overlay[P]) set(name string, part P, owner *entry) {
	o.changes[name] = slot[P]{part, owner}
}

func (o overlay[P]) free(name string) { o.changes[name] = slot[P]{} }

func (o overlay[P]) commit() {
	var free P
	maps.Copy(o.base, o.changes)
	maps.DeleteFunc(o.base, func(_ string, s slot[P]) bool { return s.part == free })
}

var errUnopened = errors.New("a store has to be opened first")

// update runs change as a transaction, unless l is over.
func (c *core) update(l *life, change func(*tx) error) error {
	opened := map[string]*Limiter{}
	// What is left of opened at the end: limiters that somebody else made in
	// the meantime, or that a failed change has no use for.
	defer func() {
		var left []*Limiter
		for _, l := range opened {
			left = append(left, l)
		}
		c.discard(left...)
	}()
	for {
		t := &tx{
			core: c, life: l,
			limiters: over(c.limiters), breakers: over(c.breakers), bulkheads: over(c.bulkheads),
			pools: over(c.pools), entries: over(c.entries), homes: over(c.homes),
			plans:  map[*entry]*plan{},
			opened: opened,
		}
		err := t.run(change)
		if !errors.Is(err, errUnopened) {
			// Each is deferred, in order, so that an observer that ends the
			// goroutine in one does not keep the others from happening.
			defer c.retire(t.retired, t.resized)
			for _, f := range slices.Backward(t.after) {
				defer f()
			}
			return err
		}
		l, err := t.wanted()
		if err != nil {
			return err
		}
		opened[l.Name()] = l
	}
}

// run runs the change under the lock and commits what it did.
func (t *tx) run(change func(*tx) error) error {
	t.core.mu.Lock()
	defer t.core.mu.Unlock()
	if t.life.over() {
		return closedError("")
	}
	if err := change(t); err != nil {
		t.after, t.retired = nil, nil
		return err
	}
	for e, next := range t.plans {
		t.dropUnused(e, next)
	}
	if name, ok := t.ending(); ok {
		t.after, t.retired = nil, nil
		return closedError(name)
	}
	for name, s := range t.limiters.changes {
		if t.opened[name] == s.part {
			delete(t.opened, name)
		}
	}
	t.limiters.commit()
	t.breakers.commit()
	t.bulkheads.commit()
	t.pools.commit()
	t.entries.commit()
	t.homes.commit()
	for _, f := range t.commits {
		f()
	}
	t.core.leave(t.retired)
	return nil
}

// ending returns a name that the change gives or frees in a scope which ends.
// Only a Runtime outside the scope can try: what it made there would be dropped
// with the scope, and closed by nobody.
func (t *tx) ending() (string, bool) {
	for _, names := range [...]iter.Seq[string]{
		maps.Keys(t.limiters.changes), maps.Keys(t.breakers.changes), maps.Keys(t.bulkheads.changes),
		maps.Keys(t.pools.changes), maps.Keys(t.entries.changes),
	} {
		for name := range names {
			if t.core.ending(name) != nil {
				return name, true
			}
		}
	}
	return "", false
}

// limiter returns the limiter called name, made with p unless it is there. One
// with other settings is refused, unless owner owns it: then it is replaced.
func (t *tx) limiter(name string, p LimitPolicy, owner *entry) (*Limiter, error) {
	old, ok := t.limiters.get(name)
	if ok && old.part.policy.same(p) {
		return old.part, nil
	}
	if ok && !t.mayReplace(old.owner, owner, func(pl *plan) bool { return pl.limiter == old.part }) {
		return nil, taken("limiter", name)
	}
	l, in := t.opened[name], t.core.lifeOf(name)
	if l == nil || !l.policy.same(p) || l.life != in {
		t.wanted = func() (*Limiter, error) {
			if l != nil {
				t.core.discard(l)
			}
			made, err := newLimiter(t.core.sink, in, name, p, t.core.open)
			if err == nil {
				made.rethrow = t.core.rethrow
			}
			return made, err
		}
		return nil, errUnopened
	}
	if ok {
		t.retired = append(t.retired, old.part)
	}
	t.limiters.set(name, l, owner)
	return l, nil
}

// breaker does for breakers what limiter does.
func (t *tx) breaker(name string, p BreakerPolicy, owner *entry) (*Breaker, error) {
	old, ok := t.breakers.get(name)
	if ok && old.part.policy.same(p) {
		return old.part, nil
	}
	if ok {
		if !t.mayReplace(old.owner, owner, func(pl *plan) bool { return pl.breaker == old.part }) {
			return nil, taken("breaker", name)
		}
		t.after = append(t.after, old.part.close)
	}
	// What it needs is in its own scope, whoever configures it.
	core, prefix := t.core, t.core.scopeOf(name)
	b := newBreaker(core.sink, core.lifeOf(name), name, p, func(needed string) *Breaker {
		core.mu.RLock()
		defer core.mu.RUnlock()
		return core.breakers[prefix+needed].part
	})
	b.rethrow = core.rethrow
	if ok {
		t.commits = append(t.commits, func() { b.succeed(old.part) })
	}
	t.breakers.set(name, b, owner)
	t.after = append(t.after, b.events.flush)
	return b, nil
}

// bulkhead does for bulkheads what limiter does, but resizes instead of
// replacing: those who are in it stay counted.
func (t *tx) bulkhead(name string, p BulkheadPolicy, owner *entry) (*bulkhead, error) {
	b, ok := t.bulkheads.get(name)
	switch {
	case !ok:
		b.part = newBulkhead(name, p)
		t.bulkheads.set(name, b.part, owner)
	case b.part.policy().same(p):
	case t.mayReplace(b.owner, owner, func(pl *plan) bool { return pl.bulkhead == b.part }):
		t.commits = append(t.commits, func() { b.part.resize(p) })
	default:
		return nil, taken("bulkhead", name)
	}
	return b.part, nil
}

// permits returns the pool that bounds the calls under a key without a
// wrapper: one that somebody started under that name, with settings of its
// own, or else one of permits.
func (t *tx) permits(name string, p PoolPolicy, owner *entry) anyPool {
	pool, ok := t.pools.get(name)
	switch {
	case !ok:
		made := newPermits(t.core.sink, name, p)
		made.onClosed = t.core.stopped(t.life, name, made)
		pool.part = made
		t.pools.set(name, made, owner)
	case pool.owner == owner:
		t.resize(pool.part, p)
	}
	return pool.part
}

// resize changes a pool's settings with the commit, so that the last change to
// happen is the one that holds, and closes what is too much after it.
func (t *tx) resize(pool anyPool, p PoolPolicy) {
	if pool.policy().same(p) {
		return
	}
	t.commits = append(t.commits, func() {
		pool.adjust(p)
		t.resized = append(t.resized, pool)
	})
}

// mayReplace reports whether a part with that owner may be replaced for entry
// e: e owns it, and no other entry's plan uses it.
func (t *tx) mayReplace(owner, e *entry, uses func(*plan) bool) bool {
	return e != nil && owner == e && !t.usedBesides(e, uses)
}

func (t *tx) usedBesides(e *entry, uses func(*plan) bool) bool {
	for _, s := range t.entries.base {
		if _, ours := t.plans[s.part]; !ours && s.part != e && uses(s.part.plan.Load()) {
			return true
		}
	}
	for other, pl := range t.plans {
		if other != e && pl != nil && uses(pl) {
			return true
		}
	}
	return false
}

// taken is the error for a name that is in use with other settings.
func taken(what, name string) error {
	return invalid(name, "a %s of that name is there already, with other settings", what)
}

// configureAll sets and removes the policies of several keys. With an error it
// returns the key that cannot have its policy.
func (t *tx) configureAll(set map[string]Policy, remove []string) (failed string, err error) {
	for key := range set {
		if e, ok := t.entries.get(key); ok {
			t.plans[e.part] = nil
		}
	}
	for _, key := range remove {
		if e, ok := t.entries.get(key); ok && e.part.configured != nil {
			t.plans[e.part] = nil
		}
	}
	for _, key := range remove {
		if err := t.remove(key); err != nil {
			return key, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if err := t.configure(key, set[key].clone()); err != nil {
			return key, err
		}
	}
	return "", nil
}

// configure sets the policy of key.
func (t *tx) configure(key string, p Policy) error {
	e, ok := t.entries.get(key)
	if !ok {
		e.part = &entry{key: key}
		t.entries.set(key, e.part, nil)
	}
	next := e.part.terms
	next.configured = &p
	return t.plan(e.part, next)
}

// remove takes the configured policy of key back.
func (t *tx) remove(key string) error {
	e, ok := t.entries.get(key)
	if !ok || e.part.configured == nil {
		return nil
	}
	next := e.part.terms
	next.configured = nil
	if next.spec == nil {
		t.entries.free(key)
	}
	return t.plan(e.part, next)
}

// settle gives an interface, by its full name, the package that its wrappers
// are of. Names begin with the package's name, so those of billing/v1 and of
// search/v1 may be the same; what the two protect is not, and must not share a
// breaker.
func (t *tx) settle(name, home string) error {
	there, ok := t.homes.get(name)
	if ok && there.part != home {
		return invalid(name, "a wrapper of package %s has that name, and this one is of %s; Runtime.Scope keeps two apart", there.part, home)
	}
	t.homes.set(name, home, nil)
	return nil
}

// declare gives a key the policy of directives. A key that has one with other
// settings is refused.
func (t *tx) declare(spec Spec, pool anyPool) (*entry, error) {
	e, ok := t.entries.get(spec.Key)
	if !ok {
		e.part = &entry{key: spec.Key}
		t.entries.set(spec.Key, e.part, nil)
	}
	next := e.part.terms
	if next.spec == nil {
		next.spec = &spec
	} else if !next.spec.same(spec) {
		return nil, invalid(spec.Key, "another wrapper declared that key, with other settings; Runtime.Scope keeps two apart")
	}
	if pool != nil {
		next.pool = pool
	}
	return e.part, t.plan(e.part, next)
}

// plan makes e's plan from its new terms. Each part is the shared one of the
// directives while its settings are theirs, and the key's own otherwise.
func (t *tx) plan(e *entry, terms terms) error {
	p := terms.policy()
	next := &plan{entry: e, policy: p}
	spec := terms.spec
	if spec == nil {
		spec = &Spec{Key: e.key, Limiter: e.key, Breaker: e.key, Bulkhead: e.key}
	}
	name := func(shared string, same bool) (string, *entry) {
		if same && shared != e.key {
			return shared, nil
		}
		return e.key, e
	}
	if p.Limit != nil {
		n, owner := name(spec.Limiter, spec.Policy.Limit != nil && spec.Policy.Limit.same(*p.Limit))
		l, err := t.limiter(n, *p.Limit, owner)
		if err != nil {
			return err
		}
		next.limiter, next.scale = l, p.Limit.Scale
	}
	if p.Breaker != nil {
		n, owner := name(spec.Breaker, spec.Policy.Breaker != nil && spec.Policy.Breaker.same(*p.Breaker))
		b, err := t.breaker(n, *p.Breaker, owner)
		if err != nil {
			return err
		}
		next.breaker, next.judge = b, p.Breaker.Failure
	}
	if p.Bulkhead != nil {
		n, owner := name(spec.Bulkhead, spec.Policy.Bulkhead != nil && spec.Policy.Bulkhead.same(*p.Bulkhead))
		b, err := t.bulkhead(n, *p.Bulkhead, owner)
		if err != nil {
			return err
		}
		next.bulkhead = b
	}
	if p.Retry != nil {
		retry := p.Retry.withDefaults()
		next.retry = &retry
	}
	switch {
	case terms.pool != nil:
		next.pool = terms.pool
		if p.Pool != nil {
			t.resize(terms.pool, *p.Pool)
		}
	case p.Pool != nil:
		next.pool = t.permits(e.key, *p.Pool, e)
	}
	t.plans[e] = next
	t.commits = append(t.commits, func() {
		e.terms = terms
		e.plan.Store(next)
	})
	return nil
}

// dropUnused frees the names of the parts that e owns and its next plan does
// not use, and closes those that no other plan uses.
func (t *tx) dropUnused(e *entry, next *plan) {
	if s, ok := t.limiters.get(e.key); ok && s.owner == e && s.part != next.limiter &&
		!t.usedBesides(e, func(pl *plan) bool { return pl.limiter == s.part }) {
		t.limiters.free(e.key)
		t.retired = append(t.retired, s.part)
	}
	if s, ok := t.breakers.get(e.key); ok && s.owner == e && s.part != next.breaker &&
		!t.usedBesides(e, func(pl *plan) bool { return pl.breaker == s.part }) {
		t.breakers.free(e.key)
		t.after = append(t.after, s.part.close)
	}
	if s, ok := t.bulkheads.get(e.key); ok && s.owner == e && s.part != next.bulkhead &&
		!t.usedBesides(e, func(pl *plan) bool { return pl.bulkhead == s.part }) {
		t.bulkheads.free(e.key)
		t.after = append(t.after, s.part.close)
	}
	if s, ok := t.pools.get(e.key); ok && s.owner == e && s.part != next.pool {
		t.pools.free(e.key)
		// Its borrowers finish by themselves; nobody waits for them here.
		t.after = append(t.after, func() { _ = s.part.Close(already(context.Background())) })
	}
}

// free reports an error unless a pool may be started under name.
func (t *tx) free(name string) error {
	if s, ok := t.pools.get(name); ok && s.owner == nil {
		return invalid(name, "a pool of that name is there already; close it first, or use another name or scope")
	}
	return nil
}

// start registers a pool that was made under name. Permits that stood there
// for a key give way to it.
func (t *tx) start(name string, pool anyPool) error {
	if err := t.free(name); err != nil {
		return err
	}
	old, ok := t.pools.get(name)
	t.pools.set(name, pool, nil)
	if ok {
		t.after = append(t.after, func() { _ = old.part.Close(already(context.Background())) })
		return t.plan(old.owner, old.owner.terms)
	}
	return nil
}

// stopped returns what a pool called name does once it is closed.
func (c *core) stopped(l *life, name string, pool anyPool) func() {
	return func() {
		// After the end of the Runtime there is no name left to free.
		_ = c.update(l, func(tx *tx) error { return tx.stop(name, pool) })
	}
}

// stop frees the name of a pool that was closed.
func (t *tx) stop(name string, pool anyPool) error {
	s, ok := t.pools.get(name)
	if !ok || s.part != pool {
		return nil
	}
	t.pools.free(name)
	if e, ok := t.entries.get(name); ok && e.part.pool == nil {
		return t.plan(e.part, e.part.terms)
	}
	return nil
}

// already returns a context that is done, for a Close that is not waited for.
func already(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
