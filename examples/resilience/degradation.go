package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	protect "github.com/protectgen/protectgen/runtime"
)

// Recommendations come from a model that is better than a list of what is
// popular, but not always there.
type Recommendations interface {
	//protect:breaker name=ml_service_breaker failures=3 recovery=30s
	//protect:fallback popularItems
	For(ctx context.Context, userID string) (string, error)
}

// popularItems is what everybody likes. It stands in while the breaker is open,
// and for nothing else: other errors are the caller's to know.
func popularItems(_ context.Context, _ string, err error) (string, error) {
	if errors.Is(err, protect.ErrBreakerOpen) {
		return "popular items", nil
	}
	return "", err
}

// model implements Recommendations on the service.
type model struct{ *client }

func (m model) For(ctx context.Context, userID string) (string, error) {
	return m.get(ctx, "/"+userID)
}

func degradation(ctx context.Context, out io.Writer) (err error) {
	server := startService("model")
	defer server.close()
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	recommendations, err := NewProtectedRecommendations(rt, model{server.client()})
	if err != nil {
		return err
	}
	breaker, err := rt.Breaker("ml_service_breaker")
	if err != nil {
		return err
	}
	ask := func() string {
		items, err := recommendations.For(ctx, "ada")
		if err != nil {
			return "error: " + err.Error()
		}
		return items
	}

	fmt.Fprintf(out, "healthy:           %s\n", ask())
	server.answer(http.StatusServiceUnavailable)
	for i := range 3 {
		fmt.Fprintf(out, "failure %d:         %s\n", i+1, ask())
	}
	before := server.reached.Load()
	popular := 0
	for range 100 {
		if ask() == "popular items" {
			popular++
		}
	}
	fmt.Fprintf(out, "breaker %s:      popular items for %d of 100, %d reached the server\n",
		breaker.Status().State, popular, server.reached.Load()-before)
	server.answer(http.StatusOK)
	breaker.Reset() // an operator who knows, instead of 30 s and a probe
	fmt.Fprintf(out, "breaker %s:    %s\n", breaker.Status().State, ask())
	return nil
}
