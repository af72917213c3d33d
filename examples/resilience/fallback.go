package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	protect "github.com/protectgen/protectgen/runtime"
)

// Articles are kept in several places. NewFallbackArticles asks them in order.
//
//protect:fallback next
type Articles interface {
	Get(ctx context.Context, id string) (string, error)
}

// PrimaryArticles has all three layers.
//
//protect:limit 100/1m name=api_calls
//protect:breaker name=primary_breaker failures=3 recovery=30s
//protect:pool primary_pool size=10 overflow=5
type PrimaryArticles interface{ Articles }

// SecondaryArticles is protected in its own way.
//
//protect:limit 100/1m name=fallback_calls
//protect:breaker name=secondary_breaker failures=2 recovery=1m
type SecondaryArticles interface{ Articles }

// remote implements Articles on a service.
type remote struct{ *client }

func (r remote) Get(ctx context.Context, id string) (string, error) { return r.get(ctx, "/"+id) }

// cache implements Articles on what it has.
type cache map[string]string

var errNotCached = errors.New("not in the cache")

func (c cache) Get(_ context.Context, id string) (string, error) {
	if text, ok := c[id]; ok {
		return text, nil
	}
	return "", errNotCached
}

func fallback(ctx context.Context, out io.Writer) (err error) {
	primaryServer, secondaryServer := startService("primary"), startService("secondary")
	defer primaryServer.close()
	defer secondaryServer.close()
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	primary, err := NewProtectedPrimaryArticles(rt, protect.Factory[PrimaryArticles]{
		New:   func(context.Context) (PrimaryArticles, error) { return remote{primaryServer.client()}, nil },
		Close: func(a PrimaryArticles) error { return a.(remote).Close() },
	})
	if err != nil {
		return err
	}
	secondary, err := NewProtectedSecondaryArticles(rt, remote{secondaryServer.client()})
	if err != nil {
		return err
	}
	articles := NewFallbackArticles(primary, secondary, cache{"42": "cache/42"})

	var last error
	// get tells who answered, and who was asked for it.
	get := func(when, id string) {
		p, s := primaryServer.reached.Load(), secondaryServer.reached.Load()
		text, err := articles.Get(ctx, id)
		if err != nil {
			text = "error: " + protect.KindOf(err).String()
		}
		last = err
		fmt.Fprintf(out, "%-24s %-18s (primary reached %d, secondary %d)\n", when, text,
			primaryServer.reached.Load()-p, secondaryServer.reached.Load()-s)
	}

	get("all is well", "42")
	primaryServer.answer(http.StatusServiceUnavailable)
	for i := range 3 {
		get(fmt.Sprintf("primary fails, %d", i+1), "42")
	}
	get("primary's breaker open", "42")
	secondaryServer.answer(http.StatusServiceUnavailable)
	for i := range 2 {
		get(fmt.Sprintf("secondary fails, %d", i+1), "42")
	}
	get("both breakers open", "42")
	get("and nothing cached", "43")
	fmt.Fprintf(out, "all failed: %v, the breakers are open: %v, the cache has nothing: %v\n",
		errors.Is(last, protect.ErrAllFailed), errors.Is(last, protect.ErrBreakerOpen), errors.Is(last, errNotCached))
	return nil
}
