// Quickstart puts a weather client behind a limiter, a breaker and a pool, and
// shows on one page that each of them does what its comment in
// weather/weather.go says. The server is real, on a loopback port; its own
// counter says what reached it.
//
// It exits with 0 only when everything was as announced.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/protectgen/protectgen/examples/quickstart/backend"
	"github.com/protectgen/protectgen/examples/quickstart/weather"
	protect "github.com/protectgen/protectgen/runtime"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// tour is the page that is being written.
type tour struct {
	out    io.Writer
	failed int
}

func run(ctx context.Context, out io.Writer) (err error) {
	server := backend.Start()
	defer server.Close()

	// All it takes: a Runtime, and a factory for the pool's clients.
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()

	var clients fleet
	client, err := weather.NewProtectedWeather(rt, protect.Factory[weather.Weather]{
		New: func(context.Context) (weather.Weather, error) {
			return clients.launch(weather.NewClient(server.URL())), nil
		},
	})
	if err != nil {
		return err
	}

	t := &tour{out: out}
	t.limit(ctx, client)
	t.breaker(ctx, client, server)
	t.timeout(ctx, client, server)
	t.pool(ctx, client, server, &clients)
	t.panics(ctx, client, &clients)

	t.title("Close")
	closed := client.Close()
	t.line(closed == nil && clients.alive() == 0, "the wrapper", "every client closed once, %d of %d", clients.closed.Load(), clients.made.Load())

	if t.failed > 0 {
		return fmt.Errorf("%d lines are not as they should be", t.failed)
	}
	return nil
}

// limit: 5/1m key=userID.
func (t *tour) limit(ctx context.Context, client weather.Weather) {
	t.title("Limit: 5 forecasts a minute for each user")
	for i := range 5 {
		took, _, err := forecast(ctx, client, "ada", "Paris")
		t.line(err == nil, fmt.Sprintf("ada, call %d", i+1), "passed in %v", took)
	}
	took, _, err := forecast(ctx, client, "ada", "Paris")
	refusal, ok := errors.AsType[*protect.Error](err)
	ok = ok && errors.Is(err, protect.ErrRateLimited) && refusal.RetryAfter > 0 && refusal.RetryAfter <= time.Minute
	t.line(ok, "ada, call 6", "refused in %v: %v", took, err)
	took, _, err = forecast(ctx, client, "bob", "Paris")
	t.line(err == nil, "bob, call 1", "passed in %v: a bucket of his own", took)
}

// breaker: failures=3 recovery=500ms.
func (t *tour) breaker(ctx context.Context, client weather.Weather, server *backend.Server) {
	t.title("Breaker: opens on the third failure in a row, probes after 500ms")
	_, err := client.Alerts(ctx, "Oslo")
	t.line(errors.Is(err, weather.ErrNoAlerts), "no alerts", "comes back as it is, and counts for nothing: %v", err)

	server.Fail(true)
	for i := range 3 {
		_, err := client.Alerts(ctx, "Paris")
		t.line(err != nil && protect.KindOf(err) == protect.KindOperation, fmt.Sprintf("failure %d", i+1), "%v", err)
	}
	before := server.Requests()
	start := time.Now()
	const calls = 1000
	refused := 0
	for range calls {
		if _, err = client.Alerts(ctx, "Paris"); errors.Is(err, protect.ErrBreakerOpen) {
			refused++
		}
	}
	each := time.Since(start) / calls
	reached := server.Requests() - before
	t.line(refused == calls && reached == 0, "while open", "%d of %d refused in %v each, %d reached the server", refused, calls, each, reached)

	server.Fail(false)
	if refusal, ok := errors.AsType[*protect.Error](err); ok {
		time.Sleep(refusal.RetryAfter)
	}
	alerts, err := client.Alerts(ctx, "Paris")
	t.line(err == nil, "one probe", "passed, %v: closed again", alerts)
	_, err = client.Alerts(ctx, "Paris")
	t.line(err == nil, "the next call", "passed")
}

// timeout: 1s.
func (t *tour) timeout(ctx context.Context, client weather.Weather, server *backend.Server) {
	t.title("Timeout: a server that hangs costs one second")
	server.Delay(time.Minute)
	took, _, err := forecast(ctx, client, "carol", "Paris")
	server.Delay(0)
	t.line(errors.Is(err, protect.ErrTimeout) && took < 2*time.Second, "carol", "timed out after %v", took.Round(time.Millisecond))
}

// pool: size=2 overflow=1 wait=2s.
func (t *tour) pool(ctx context.Context, client weather.Weather, server *backend.Server, clients *fleet) {
	t.title("Pool: two clients and one more in need, for twelve callers at once")
	server.Delay(50 * time.Millisecond)
	defer server.Delay(0)
	clients.peak.Store(0)
	const callers = 12
	var served atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			if _, err := client.Alerts(ctx, "Paris"); err == nil {
				served.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(start).Round(time.Millisecond)
	t.line(served.Load() == callers, "callers", "%d of %d served in %v", served.Load(), callers, took)
	t.line(clients.peak.Load() == 3, "borrowed", "never more than %d at once", clients.peak.Load())
	t.line(clients.alive() == 2, "afterwards", "%d clients stay", clients.alive())
}

func (t *tour) panics(ctx context.Context, client weather.Weather, clients *fleet) {
	t.title("Panic: a client with a bug")
	before := clients.alive()
	_, _, err := forecast(ctx, client, "dave", "Atlantis")
	caught, ok := errors.AsType[*protect.PanicError](err)
	t.line(ok && len(caught.Stack) > 0, "dave", "an error, with its stack: %v", err)
	t.line(clients.alive() == before-1, "the client", "gone: %d left", clients.alive())
	took, report, err := forecast(ctx, client, "dave", "Paris")
	t.line(err == nil && report.Today() != "", "the next call", "passed in %v", took)
}

func forecast(ctx context.Context, client weather.Weather, user, city string) (time.Duration, *weather.Report, error) {
	start := time.Now()
	report, err := client.Forecast(ctx, user, city)
	return time.Since(start).Round(time.Microsecond), report, err
}

func (t *tour) title(text string) { fmt.Fprintf(t.out, "\n%s\n", text) }

func (t *tour) line(ok bool, who, format string, args ...any) {
	mark := "ok  "
	if !ok {
		mark = "FAIL"
		t.failed++
	}
	fmt.Fprintf(t.out, "  %s  %-14s %s\n", mark, who, fmt.Sprintf(format, args...))
}

// fleet counts the clients that the pool made, lent and closed.
type fleet struct {
	made, closed atomic.Int64
	busy, peak   atomic.Int64
}

func (f *fleet) alive() int64 { return f.made.Load() - f.closed.Load() }

func (f *fleet) launch(c *weather.Client) weather.Weather {
	f.made.Add(1)
	return &counted{Client: c, fleet: f}
}

// counted is a client that tells its fleet when it is busy and when it is
// closed.
type counted struct {
	*weather.Client
	fleet *fleet
}

func (c *counted) Alerts(ctx context.Context, city string) ([]string, error) {
	busy := c.fleet.busy.Add(1)
	defer c.fleet.busy.Add(-1)
	for peak := c.fleet.peak.Load(); busy > peak && !c.fleet.peak.CompareAndSwap(peak, busy); {
		peak = c.fleet.peak.Load()
	}
	return c.Client.Alerts(ctx, city)
}

func (c *counted) Close() error {
	c.fleet.closed.Add(1)
	return c.Client.Close()
}
