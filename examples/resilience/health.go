package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
)

// report is what a load balancer and a person on call want to know.
type report struct {
	Healthy  bool              `json:"healthy"`
	Breakers map[string]string `json:"breakers"` // healthy, unhealthy, or unknown when it is not there
	Pools    map[string]string `json:"pools"`
	Policies int               `json:"policies"`
	Problems []string          `json:"problems,omitempty"`
}

// check reports on a Runtime and the breakers that somebody expects in it.
func check(rt *protect.Runtime, breakers ...string) report {
	h := rt.Health()
	r := report{
		Healthy: h.Healthy, Policies: h.Policies, Problems: h.Problems,
		Breakers: map[string]string{}, Pools: map[string]string{},
	}
	for _, name := range breakers {
		state, there := h.Breakers[name]
		switch {
		case !there:
			r.Breakers[name] = "unknown"
		case state == protect.Open:
			r.Breakers[name] = "unhealthy"
		default:
			r.Breakers[name] = "healthy"
		}
	}
	for name, s := range h.Pools {
		state := "healthy"
		if s.Waiting > 0 {
			state = "unhealthy"
		}
		r.Pools[name] = fmt.Sprintf("%s, %d of %d lent, %d waiting", state, s.Active, s.Size+s.MaxOverflow, s.Waiting)
	}
	return r
}

// serveHealth answers with a report: 200, or 503 for an unhealthy Runtime.
func serveHealth(rt *protect.Runtime, breakers ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := check(rt, breakers...)
		w.Header().Set("Content-Type", "application/json")
		if !r.Healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(r) // the client may be gone
	})
}

func health(ctx context.Context, out io.Writer) (err error) {
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	endpoint := httptest.NewServer(serveHealth(rt, "api_breaker", "db_breaker", "cache_breaker"))
	defer endpoint.Close()
	ask := func(when string) error {
		resp, err := endpoint.Client().Get(endpoint.URL + "/health")
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		fmt.Fprintf(out, "%s: %s\n%s", when, resp.Status, body)
		return errors.Join(err, resp.Body.Close())
	}

	if err := rt.Configure("external_api", protect.Policy{Timeout: 5 * time.Second}); err != nil {
		return err
	}
	api, err := rt.NewBreaker("api_breaker", protect.BreakerPolicy{Failures: 1})
	if err != nil {
		return err
	}
	if _, err := rt.NewBreaker("db_breaker", protect.BreakerPolicy{}); err != nil {
		return err
	}
	server := startService("db")
	defer server.close()
	pool, err := protect.NewPool(rt, "db_pool", protect.PoolPolicy{Size: 1, Wait: protect.Forever}, protect.Factory[*client]{
		New:   func(context.Context) (*client, error) { return server.client(), nil },
		Close: (*client).Close,
	})
	if err != nil {
		return err
	}
	if err := ask("all is well"); err != nil {
		return err
	}

	// One failure opens the breaker, and two calls want the only connection.
	_ = api.Do(ctx, func(context.Context) error { return errors.New("down") })
	release := server.hold()
	done := make(chan error, 2)
	for range cap(done) {
		go func() {
			done <- pool.Do(ctx, func(ctx context.Context, c *client) error { _, err := c.get(ctx, "/"); return err })
		}()
	}
	err = until(ctx, "one call runs and one waits", func() bool {
		s := pool.Status()
		return s.Active == 1 && s.Waiting == 1
	})
	asked := ask("trouble")
	release()
	if err := errors.Join(err, asked, <-done, <-done); err != nil {
		return err
	}
	api.Reset()
	return ask("and over")
}
