// Command mutants breaks the module on purpose, one line at a time, and wants a
// test to fail for each. It changes nothing on disk.
//
//	go run ./internal/mutants                 all of them
//	go run ./internal/mutants -run probe      those whose name matches
//
// The list is mutants.txt, beside this file; its head says how it is written.
// The exit code is 1 when a mutant survives, and 2 when the list is wrong: a
// text that is not there exactly once, a test that fails without any mutant.
package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed mutants.txt
var list string

func main() {
	run := flag.String("run", "", "only the mutants whose name matches this regular expression")
	jobs := flag.Int("j", 2, "mutants to try at once")
	flag.Parse()
	survivors, err := try(*run, *jobs)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case survivors > 0:
		os.Exit(1)
	}
}

// mutant is one way to break a file, and the tests of which one has to notice.
type mutant struct {
	name     string
	file     string // slashed, from the module's root
	pkg      string // of the tests: ./runtime
	flags    []string
	tests    string // for go test -run
	from, to string
}

func try(pattern string, jobs int) (survivors int, err error) {
	matches, err := regexp.Compile(pattern)
	if err != nil {
		return 0, err
	}
	all, err := parse(list)
	if err != nil {
		return 0, err
	}
	root, err := moduleRoot()
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(m mutant) bool { return !matches.MatchString(m.name) })
	if err := passes(root, all); err != nil {
		return 0, err
	}

	var mu sync.Mutex // guards survivors, errs and the output
	var errs []error
	queue := make(chan mutant)
	var wg sync.WaitGroup
	for range jobs {
		wg.Go(func() {
			for m := range queue {
				start := time.Now()
				killed, err := m.try(root)
				mu.Lock()
				switch {
				case err != nil:
					errs = append(errs, err)
				case killed:
					fmt.Printf("killed    %s (%.1f s)\n", m.name, time.Since(start).Seconds())
				default:
					survivors++
					fmt.Printf("SURVIVED  %s: %s passes with\n%s", m.name, m.tests, indent(m.to))
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		queue <- m
	}
	close(queue)
	wg.Wait()
	fmt.Printf("%d mutants, %d survived\n", len(all), survivors)
	return survivors, errors.Join(errs...)
}

// passes reports an error unless the tests pass without any mutant.
func passes(root string, all []mutant) error {
	whole := map[string]mutant{} // by package: no mutant, and the tests of all
	for _, m := range all {
		if w, ok := whole[m.pkg]; ok {
			m.tests = w.tests + "|" + m.tests
		}
		whole[m.pkg] = m
	}
	for _, m := range whole {
		if out, err := m.test(root); err != nil {
			return fmt.Errorf("without any mutant: %w\n%s", err, out)
		}
	}
	return nil
}

// try reports whether a test fails with the mutant.
func (m mutant) try(root string) (killed bool, err error) {
	file := filepath.Join(root, filepath.FromSlash(m.file))
	source, err := m.source(root)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	broken, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	if err != nil {
		return false, err
	}
	err = cmp.Or(
		os.WriteFile(broken, source, 0o600),
		os.WriteFile(overlay, replace, 0o600),
	)
	if err != nil {
		return false, err
	}
	out, err := m.test(root, "-overlay="+overlay)
	switch exit, ran := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return false, nil
	case !ran || exit.ExitCode() != 1 || strings.Contains(out, "[build failed]"):
		return false, fmt.Errorf("%s: %w\n%s", m.name, err, out)
	}
	return true, nil
}

// source is the file, broken.
func (m mutant) source(root string) ([]byte, error) {
	whole, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(whole, []byte(m.from)); n != 1 {
		return nil, fmt.Errorf("%s: %s has this %d times, not once:\n%s", m.name, m.file, n, indent(m.from))
	}
	return bytes.Replace(whole, []byte(m.from), []byte(m.to), 1), nil
}

// test runs the mutant's tests. Those that it makes hang are ended by go test.
func (m mutant) test(root string, overlay ...string) (string, error) {
	args := []string{"test", "-vet=off", "-timeout=30s", "-failfast", "-run=^(" + m.tests + ")$"}
	c := exec.Command("go", slices.Concat(args, overlay, []string{m.pkg}, m.flags)...)
	c.Dir = root
	out, err := c.CombinedOutput()
	return string(out), err
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// parse reads the list.
func parse(list string) ([]mutant, error) {
	var all []mutant
	var from, to []string // lines of the last one
	flags := map[string][]string{}
	for n, line := range strings.Split(list, "\n") {
		at := func(err string) error { return fmt.Errorf("mutants.txt:%d: %s", n+1, err) }
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
			continue
		case word == "flags":
			pkg, more, _ := strings.Cut(rest, " ")
			flags[pkg] = strings.Fields(more)
			continue
		case word == "mutant":
			all = append(all, mutant{name: rest})
			from, to = nil, nil
			continue
		case len(all) == 0:
			return nil, at("no mutant has begun")
		}
		m := &all[len(all)-1]
		switch {
		case word == "in":
			m.file = rest
		case word == "test":
			m.pkg, m.tests, _ = strings.Cut(rest, " ")
			m.flags = flags[m.pkg]
		case line[0] == '-':
			from = append(from, line[1:])
			m.from = strings.Join(from, "\n")
		case line[0] == '+':
			to = append(to, line[1:])
			m.to = strings.Join(to, "\n")
		default:
			return nil, at("neither mutant, in, test, - nor +")
		}
	}
	names := map[string]bool{}
	for _, m := range all {
		if m.file == "" || m.tests == "" || m.from == "" || names[m.name] {
			return nil, fmt.Errorf("mutants.txt: %q is not complete, or there twice", m.name)
		}
		names[m.name] = true
	}
	return all, nil
}

func indent(s string) string {
	return "\t" + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n\t") + "\n"
}
