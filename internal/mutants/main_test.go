package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A list that no longer fits the code is found here, without trying a mutant.
func TestTheListFitsTheCode(t *testing.T) {
	all, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if _, err := m.source(root); err != nil {
			t.Error(err)
		}
		known := testsOf(t, filepath.Join(root, m.pkg))
		for name := range strings.SplitSeq(m.tests, "|") {
			if !slices.Contains(known, name) {
				t.Errorf("%s: %s has no %s", m.name, m.pkg, name)
			}
		}
	}
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

func testsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range testFunc.FindAllSubmatch(source, -1) {
			names = append(names, string(match[1]))
		}
	}
	return names
}

func TestMistakesInTheListAreReported(t *testing.T) {
	const whole = "mutant m\nin f.go\ntest ./p TestP\n-old\n+new\n"
	if all, err := parse(whole); err != nil || len(all) != 1 || all[0].from != "old" || all[0].to != "new" {
		t.Fatalf("%+v, %v", all, err)
	}
	for name, list := range map[string]string{
		"twice":       whole + whole,
		"no file":     strings.Replace(whole, "in f.go\n", "", 1),
		"no test":     strings.Replace(whole, "test ./p TestP\n", "", 1),
		"no text":     strings.Replace(whole, "-old\n", "", 1),
		"stray text":  "-old\n" + whole,
		"other words": whole + "so it is\n",
	} {
		if all, err := parse(list); err == nil {
			t.Errorf("%s: read as %+v", name, all)
		}
	}
}
