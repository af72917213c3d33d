// Protectgen writes a wrapper for every annotated interface, which guards its
// calls with rate limiters, circuit breakers and pools.
//
//	protectgen [packages]            write; without packages: the one in this folder
//	protectgen -check [packages]     write nothing; print what would change
//	protectgen explain [packages]    print what protects each method (-json for machines)
//	protectgen help [directive]      print the directive language
//	go vet -vettool=$(which protectgen) ./...    report mistakes in directives
//
// Packages are patterns as of the go command. The exit code is 0 when there
// is nothing to do or all is done, 1 when -check found a file that is stale,
// missing or orphaned, and 2 when something was refused: what and why is on
// standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/tools/go/analysis/unitchecker"

	"github.com/protectgen/protectgen/generator"
	"github.com/protectgen/protectgen/generator/analyzer"
	"github.com/protectgen/protectgen/generator/directive"
)

// The exit codes.
const (
	done    = 0
	stale   = 1
	refused = 2
)

const usage = `usage:
  protectgen [-tags list] [packages]                 write the wrappers
  protectgen -check [-tags list] [packages]          print what would change; exit 1 if anything
  protectgen explain [-json] [-tags list] [packages] print what protects each method
  protectgen help [directive]                        print the directive language
  protectgen -version
  go vet -vettool=$(which protectgen) ./...          report mistakes in directives
`

func main() {
	if isVet(os.Args[1:]) {
		unitchecker.Main(analyzer.Analyzer)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := newProgress(os.Stderr, isTerminal(os.Stderr))
	c := command{stdout: p.over(os.Stdout), stderr: p.over(os.Stderr), progress: p.say}
	code := c.run(ctx, os.Args[1:])
	p.stop()
	stop()
	os.Exit(code)
}

// isVet reports whether go vet is asking, by the protocol of its -vettool.
func isVet(args []string) bool {
	if len(args) == 0 {
		return false
	}
	return args[0] == "-V=full" || args[0] == "-flags" || strings.HasSuffix(args[len(args)-1], ".cfg")
}

// command is one run of the tool.
type command struct {
	stdout, stderr io.Writer
	progress       func(doing string)
	check          bool
	json           bool
	version        bool
	tags           string
}

func (c *command) run(ctx context.Context, args []string) int {
	switch {
	case len(args) > 0 && args[0] == "help":
		return c.help(args[1:])
	case len(args) > 0 && args[0] == "explain":
		patterns, code, ok := c.parse("explain", args[1:])
		if !ok {
			return code
		}
		return c.explain(ctx, patterns)
	}
	patterns, code, ok := c.parse("", args)
	switch {
	case !ok:
		return code
	case c.version:
		fmt.Fprintln(c.stdout, "protectgen", version())
		return done
	}
	return c.generate(ctx, patterns)
}

// parse reads the flags of a subcommand. When there is nothing to run after
// that, ok is false and code the exit code.
func (c *command) parse(subcommand string, args []string) (patterns []string, code int, ok bool) {
	flags := flag.NewFlagSet("protectgen", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.tags, "tags", "", "")
	if subcommand == "explain" {
		flags.BoolVar(&c.json, "json", false, "")
	} else {
		flags.BoolVar(&c.check, "check", false, "")
		flags.BoolVar(&c.version, "version", false, "")
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(c.stdout, usage)
		return nil, done, false
	case err != nil:
		fmt.Fprintf(c.stderr, "protectgen: %v\n%s", err, usage)
		return nil, refused, false
	}
	for _, pattern := range flags.Args() {
		if strings.HasPrefix(pattern, "-") {
			fmt.Fprintf(c.stderr, "protectgen: flags stand before packages: %s\n%s", pattern, usage)
			return nil, refused, false
		}
	}
	return flags.Args(), done, true
}

// generate writes the files that changed, or prints how they would.
func (c *command) generate(ctx context.Context, patterns []string) int {
	result, err := generator.Run(ctx, c.config(patterns))
	if err != nil {
		return c.fail(err)
	}
	changes, problems := result.Changes()
	code := done
	for _, change := range changes {
		if c.check {
			c.stdout.Write(change.Diff(filepath.ToSlash(relative(change.Path))))
			code = stale
		} else if problem := change.Apply(); problem != nil {
			problems = append(problems, *problem)
		}
	}
	c.report(result.Diagnostics)
	c.report(problems)
	if result.Failed() || len(problems) > 0 {
		return refused
	}
	return code
}

func (c *command) explain(ctx context.Context, patterns []string) int {
	result, err := generator.Run(ctx, c.config(patterns))
	if err != nil {
		return c.fail(err)
	}
	write := generator.WriteTable
	if c.json {
		write = generator.WriteJSON
	}
	if err := write(c.stdout, result.Explanations); err != nil {
		return c.fail(err)
	}
	c.report(result.Diagnostics)
	if result.Failed() {
		return refused
	}
	return done
}

func (c *command) help(args []string) int {
	if len(args) > 1 {
		fmt.Fprint(c.stderr, usage)
		return refused
	}
	if len(args) == 0 {
		text, _ := directive.Help("")
		fmt.Fprintf(c.stdout, "%s\n%s", usage, text)
		return done
	}
	text, ok := directive.Help(args[0])
	if !ok {
		fmt.Fprintf(c.stderr, "protectgen: %s", text)
		return refused
	}
	fmt.Fprint(c.stdout, text)
	return done
}

func (c *command) config(patterns []string) generator.Config {
	cfg := generator.Config{Patterns: patterns, Progress: c.progress}
	if c.tags != "" {
		cfg.Tags = strings.Split(c.tags, ",")
	}
	return cfg
}

// report prints diagnostics with paths as seen from the working directory.
func (c *command) report(list []generator.Diagnostic) {
	for _, d := range list {
		d.Position.Filename = relative(d.Position.Filename)
		fmt.Fprintln(c.stderr, d)
	}
}

func (c *command) fail(err error) int {
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(c.stderr, "protectgen: %v\n", err)
	return refused
}

// relative returns path as seen from the working directory, or path itself
// when it is not below.
func relative(path string) string {
	dir, err := os.Getwd()
	if err != nil || path == "" {
		return path
	}
	if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// version is that of the module that the binary was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
