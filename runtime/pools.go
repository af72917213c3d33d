package runtime

import "context"

// registerPool makes a pool and puts it under its name. The pool is made
// first, because filling it runs the user's code, and closed again when the
// name is taken.
func registerPool[T any](rt *Runtime, name string, p PoolPolicy, f Factory[T]) (*Pool[T], error) {
	if err := rt.update(func(tx *tx) error { return tx.free(name) }); err != nil {
		return nil, err
	}
	pool, err := newPool(rt.core.sink, name, p, f)
	if err != nil {
		return nil, err
	}
	pool.rethrow = rt.core.rethrow
	pool.onClosed = rt.core.stopped(rt.life, name, pool)
	if err := rt.update(func(tx *tx) error { return tx.start(name, pool) }); err != nil {
		_ = pool.Close(context.Background())
		return nil, err
	}
	return pool, nil
}
