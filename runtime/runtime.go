package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	limiter "github.com/sethvargo/go-limiter"
)

// Runtime holds policies by key and the limiters, breakers and pools that
// apply them. It is safe for concurrent use. Make one with [New] and end it
// with [Runtime.Close], or use the process-wide [Default].
type Runtime struct {
	core   *core
	prefix string // "" or the scope's name with a slash behind it: "eu/"
	life   *life  // of the scope, or of the whole Runtime
}

// Option configures a Runtime.
type Option func(*options)

type options struct {
	observers []Observer
	open      storeOpener
	rethrow   bool
}

// WithObserver sends every event to each of the observers, in order. It adds
// to those of earlier options.
func WithObserver(observers ...Observer) Option {
	return func(o *options) {
		for _, obs := range observers {
			if obs != nil {
				o.observers = append(o.observers, obs)
			}
		}
	}
}

// WithStores makes limiters count in the stores that open returns, one store
// for each limiter; name is the limiter's, scope included. It is asked again when
// the settings of a limiter change, and also for a change that comes to nothing
// in the end; the Runtime closes each store once, when it is done with it. open
// and the stores must be safe for concurrent use; no lock is held when they are
// called. Without this option limiters count in memory.
func WithStores(open func(name string, tokens uint64, window time.Duration) (limiter.Store, error)) Option {
	return func(o *options) { o.open = open }
}

// WithRethrow lets a panic of a protected call go on, after everything that
// the call took was given back. Without it the panic comes back as a
// [*PanicError].
func WithRethrow() Option {
	return func(o *options) { o.rethrow = true }
}

// New returns an empty Runtime. It starts no goroutine.
func New(opts ...Option) *Runtime {
	var o options
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	root := newLife()
	return &Runtime{core: newCore(o, root), life: root}
}

// Default returns the Runtime of the whole process, which nothing closes by
// itself. Once closed it stays closed.
func Default() *Runtime { return defaultRuntime() }

var defaultRuntime = sync.OnceValue(func() *Runtime { return New() })

// orDefault lets callers pass nil for Default().
func (rt *Runtime) orDefault() *Runtime {
	if rt == nil {
		return Default()
	}
	return rt
}

// Scope returns a view of rt in which every name begins with name and a slash,
// so that two clients of one interface have parts of their own. Asking twice
// gives views of the same scope. A scope lists and closes its own parts only,
// and lists them without its prefix; rt lists them with it. Once a scope was
// closed, asking again begins a new one.
func (rt *Runtime) Scope(name string) *Runtime {
	if name == "" {
		return rt
	}
	prefix := rt.prefix + name + "/"
	return &Runtime{core: rt.core, prefix: prefix, life: rt.core.scope(prefix, rt.life)}
}

// full is the name of one of rt's parts in the whole Runtime.
func (rt *Runtime) full(name string) string { return rt.prefix + name }

// Configure sets the policy of key, from the next call on. It replaces the
// policy that directives or an earlier Configure gave as a whole: a section
// that is nil is a layer that is not there. A layer whose settings did not
// change keeps its state.
//
// Functions are no settings: a new one holds and the layer keeps its state; a
// nil one keeps the one that the directives gave. Whoever uses a part of key by
// its name, as [UseBreaker] does, has the functions that it was made with. The
// pool of a generated wrapper is resized when p has a pool section, and stays
// as it is otherwise.
//
// Configure closes the stores of limiters that p puts out of use, and instances
// that p makes too many, and waits a second at most for that. What takes longer
// goes on by itself; [Runtime.Close] waits for it.
//
// Errors are [ErrInvalid], naming the field, and [ErrClosed]; nothing changed
// then.
func (rt *Runtime) Configure(key string, p Policy) error {
	if key == "" {
		return invalid("key", "a policy needs a key")
	}
	if err := p.Validate(); err != nil {
		return err
	}
	return rt.update(func(tx *tx) error { return tx.configure(rt.full(key), p.clone()) })
}

// ConfigureAll sets the policies of several keys as [Runtime.Configure] does,
// and takes back those of the keys to remove as [Runtime.Remove] does, all of
// them or none. Policies may exchange parts: what one of the keys stops using,
// another may have.
//
// Errors name the key, and are those of Configure; nothing changed then. A key
// that is both to be set and to be removed is [ErrInvalid].
func (rt *Runtime) ConfigureAll(set map[string]Policy, remove ...string) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(set)) {
		switch err := set[key].Validate(); {
		case key == "":
			errs = append(errs, invalid("key", "a policy needs a key"))
		case slices.Contains(remove, key):
			errs = append(errs, invalid("key", "%s is both to be set and to be removed", key))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	full := make(map[string]Policy, len(set))
	for key, p := range set {
		full[rt.full(key)] = p
	}
	gone := make([]string, len(remove))
	for i, key := range remove {
		gone[i] = rt.full(key)
	}
	var failed string
	err := rt.update(func(tx *tx) (err error) {
		failed, err = tx.configureAll(full, gone)
		return err
	})
	if err != nil && failed != "" {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(failed, rt.prefix), err)
	}
	return err
}

// Policy returns the policy that holds for key: what [Runtime.Configure] set,
// or else what directives gave.
func (rt *Runtime) Policy(key string) (Policy, bool) {
	e := rt.core.entry(rt.full(key))
	if e == nil || rt.life.gone() {
		return Policy{}, false
	}
	return e.plan.Load().policy.clone(), true
}

// Remove takes back what [Runtime.Configure] set for key: the policy of its
// directives holds again, or none. A key that is not configured is left alone,
// and so is one whose directives ask for a limiter that has no store now
// because [WithStores] cannot open one.
func (rt *Runtime) Remove(key string) {
	// The other error is that the Runtime is closed, and then nothing is left
	// to remove.
	_ = rt.update(func(tx *tx) error { return tx.remove(rt.full(key)) })
}

// Keys returns the keys that have a policy, sorted.
func (rt *Runtime) Keys() []string {
	return namesOf(rt, func(c *core) map[string]slot[*entry] { return c.entries })
}

// Status returns a snapshot of what protects key. A key without a policy is
// [ErrNotFound]; after Close it is [ErrClosed]. When the limiter's store fails,
// or does not answer within a second, the error says so, and the snapshot lacks
// the limiter alone.
func (rt *Runtime) Status(key string) (Status, error) {
	if rt.life.over() {
		return Status{}, closedError(rt.full(key))
	}
	e := rt.core.entry(rt.full(key))
	if e == nil {
		return Status{}, &Error{Kind: KindNotFound, Name: rt.full(key), Err: errors.New("no policy has that key")}
	}
	return e.plan.Load().status()
}

// NewLimiter makes the limiter called name. A name that is there already with
// the same settings returns that limiter, with its state; with other settings
// it is [ErrInvalid]. One that a key's policy made ends with that policy all the
// same.
func (rt *Runtime) NewLimiter(name string, p LimitPolicy) (*Limiter, error) {
	if err := errors.Join(named("limiter", name), p.Validate()); err != nil {
		return nil, err
	}
	return create(rt, func(tx *tx) (*Limiter, error) { return tx.limiter(rt.full(name), p, nil) })
}

// Limiter returns the limiter called name, or [ErrNotFound]. One of a key's
// policy may give way to another when that changes: find it anew.
func (rt *Runtime) Limiter(name string) (*Limiter, error) {
	return find(rt, "limiter", name, func(c *core) map[string]slot[*Limiter] { return c.limiters })
}

// Limiters returns the names of all limiters, sorted.
func (rt *Runtime) Limiters() []string {
	return namesOf(rt, func(c *core) map[string]slot[*Limiter] { return c.limiters })
}

// NewBreaker makes the breaker called name. A name that is there already with
// the same settings returns that breaker, with its state; with other settings
// it is [ErrInvalid]. One that a key's policy made ends with that policy all the
// same.
func (rt *Runtime) NewBreaker(name string, p BreakerPolicy) (*Breaker, error) {
	if err := errors.Join(named("breaker", name), p.Validate()); err != nil {
		return nil, err
	}
	p = *copyOf(&p)
	p.Needs = slices.Clone(p.Needs)
	return create(rt, func(tx *tx) (*Breaker, error) { return tx.breaker(rt.full(name), p, nil) })
}

// Breaker returns the breaker called name, or [ErrNotFound]. One of a key's
// policy may give way to another when that changes: find it anew.
func (rt *Runtime) Breaker(name string) (*Breaker, error) {
	return find(rt, "breaker", name, func(c *core) map[string]slot[*Breaker] { return c.breakers })
}

// Breakers returns the names of all breakers, sorted.
func (rt *Runtime) Breakers() []string {
	return namesOf(rt, func(c *core) map[string]slot[*Breaker] { return c.breakers })
}

// NewPool makes the pool called name, of what f makes. Unlike limiters and
// breakers a pool belongs to one owner: a name that is there already is
// [ErrInvalid], until that pool is closed. A nil rt means [Default].
func NewPool[T any](rt *Runtime, name string, p PoolPolicy, f Factory[T]) (*Pool[T], error) {
	rt = rt.orDefault()
	if err := errors.Join(named("pool", name), p.Validate()); err != nil {
		return nil, err
	}
	if rt.life.over() {
		return nil, closedError(rt.full(name))
	}
	return registerPool(rt, rt.full(name), p, f)
}

// PoolOf returns the pool called name. It is [ErrNotFound] when there is none
// and [ErrInvalid] when it does not hold T.
func PoolOf[T any](rt *Runtime, name string) (*Pool[T], error) {
	rt = rt.orDefault()
	p, err := find(rt, "pool", name, func(c *core) map[string]slot[anyPool] { return c.pools })
	if err != nil {
		return nil, err
	}
	pool, ok := p.(*Pool[T])
	if !ok {
		return nil, invalid(rt.full(name), "the pool is a %T, not a %T", p, pool)
	}
	return pool, nil
}

// Pools returns the names of all pools, sorted, those included that only bound
// how many calls run under a key.
func (rt *Runtime) Pools() []string {
	return namesOf(rt, func(c *core) map[string]slot[anyPool] { return c.pools })
}

// Close refuses new calls, lets those under way finish, those that a limiter, a
// breaker or a pool makes by itself included, closes every pool and ends every
// part. From then on each call and whatever makes or finds a part is
// [ErrClosed]. It returns when all of that is done, with the errors that
// pools and stores reported, or with ctx's error when that is done first; the
// rest then goes on by itself. Closing again waits for the same end. A call
// that closes its own Runtime waits for itself: give it a ctx that ends.
//
// Close of a scope ends the scope's parts, and those of scopes inside it.
func (rt *Runtime) Close(ctx context.Context) error {
	return rt.core.close(orBackground(ctx), rt.prefix, rt.life)
}

// update runs change as one transaction, unless rt is closed.
func (rt *Runtime) update(change func(*tx) error) error {
	return rt.core.update(rt.life, change)
}

func create[P any](rt *Runtime, part func(*tx) (P, error)) (P, error) {
	var made P
	err := rt.update(func(tx *tx) (err error) {
		made, err = part(tx)
		return err
	})
	if err != nil {
		var none P
		return none, err
	}
	return made, nil
}

func find[P any](rt *Runtime, what, name string, of func(*core) map[string]slot[P]) (P, error) {
	if rt.life.over() {
		var none P
		return none, closedError(rt.full(name))
	}
	rt.core.mu.RLock()
	defer rt.core.mu.RUnlock()
	s, ok := of(rt.core)[rt.full(name)]
	if !ok {
		return s.part, &Error{Kind: KindNotFound, Name: rt.full(name), Err: errors.New("there is no " + what + " of that name")}
	}
	return s.part, nil
}

func namesOf[P any](rt *Runtime, of func(*core) map[string]slot[P]) []string {
	rt.core.mu.RLock()
	defer rt.core.mu.RUnlock()
	names := []string{}
	if rt.life.gone() {
		return names
	}
	for name := range of(rt.core) {
		if own, ok := strings.CutPrefix(name, rt.prefix); ok {
			names = append(names, own)
		}
	}
	slices.Sort(names)
	return names
}

func named(what, name string) error {
	if name == "" {
		return invalid("name", "a %s needs a name", what)
	}
	return nil
}

func closedError(name string) error {
	return &Error{Kind: KindClosed, Name: name}
}
