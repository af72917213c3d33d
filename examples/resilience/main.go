// Resilience runs the patterns of a protection layer, each against real servers
// on loopback ports, and compares what they print with what they should:
//
//	go run ./examples/resilience                 # all of them
//	go run ./examples/resilience adaptive tiers  # these
//
// Each pattern is a file named after it, to be copied from. It exits with 0
// only when everything was as expected in testdata.
package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
)

//go:generate go tool protectgen

// pattern is a program of its own. What it prints is the same on every run.
type pattern struct {
	name, about string
	run         func(ctx context.Context, out io.Writer) error
}

// patterns are in the order of a first reading.
var patterns = []pattern{
	{"startup", "start-up configuration: policies first, whatever they are about later", startup},
	{"limits", "limits for each user and for each operation", limits},
	{"errors", "comprehensive error handling: an answer for each thing that can go wrong", answers},
	{"degradation", "graceful degradation: something simpler while the breaker is open", degradation},
	{"fallback", "primary, then secondary, then cache", fallback},
	{"adaptive", "limits that follow the load", adaptive},
	{"dependencies", "breakers that depend on each other", dependencies},
	{"tiers", "pools by priority", tiers},
	{"monitoring", "one observer for durations, successes and alerts", monitoring},
	{"health", "a health check for a load balancer", health},
}

//go:embed testdata/*.golden
var expected embed.FS

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]...); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "resilience:", err)
		os.Exit(1)
	}
}

// run runs the named patterns, or all. The error says which of them did not do
// what they should.
func run(ctx context.Context, out io.Writer, names ...string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range chosen {
		fmt.Fprintf(out, "== %s: %s\n\n", p.name, p.about)
		var page bytes.Buffer
		err := p.run(ctx, io.MultiWriter(out, &page))
		if err == nil {
			err = compareWithGolden(p.name, page.String())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		fmt.Fprintln(out)
	}
	return errors.Join(errs...)
}

func choose(names []string) ([]pattern, error) {
	if len(names) == 0 {
		return patterns, nil
	}
	var chosen []pattern
	for _, name := range names {
		i := slices.IndexFunc(patterns, func(p pattern) bool { return p.name == name })
		if i < 0 {
			var known []string
			for _, p := range patterns {
				known = append(known, p.name)
			}
			return nil, fmt.Errorf("there is no pattern %q; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, patterns[i])
	}
	return chosen, nil
}

// compareWithGolden reports how the output of a pattern differs from what is
// expected of it.
func compareWithGolden(name, got string) error {
	want, err := expected.ReadFile("testdata/" + name + ".golden")
	if err != nil {
		return err
	}
	return compare(got, string(want))
}

// compare reports the first line that is not as expected.
func compare(got, want string) error {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			return fmt.Errorf("line %d is missing: %q", i+1, w[i])
		case i >= len(w):
			return fmt.Errorf("line %d is too much: %q", i+1, g[i])
		case g[i] != w[i]:
			return fmt.Errorf("line %d is %q, not %q", i+1, g[i], w[i])
		}
	}
	return nil
}
