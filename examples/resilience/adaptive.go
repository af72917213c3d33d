package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"

	protect "github.com/protectgen/protectgen/runtime"
)

// Search allows less while the service says that it is busy.
type Search interface {
	//protect:limit 100/1m key=entityID scale=loadFactor
	Query(ctx context.Context, entityID, text string) (string, error)
}

// systemLoad is the load that the service last told of, from 0 to 1, as
// math.Float64bits has it.
var systemLoad atomic.Uint64

// loadFactor is the share of its limit that a busy service is asked for: half
// above 80 % of load, 70 % above 60 %.
func loadFactor() float64 {
	switch load := math.Float64frombits(systemLoad.Load()); {
	case load > 0.8:
		return 0.5
	case load > 0.6:
		return 0.7
	}
	return 1
}

// search implements Search on the service, whose answers bring its load.
type search struct{ *client }

func (s search) Query(ctx context.Context, _, text string) (string, error) {
	return s.get(ctx, "/"+text)
}

func adaptive(ctx context.Context, out io.Writer) (err error) {
	server := startService("search")
	defer server.close()
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	c := server.client()
	c.load = func(load float64) { systemLoad.Store(math.Float64bits(load)) }
	search, err := NewProtectedSearch(rt, search{c})
	if err != nil {
		return err
	}
	query := func(entity string, n int) int {
		return passing(n, func() error { _, err := search.Query(ctx, entity, "go"); return err })
	}

	fmt.Fprintln(out, "load  of 150 queries")
	for _, load := range []float64{0.9, 0.8, 0.7, 0.6, 0.5} {
		server.announce(load)
		fmt.Fprintf(out, "%.1f   %d pass\n", load, query(fmt.Sprint("user at ", load), 150))
	}

	fmt.Fprintln(out, "\none user, in one window")
	for _, step := range []struct {
		load float64
		n    int
	}{{0.5, 40}, {0.9, 40}, {0.5, 100}} {
		server.announce(step.load)
		systemLoad.Store(math.Float64bits(step.load)) // as another client would have heard
		fmt.Fprintf(out, "%.1f   %d of %d pass\n", step.load, query("ada", step.n), step.n)
	}
	fmt.Fprintln(out, "What was used stays used, and refusals cost nothing: 100 in all.")
	return nil
}
