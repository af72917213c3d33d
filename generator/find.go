package generator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/protectgen/protectgen/generator/directive"
	"github.com/protectgen/protectgen/templates"
)

// found is what there is to see in the files alone.
type found struct {
	tags        []string            // of the build
	tests       bool                // whether tests are looked at
	patterns    []string            // that load the packages with annotated files
	annotated   map[string]bool     // files of the build that have something like a directive
	elsewhere   map[string]string   // files outside the build, as of another system, that have a directive, and their packages
	generated   map[string]bool     // files that an earlier run wrote
	kept        map[string]bool     // folders whose generated files stay as they are
	foreign     map[string]string   // folders of dependencies, into which nothing is written, and their modules
	loaded      []*packages.Package // those of patterns, and maybe more, with types; nil when they were only listed
	diagnostics []Diagnostic
}

// find looks at the bytes of the files that the patterns name, so that only
// packages worth it are loaded with types. Patterns that name folders are read
// without the go command, which then runs once, for the packages found.
func find(ctx context.Context, cfg Config) (*found, error) {
	f := &found{
		annotated: map[string]bool{},
		elsewhere: map[string]string{},
		generated: map[string]bool{},
		kept:      map[string]bool{},
		foreign:   map[string]string{},
	}
	patterns := cfg.Patterns
	if len(patterns) == 0 {
		patterns = []string{"."}
	}
	scanned, narrowed := scan(cmp.Or(cfg.Dir, "."), patterns)
	if narrowed && len(scanned.patterns) == 0 {
		return f, nil
	}
	var err error
	if f.tags, err = buildTags(ctx, cfg); err != nil {
		return nil, err
	}
	const listing packages.LoadMode = packages.NeedName | packages.NeedFiles | packages.NeedForTest | packages.NeedModule
	mode := listing
	f.tests = true
	if narrowed {
		mode, patterns, f.tests = withTypes, scanned.patterns, scanned.tests
	}
	listed, err := f.load(ctx, cfg, system{}, mode, patterns)
	if err == nil && narrowed && len(listed) == 0 {
		// Of a go command that fails altogether, as outside of a module, the
		// loader tells only when it does not ask for types.
		_, err = f.load(ctx, cfg, system{}, listing, patterns)
	}
	switch {
	case err != nil:
		return nil, err
	case narrowed:
		f.loaded = listed
	case len(listed) == 0:
		// A check that never looks at anything would always pass.
		return nil, fmt.Errorf("no packages match %s", strings.Join(patterns, " "))
	}
	for _, p := range listed {
		worth, err := f.look(p)
		if err != nil {
			return nil, err
		}
		switch path := packagePath(p); {
		case !worth:
		case path == argumentsPath:
			f.patterns = patterns
		case !slices.Contains(f.patterns, path):
			f.patterns = append(f.patterns, path)
		}
	}
	f.refuseHidden()
	return f, nil
}

// withTypes is all that is needed of a package. Dependencies come from export
// data; one that does not compile, as it does when it calls its own wrappers,
// is read from source by the loader.
const withTypes = packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedForTest |
	packages.NeedModule | packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedTypesInfo

// load has the go command look at packages as they are built for a system.
func (f *found) load(ctx context.Context, cfg Config, s system, mode packages.LoadMode, patterns []string) ([]*packages.Package, error) {
	loaded, err := packages.Load(&packages.Config{
		Context: ctx, Dir: cfg.Dir, Env: s.environment(cfg.Env), Tests: f.tests,
		BuildFlags: []string{"-tags=" + strings.Join(f.tags, ",")}, Mode: mode,
	}, patterns...)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		// What the go command says is what there is to know.
		if _, said, ok := strings.Cut(err.Error(), "stderr: "); ok {
			return nil, errors.New(strings.TrimSpace(said))
		}
		return nil, fmt.Errorf("load packages: %w", err)
	}
	return loaded, nil
}

// argumentsPath is the path of a package that is given by its files.
const argumentsPath = "command-line-arguments"

// packagePath is the path under which a package is loaded, with its tests.
func packagePath(p *packages.Package) string { return cmp.Or(p.ForTest, p.PkgPath) }

// look reads the files of a package, and reports whether one is annotated.
func (f *found) look(p *packages.Package) (bool, error) {
	if p.Module != nil && !p.Module.Main {
		for _, path := range slices.Concat(p.GoFiles, p.IgnoredFiles) {
			f.foreign[filepath.Dir(path)] = p.Module.Path
		}
	}
	worth := false
	for _, path := range p.GoFiles {
		content, err := read(path)
		if err != nil {
			return false, err
		}
		if isGenerated(content) {
			// Visible to the build in spite of its tag: somebody changed it.
			f.generated[path] = true
		} else if mayHaveDirective(content) {
			f.annotated[path] = true
			worth = true
		}
	}
	for _, path := range p.IgnoredFiles {
		content, err := read(path)
		if err != nil {
			return false, err
		}
		switch {
		case isGenerated(content):
			f.generated[path] = true
		case filepath.Ext(path) == ".go" && hasDirective(path, content):
			f.elsewhere[path] = packagePath(p)
		}
	}
	for _, e := range p.Errors {
		at := errorPosition(e)
		if at.Filename == "" {
			if len(p.GoFiles)+len(p.IgnoredFiles) == 0 {
				f.diagnostics = append(f.diagnostics, Diagnostic{Message: strings.TrimSpace(e.Msg)})
			}
			continue
		}
		// The go command leaves out a file that it cannot read the head of.
		if content, err := read(at.Filename); err == nil && e.Kind == packages.ParseError && !slices.Contains(p.GoFiles, at.Filename) && mayHaveDirective(content) {
			f.diagnostics = append(f.diagnostics, Diagnostic{Position: at, Message: e.Msg})
			f.keep(filepath.Dir(at.Filename))
		}
	}
	return worth, nil
}

func read(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // removed since it was listed
	}
	return content, err
}

func isGenerated(content []byte) bool {
	return bytes.HasPrefix(content, []byte(templates.Header+"\n")) || bytes.HasPrefix(content, []byte(templates.Header+"\r\n"))
}

// mentions and misspelt are wide: spelling is judged when parsing.
var (
	known    = append(directive.Layers(), "wrap", "off")
	mentions = regexp.MustCompile(`(?i)(//|/\*|\n)[\s*]*protect(gen)?(\s*:|[-._/ ](` + strings.Join(known, "|") + `)\b)`)
	misspelt = regexp.MustCompile(`(?i)(//|/\*|\n)[\s*]*\w{6,8}:(` + strings.Join(known, "|") + `)\b`)
)

// mayHaveDirective reports whether a file has something like a directive.
func mayHaveDirective(content []byte) bool {
	if bytes.Contains(content, []byte(directive.Prefix)) {
		return true
	}
	likely := bytes.Contains(content, []byte("rotect")) || bytes.Contains(content, []byte("ROTECT"))
	if likely && mentions.Match(content) {
		return true
	}
	// A colon right before the name of a directive is rare.
	return slices.ContainsFunc(known, func(name string) bool { return bytes.Contains(content, []byte(":"+name)) }) &&
		misspelt.Match(content)
}

// hasDirective reports whether a file that is not loaded has a directive.
func hasDirective(path string, content []byte) bool {
	if !mayHaveDirective(content) {
		return false
	}
	file, _ := parser.ParseFile(token.NewFileSet(), path, content, parser.ParseComments|parser.SkipObjectResolution)
	if file == nil {
		return true
	}
	return slices.ContainsFunc(file.Comments, func(g *ast.CommentGroup) bool {
		return slices.ContainsFunc(g.List, func(c *ast.Comment) bool {
			_, _, ok := directive.Parse(c.Slash, c.Text)
			return ok
		})
	})
}

// keep makes the generated files of a folder stay as they are.
func (f *found) keep(dir string) { f.kept[dir] = true }

// orphans returns the generated files that are not written again and do not
// belong to an annotated file that this run has not seen.
func (f *found) orphans(files []File) []string {
	wanted := map[string]bool{}
	for _, file := range files {
		wanted[file.Path] = true
	}
	for path := range f.elsewhere {
		dir, name := filepath.Split(path)
		wanted[filepath.Join(dir, outputName(name))] = true
	}
	var out []string
	for path := range f.generated {
		if dir := filepath.Dir(path); !wanted[path] && !f.kept[dir] && f.foreign[dir] == "" {
			out = append(out, path)
		}
	}
	return out
}

// buildTags returns the tags of the build: those of cfg, those that the go
// command would use, and the one under which our own output does not exist.
func buildTags(ctx context.Context, cfg Config) ([]string, error) {
	tags := append([]string{templates.Tag}, cfg.Tags...)
	cmd := exec.CommandContext(ctx, "go", "env", "GOFLAGS")
	cmd.Dir, cmd.Env = cfg.Dir, cfg.Env
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			return nil, fmt.Errorf("go env: %s", bytes.TrimSpace(e.Stderr))
		}
		return nil, fmt.Errorf("go env: %w", err)
	}
	// A -tags flag replaces that of GOFLAGS, so its tags must be in ours.
	for flag := range strings.FieldsSeq(string(out)) {
		for _, prefix := range []string{"-tags=", "--tags="} {
			if list, ok := strings.CutPrefix(strings.Trim(flag, `'"`), prefix); ok {
				tags = append(tags, strings.Split(list, ",")...)
			}
		}
	}
	slices.Sort(tags)
	return slices.Compact(slices.DeleteFunc(tags, func(tag string) bool { return tag == "" })), nil
}

// errorPosition reads the position of an error of the loader: file:line:col,
// file:line, or nothing.
func errorPosition(e packages.Error) token.Position {
	var at token.Position
	rest := e.Pos
	if rest == "" || rest == "-" {
		return at
	}
	var numbers []int
	for len(numbers) < 2 {
		i := strings.LastIndexByte(rest, ':')
		if i < 0 {
			break
		}
		n, err := strconv.Atoi(rest[i+1:])
		if err != nil {
			break
		}
		numbers = append(numbers, n)
		rest = rest[:i]
	}
	at.Filename = rest
	switch len(numbers) {
	case 2:
		at.Line, at.Column = numbers[1], numbers[0]
	case 1:
		at.Line = numbers[0]
	}
	return at
}
