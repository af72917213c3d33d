package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/protectgen/protectgen/examples/repository/users"
	protect "github.com/protectgen/protectgen/runtime"
)

// load is callers that save users and read them back until they are stopped,
// and a tally of what they were answered. A caller that was not served waits
// for a millisecond before it comes again.
type load struct {
	repo    users.Repository
	callers int

	asked                             atomic.Int64
	served, failed, refused, timedOut atomic.Int64 // answers; one for each call
	strange                           atomic.Int64 // answers of any other kind
	wrong                             atomic.Int64 // served, but not with what was saved
	slowest, refusals                 atomic.Int64 // nanoseconds: of any call; of all refused ones together

	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	saved []string // emails of which a caller was told that they are saved
}

func startLoad(repo users.Repository, callers int) *load {
	l := &load{repo: repo, callers: callers, stop: make(chan struct{})}
	for caller := range callers {
		l.done.Go(func() { l.call(caller) })
	}
	return l
}

// finish stops the callers and waits until each has had its last answer.
func (l *load) finish() {
	close(l.stop)
	l.done.Wait()
}

func (l *load) answered() int64 {
	return l.served.Load() + l.failed.Load() + l.refused.Load() + l.timedOut.Load() + l.strange.Load()
}

func (l *load) call(caller int) {
	// Calls have the wrapper's timeout and none of the caller's: no answer is
	// owed to an impatient caller.
	ctx := context.Background()
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		user := users.User{Email: fmt.Sprintf("%d@caller%d.example", n, caller), Name: fmt.Sprint("user ", n)}
		if !l.count(func() error { return l.repo.Save(ctx, &user) }) {
			continue
		}
		l.mu.Lock()
		l.saved = append(l.saved, user.Email)
		l.mu.Unlock()
		var found *users.User
		if l.count(func() (err error) { found, err = l.repo.FindByEmail(ctx, user.Email); return err }) && *found != user {
			l.wrong.Add(1)
		}
	}
}

// count makes a call and files its answer. It returns whether it was served.
func (l *load) count(call func() error) bool {
	l.asked.Add(1)
	start := time.Now()
	err := call()
	took := int64(time.Since(start))
	for slowest := l.slowest.Load(); took > slowest && !l.slowest.CompareAndSwap(slowest, took); {
		slowest = l.slowest.Load()
	}
	switch protect.KindOf(err) {
	case protect.KindNone:
		l.served.Add(1)
		return true
	case protect.KindBreakerOpen:
		l.refused.Add(1)
		l.refusals.Add(took)
	case protect.KindTimeout, protect.KindPoolTimeout:
		l.timedOut.Add(1)
	case protect.KindOperation:
		if errors.Is(err, users.ErrNoUser) || errors.Is(err, users.ErrEmailTaken) {
			l.wrong.Add(1) // emails are new, and what was saved is there
		}
		l.failed.Add(1)
	default:
		l.strange.Add(1)
	}
	time.Sleep(time.Millisecond)
	return false
}
