package runtime

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// defaultExecuteTimeout bounds a call of Execute that neither its policy nor
// an option gives a timeout.
const defaultExecuteTimeout = 5 * time.Second

// ExecuteOption adds to what protects one call of [Execute] or [ExecuteOn].
type ExecuteOption func(*executeOptions)

type executeOptions struct {
	limiter, breaker, pool *string
	entity                 string
	timeout                time.Duration
	attrs                  []slog.Attr
}

// UseLimiter applies a limit to entity's calls of the operation. When the
// key's policy has a limit, it holds for each (key, operation, entity);
// otherwise the limiter that is called operation must exist.
func UseLimiter(operation, entity string) ExecuteOption {
	return func(o *executeOptions) { o.limiter, o.entity = &operation, entity }
}

// UseBreaker runs the call under the breaker called name, in place of the one
// of the key's policy. It must exist.
func UseBreaker(name string) ExecuteOption {
	return func(o *executeOptions) { o.breaker = &name }
}

// UsePool makes the call hold an instance of the pool called name while it
// runs, in place of the pool of the key's policy. It must exist. [ExecuteOn]
// hands the instance over.
func UsePool(name string) ExecuteOption {
	return func(o *executeOptions) { o.pool = &name }
}

// Timeout bounds the whole call, waiting included, in place of the timeout of
// the key's policy. Forever is no bound, 0 is as if the option were not there.
func Timeout(d time.Duration) ExecuteOption {
	return func(o *executeOptions) { o.timeout = d }
}

// Attr adds an attribute to the events of the call.
func Attr(key string, value any) ExecuteOption {
	return func(o *executeOptions) { o.attrs = append(o.attrs, slog.Any(key, value)) }
}

// Execute calls fn under the policy of key and what the options add. A key
// without a policy is fine: then the options alone protect the call. Without a
// timeout in either, the call has 5 s; an earlier deadline of ctx stands.
//
// fn runs on the caller's goroutine and is never abandoned: a timeout ends its
// context, and a result that comes back later all the same is returned. What fn
// returned last is returned next to an error too.
//
// The error of fn comes back as it is; refusals are an [*Error], and a panic of
// fn is a [*PanicError]. A nil rt means [Default].
func Execute[T any](ctx context.Context, rt *Runtime, key string, fn func(ctx context.Context) (T, error), opts ...ExecuteOption) (T, error) {
	var result T
	if fn == nil {
		return result, invalid("fn", "there is nothing to call: fn is nil")
	}
	err := execute(ctx, rt, key, nil, opts, func(ctx context.Context, _ struct{}) (err error) {
		result, err = fn(ctx)
		return err
	})
	return result, err
}

// ExecuteOn is [Execute] on an instance borrowed from pool, which fn receives.
func ExecuteOn[C, T any](ctx context.Context, rt *Runtime, key string, pool *Pool[C], fn func(ctx context.Context, conn C) (T, error), opts ...ExecuteOption) (T, error) {
	var result T
	switch {
	case fn == nil:
		return result, invalid("fn", "there is nothing to call: fn is nil")
	case pool == nil:
		return result, invalid("pool", "there is nothing to borrow from: pool is nil")
	}
	err := execute(ctx, rt, key, pool, opts, func(ctx context.Context, conn C) (err error) {
		result, err = fn(ctx, conn)
		return err
	})
	return result, err
}

func execute[C any](ctx context.Context, rt *Runtime, key string, pool *Pool[C], opts []ExecuteOption, fn func(context.Context, C) error) error {
	rt, ctx = rt.orDefault(), orBackground(ctx)
	x := execution{rt: rt, key: rt.full(key), pooled: pool != nil}
	for _, opt := range opts {
		if opt != nil {
			opt(&x.options)
		}
	}
	if err := duration("timeout", x.options.timeout); err != nil {
		return err
	}
	chain := chain[C]{core: rt.core, life: rt.life, pool: pool}
	c := call{key: x.key, entity: x.options.entity, attrs: slices.Clip(x.options.attrs)} // observers may append
	return chain.do(ctx, &x, &c, "", fn)
}

// execution finds the plan of one call of Execute.
type execution struct {
	rt      *Runtime
	key     string // full
	options executeOptions
	pooled  bool // the call runs on an instance of a pool of its own
}

// current is the plan of the key with what the options say in its place.
func (x *execution) current() (pl *plan, lacks string, err error) {
	next := plan{}
	if e := x.rt.core.entry(x.key); e != nil {
		next = *e.plan.Load()
	}
	o := x.options
	if o.limiter != nil {
		next.bucket = bucketOf(*o.limiter, o.entity)
		if next.limiter == nil {
			if next.limiter, err = x.rt.Limiter(*o.limiter); err != nil {
				return nil, LayerLimiter, x.lacking(err)
			}
			next.scale = next.limiter.policy.Scale
			next.bucket = bucketOf("", o.entity)
		}
	}
	if o.breaker != nil {
		if next.breaker, err = x.rt.Breaker(*o.breaker); err != nil {
			return nil, LayerBreaker, x.lacking(err)
		}
		next.judge = next.breaker.policy.Failure
	}
	if o.pool != nil {
		if x.pooled {
			return nil, "", invalid("pool", "the call has a pool already; UsePool cannot name another")
		}
		if next.pool, err = find(x.rt, "pool", *o.pool, func(c *core) map[string]slot[anyPool] { return c.pools }); err != nil {
			return nil, LayerPool, x.lacking(err)
		}
	}
	next.policy.Timeout = orDefault(orDefault(o.timeout, next.policy.Timeout), defaultExecuteTimeout)
	return &next, "", nil
}

// lacking puts the call's key into the error for a part that is not there.
func (x *execution) lacking(err error) error {
	if refusal, ok := errors.AsType[*Error](err); ok {
		refusal.Key = x.key
	}
	return err
}

// FirstOf calls the functions in order and returns the result of the first
// that succeeds. When none does, the error is [ErrAllFailed] and joins the
// causes; a panic is one of them. It stops when ctx is done.
func FirstOf[T any](ctx context.Context, fns ...func(ctx context.Context) (T, error)) (T, error) {
	var none T
	var causes []error
	ctx = orBackground(ctx)
	for _, fn := range fns {
		if err := ctx.Err(); err != nil {
			causes = append(causes, err)
			break
		}
		if fn == nil {
			causes = append(causes, invalid("fn", "there is nothing to call: fn is nil"))
			continue
		}
		var result T
		err := callFn(ctx, func(ctx context.Context) (err error) {
			result, err = fn(ctx)
			return err
		}, false)
		if err == nil {
			return result, nil
		}
		causes = append(causes, err)
	}
	return none, &Error{Kind: KindAllFailed, Err: errors.Join(causes...)}
}
