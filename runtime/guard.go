package runtime

import (
	"context"
	"reflect"
	"slices"
	"strings"
)

// Spec is what a generated wrapper says about one method.
type Spec struct {
	Key    string // the policy key: weather.Weather.Forecast
	Policy Policy // what the directives give: the default of Key until Configure overrides it

	// The names of parts that the method shares with others. Empty means a
	// part of its own, named after Key.
	Limiter, Breaker, Bulkhead string
}

// in returns s with full names.
func (s Spec) in(rt *Runtime) Spec {
	s.Key = rt.full(s.Key)
	for _, name := range []*string{&s.Limiter, &s.Breaker, &s.Bulkhead} {
		if *name == "" {
			*name = s.Key
		} else {
			*name = rt.full(*name)
		}
	}
	s.Policy = s.Policy.clone()
	return s
}

// same compares two specs by their data.
func (s Spec) same(o Spec) bool {
	return s.Key == o.Key && s.Limiter == o.Limiter && s.Breaker == o.Breaker && s.Bulkhead == o.Bulkhead &&
		s.Policy.same(o.Policy)
}

// Guard runs the calls of one method through the chain of its key. It is safe
// for concurrent use. Generated wrappers hold one for each protected method.
type Guard[T any] struct {
	chain chain[T]
	entry *entry
}

// NewGuards makes a guard for each spec, around calls to next. It makes all of
// them or none. Wrappers that declare the same names share the parts. A nil rt
// means [Default]; a nil next, settings that cannot hold and names that are in
// use with other settings, or for an interface T of another package, are
// [ErrInvalid].
func NewGuards[T any](rt *Runtime, next T, specs ...Spec) ([]*Guard[T], error) {
	if any(next) == nil {
		return nil, invalid("next", "there is nothing to protect: next is nil")
	}
	return newGuards(rt, chain[T]{next: next}, specs)
}

// NewPooledGuards is [NewGuards] for calls that run on instances borrowed from
// pool.
func NewPooledGuards[T any](rt *Runtime, pool *Pool[T], specs ...Spec) ([]*Guard[T], error) {
	if pool == nil {
		return nil, invalid("pool", "there is nothing to protect: pool is nil")
	}
	return newGuards(rt, chain[T]{pool: pool}, specs)
}

func newGuards[T any](rt *Runtime, c chain[T], specs []Spec) ([]*Guard[T], error) {
	rt = rt.orDefault()
	c.core, c.life = rt.core, rt.life
	var pool anyPool
	if c.pool != nil {
		pool = c.pool
	}
	guards := make([]*Guard[T], len(specs))
	for i, spec := range specs {
		if err := spec.validate(); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(specs[:i], func(s Spec) bool { return s.Key == spec.Key }) {
			return nil, invalid(rt.full(spec.Key), "two of the guards have that key")
		}
	}
	home := reflect.TypeFor[T]().PkgPath() // empty for a type without a name
	err := rt.update(func(tx *tx) error {
		for i, spec := range specs {
			if home != "" {
				if err := tx.settle(rt.full(spec.of()), home); err != nil {
					return err
				}
			}
			e, err := tx.declare(spec.in(rt), pool)
			if err != nil {
				return err
			}
			guards[i] = &Guard[T]{chain: c, entry: e}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return guards, nil
}

// of returns the name of the interface that Key is a method of.
func (s Spec) of() string {
	if i := strings.LastIndexByte(s.Key, '.'); i >= 0 {
		return s.Key[:i]
	}
	return s.Key
}

func (s Spec) validate() error {
	if s.Key == "" {
		return invalid("key", "a guard needs a key")
	}
	return s.Policy.Validate()
}

// Do runs fn under the guard: on next, or on an instance borrowed from the
// pool. entity picks the limiter's bucket. The error of fn comes back as it
// is; refusals are an [*Error], and a panic of fn is a [*PanicError].
func (g *Guard[T]) Do(ctx context.Context, entity string, fn func(ctx context.Context, next T) error) error {
	return g.do(ctx, g.entry, entity, fn)
}

func (g *Guard[T]) do(ctx context.Context, from planner, entity string, fn func(ctx context.Context, next T) error) error {
	if fn == nil {
		return invalid("fn", "there is nothing to call: fn is nil")
	}
	c := call{key: g.entry.key, entity: entity}
	return g.chain.do(orBackground(ctx), from, &c, bucketOf("", entity), fn)
}

// DoKeyed is [Guard.Do] for an entity that has to be found out first, which may
// panic. A panic of entity is answered as one of fn: it comes back as a
// [*PanicError], or goes on if the Runtime rethrows. It is not held against the
// callee, which was not called. A nil entity is [ErrInvalid].
func (g *Guard[T]) DoKeyed(ctx context.Context, entity func() string, fn func(ctx context.Context, next T) error) error {
	if entity == nil {
		return invalid("entity", "there is nothing that says whose call it is: entity is nil")
	}
	name, err := callEntity(entity, g.chain.core.rethrow)
	if err != nil {
		return g.do(ctx, planless{err}, "", fn)
	}
	return g.do(ctx, g.entry, name, fn)
}

func callEntity(entity func() string, rethrow bool) (name string, err error) {
	if !rethrow {
		defer capture(&err)
	}
	return entity(), nil
}

// With returns the guard around calls to another instance, with the same
// parts.
func (g *Guard[T]) With(next T) *Guard[T] {
	other := *g
	other.chain.pool = nil
	other.chain.next = next
	return &other
}
