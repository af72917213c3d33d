// Repository puts a pool of PostgreSQL connections behind a generated wrapper
// and kills the database under load. The page it prints says what became of the
// callers, of the breaker and of every connection.
//
// It starts a server of its own, on a free loopback port and in a temporary
// folder, and needs PostgreSQL's programs for it (Debian: apt-get install
// postgresql). It exits with 0 only when everything was as announced.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	goruntime "runtime"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/protectgen/protectgen/examples/repository/users"
	"github.com/protectgen/protectgen/internal/testserver"
	protect "github.com/protectgen/protectgen/runtime"
)

// What the load is. The other numbers stand in users/users.go.
const (
	callers     = 20
	connections = 4
	overflow    = 2
	// untilWithin is when a condition that must come true has failed to. It
	// only ends a run that has gone wrong.
	untilWithin = 30 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "repository:", err)
		os.Exit(1)
	}
}

// tour is the page that is being written, and what it is about.
type tour struct {
	out    io.Writer
	failed int

	server  *testserver.Postgres
	fleet   *fleet
	load    *load
	breaker *protect.Breaker
	changes changes
}

func run(ctx context.Context, out io.Writer) (err error) {
	goroutines := goruntime.NumGoroutine()
	server, err := testserver.StartPostgres(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if err := query(ctx, server, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, users.Schema)
		return err
	}); err != nil {
		return err
	}

	t := &tour{out: out, server: server, fleet: &fleet{url: server.URL()}}
	rt := protect.New(protect.WithObserver(&t.changes))
	defer func() { // bounded, so that a place that was lost ends in an error
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), untilWithin)
		defer cancel()
		err = errors.Join(err, rt.Close(ctx))
	}()
	repo, err := users.NewProtectedRepository(rt, t.fleet.factory())
	if err != nil {
		return err
	}
	if t.breaker, err = rt.Breaker("database"); err != nil {
		return err
	}

	t.load = startLoad(repo, callers)
	err = errors.Join(t.steady(ctx), t.crash(ctx), t.restart(ctx))
	t.load.finish()
	if err != nil {
		return err
	}
	if err := t.end(ctx, rt, repo, goroutines); err != nil {
		return err
	}
	if t.failed > 0 {
		return fmt.Errorf("%d lines are not as they should be", t.failed)
	}
	return nil
}

func (t *tour) steady(ctx context.Context) error {
	t.title("Load: %d callers, %d connections and %d more in need", callers, connections, overflow)
	if err := until(ctx, "2000 calls are served", func() bool { return t.load.served.Load() >= 2000 }); err != nil {
		return err
	}
	t.line(t.load.failed.Load() == 0 && t.load.refused.Load() == 0, "calls", "%d served, %d failed, %d refused",
		t.load.served.Load(), t.load.failed.Load(), t.load.refused.Load())
	sessions, err := t.sessions(ctx)
	t.line(err == nil && sessions <= connections+overflow, "sessions", "the server counts %d", sessions)
	t.line(t.breaker.Status().State == protect.Closed, "the breaker", "%v", t.breaker.Status().State)
	return nil
}

func (t *tour) crash(ctx context.Context) error {
	t.title("Crash: the server is killed")
	if err := t.server.Kill(); err != nil {
		return err
	}
	// Two probes: the first that follows the crash, and one after it failed.
	if err := until(ctx, "the breaker opens, probes and opens again", func() bool {
		return t.changes.opened.Load() >= 3 && t.load.refused.Load() >= 1000
	}); err != nil {
		return err
	}
	failed, refused := t.load.failed.Load(), t.load.refused.Load()
	t.line(true, "the breaker", "opened, and again after each of %d probes", t.changes.probed.Load())
	t.line(refused > failed, "calls", "%d failed, %d refused in %v each", failed, refused,
		time.Duration(t.load.refusals.Load()/refused))
	state := t.breaker.Status().State
	t.line(state != protect.Closed, "the state", "%v", state)
	return nil
}

func (t *tour) restart(ctx context.Context) error {
	t.title("Restart: the same server, the same data")
	t.fleet.busy.forget()
	closed := t.changes.closed.Load()
	if err := t.server.Restart(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := until(ctx, "the breaker closes", func() bool { return t.changes.closed.Load() > closed }); err != nil {
		return err
	}
	t.line(true, "the breaker", "closed %v after the server answered", time.Since(start).Round(time.Millisecond))
	before := t.load.served.Load()
	err := until(ctx, "2000 calls are served, with every connection in use", func() bool {
		return t.load.served.Load() >= before+2000 && t.fleet.busy.peak.Load() == connections+overflow
	})
	if err != nil {
		return err
	}
	t.line(true, "calls", "%d served", t.load.served.Load()-before)
	t.line(true, "connections", "%d lent at once again: no place was lost", t.fleet.busy.peak.Load())
	return nil
}

func (t *tour) end(ctx context.Context, rt *protect.Runtime, repo *users.ProtectedRepository, goroutines int) error {
	t.title("Afterwards")
	l, f := t.load, t.fleet
	t.line(l.asked.Load() == l.answered() && l.strange.Load() == 0, "every call", "answered: %d served, %d failed, %d refused, %d timed out",
		l.served.Load(), l.failed.Load(), l.refused.Load(), l.timedOut.Load())
	t.line(true, "the slowest", "%v", time.Duration(l.slowest.Load()).Round(time.Millisecond))

	var found int
	err := query(ctx, t.server, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `select count(*) from users where email = any($1)`, l.saved).Scan(&found)
	})
	t.line(err == nil && found == len(l.saved) && l.wrong.Load() == 0, "saved",
		"%d of %d are there after the crash; %d wrong answers", found, len(l.saved), l.wrong.Load())

	pool, err := protect.PoolOf[users.Repository](rt, "users.Repository")
	if err != nil {
		return err
	}
	s := pool.Status()
	t.line(s.Active == 0 && s.Waiting == 0 && s.Idle <= connections && int64(s.Idle) == f.alive.now.Load(),
		"the pool", "%d idle, %d lent, %d waiting", s.Idle, s.Active, s.Waiting)
	closed := repo.Close()
	t.line(closed == nil && f.alive.now.Load() == 0 && f.opened.Load() == f.closed.Load() && f.faults() == 0,
		"connections", "%d opened, %d closed, each once", f.opened.Load(), f.closed.Load())
	t.line(f.alive.peak.Load() <= connections+overflow, "at most", "%d at once", f.alive.peak.Load())

	err = until(ctx, "the server's sessions end", func() bool {
		sessions, err := t.sessions(ctx)
		return err == nil && sessions == 0
	})
	t.line(err == nil, "sessions", "the server counts none any more")
	if err := t.server.Stop(); err != nil {
		return err
	}
	err = until(ctx, "the goroutines end", func() bool { return goruntime.NumGoroutine() <= goroutines })
	t.line(err == nil, "goroutines", "none left over")
	return nil
}

// sessions asks the server how many sessions the repository has.
func (t *tour) sessions(ctx context.Context) (n int, err error) {
	err = query(ctx, t.server, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `select count(*) from pg_stat_activity where application_name = $1`, users.ApplicationName).Scan(&n)
	})
	return n, err
}

// query asks the server something on a connection that is no business of the
// pool's.
func query(ctx context.Context, server *testserver.Postgres, ask func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		return err
	}
	return errors.Join(ask(conn), conn.Close(ctx))
}

// changes counts the changes of the breaker's state.
type changes struct{ opened, probed, closed atomic.Int64 }

// Observe implements protect.Observer.
func (c *changes) Observe(_ context.Context, e protect.Event) {
	if e.Kind != protect.EventBreakerState {
		return
	}
	switch e.To {
	case protect.Open:
		c.opened.Add(1)
	case protect.HalfOpen:
		c.probed.Add(1)
	case protect.Closed:
		c.closed.Add(1)
	}
}

// until waits for a condition.
func until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, untilWithin)
	defer cancel()
	for !holds() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
	return nil
}

func (t *tour) title(format string, args ...any) {
	fmt.Fprintf(t.out, "\n%s\n", fmt.Sprintf(format, args...))
}

func (t *tour) line(ok bool, who, format string, args ...any) {
	mark := "ok  "
	if !ok {
		mark = "FAIL"
		t.failed++
	}
	fmt.Fprintf(t.out, "  %s  %-14s %s\n", mark, who, fmt.Sprintf(format, args...))
}
