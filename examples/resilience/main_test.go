package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write what the patterns print to testdata")

func TestEachPatternPrintsWhatIsExpected(t *testing.T) {
	for _, p := range patterns {
		t.Run(p.name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			var page bytes.Buffer
			if err := p.run(t.Context(), &page); err != nil {
				t.Fatalf("%v\n%s", err, page.String())
			}
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", p.name+".golden"), page.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err := compareWithGolden(p.name, page.String()); err != nil {
				t.Errorf("%v\n%s", err, page.String())
			}
		})
	}
}

func TestEachFileOfExpectedOutputHasItsPattern(t *testing.T) {
	files, err := expected.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(patterns) {
		t.Errorf("%d files for %d patterns", len(files), len(patterns))
	}
	for _, f := range files {
		if _, err := choose([]string{strings.TrimSuffix(f.Name(), ".golden")}); err != nil {
			t.Error(err)
		}
	}
}

func TestTheNamedPatternsRunInTheirOrder(t *testing.T) {
	var page bytes.Buffer
	if err := run(t.Context(), &page, "degradation", "dependencies"); err != nil {
		t.Fatal(err)
	}
	var titles []string
	for line := range strings.Lines(page.String()) {
		if name, ok := strings.CutPrefix(line, "== "); ok {
			titles = append(titles, name[:strings.Index(name, ":")])
		}
	}
	if got := strings.Join(titles, " "); got != "degradation dependencies" {
		t.Errorf("ran %q", got)
	}
}

func TestAnUnknownPatternIsAnErrorThatNamesTheKnownOnes(t *testing.T) {
	err := run(t.Context(), io.Discard, "tiers", "bulkhead")
	if err == nil || !strings.Contains(err.Error(), `"bulkhead"`) || !strings.Contains(err.Error(), "adaptive") {
		t.Errorf("run: %v", err)
	}
}

func TestAPatternThatFailsOrPrintsSomethingElseIsAnErrorThatNamesIt(t *testing.T) {
	defer func(saved []pattern) { patterns = saved }(patterns)
	down := errors.New("down")
	patterns = []pattern{
		{"limits", "prints something else", func(_ context.Context, out io.Writer) error {
			_, err := io.WriteString(out, "no limits\n")
			return err
		}},
		{"tiers", "fails", func(context.Context, io.Writer) error { return down }},
		{"unexpected", "nobody wrote what to expect", func(context.Context, io.Writer) error { return nil }},
	}
	err := run(t.Context(), io.Discard)
	if !errors.Is(err, down) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("run: %v", err)
	}
	for _, want := range []string{`limits: line 1 is "no limits"`, "tiers: down", "unexpected: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("run does not say %q: %v", want, err)
		}
	}
}

func TestOutputThatIsNotAsExpectedIsAnError(t *testing.T) {
	for name, got := range map[string]string{
		"another line":   "one\nthree\n",
		"a line less":    "one\n",
		"a line more":    "one\ntwo\nthree\n",
		"nothing at all": "",
	} {
		if err := compare(got, "one\ntwo\n"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := compare("one\ntwo\n", "one\ntwo\n"); err != nil {
		t.Errorf("the same: %v", err)
	}
}
