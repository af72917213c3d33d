package generator

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/txtar"
)

// Each case of testdata/diagnostics is an archive: a comment that says what it
// is about, the files of a module, and what Run has to say about them, in the
// file diagnostics. Lines of the comment that begin with "run: " are patterns,
// "env: " environment variables; a case without any is a package of one module
// with all others, and has no packages below it.
type diagnosticsCase struct {
	name, path string
	archive    *txtar.Archive
	files      []txtar.File
	want       string
}

func diagnosticsCases(t *testing.T) []*diagnosticsCase {
	t.Helper()
	paths, err := filepath.Glob("../testdata/diagnostics/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	var cases []*diagnosticsCase
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := &diagnosticsCase{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path, archive: archive}
		for _, f := range archive.Files {
			if f.Name == "diagnostics" {
				c.want = string(f.Data)
			} else {
				c.files = append(c.files, f)
			}
		}
		cases = append(cases, c)
	}
	return cases
}

// settings returns the patterns and environment variables of a case.
func (c *diagnosticsCase) settings() (patterns, env []string) {
	for line := range strings.Lines(string(c.archive.Comment)) {
		if list, ok := strings.CutPrefix(line, "run: "); ok {
			patterns = strings.Fields(list)
		}
		if list, ok := strings.CutPrefix(line, "env: "); ok {
			env = strings.Fields(list)
		}
	}
	return patterns, env
}

func (c *diagnosticsCase) compare(t *testing.T, got string) {
	t.Helper()
	if *update {
		c.archive.Files = append(c.files, txtar.File{Name: "diagnostics", Data: []byte(got)})
		if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != c.want {
		t.Errorf("%s\n got:\n%s\nwant:\n%s", c.path, got, c.want)
	}
}

// said returns what a result says of the files below a folder.
func said(result *Result, dir string) string {
	var b strings.Builder
	inside := func(path string) bool { return strings.HasPrefix(path, dir+string(filepath.Separator)) }
	for _, d := range result.Diagnostics {
		if inside(d.Position.Filename) || d.Position.Filename == "" {
			b.WriteString(d.String() + "\n")
		}
	}
	for _, f := range result.Files {
		if inside(f.Path) {
			b.WriteString("writes " + f.Path + "\n")
		}
	}
	for _, path := range result.Orphans {
		if inside(path) {
			b.WriteString("removes " + path + "\n")
		}
	}
	text := strings.ReplaceAll(b.String(), dir+string(filepath.Separator), "")
	return filepath.ToSlash(strings.ReplaceAll(text, dir, "."))
}

func TestDiagnostics(t *testing.T) {
	var together []*diagnosticsCase
	var files []txtar.File
	for _, c := range diagnosticsCases(t) {
		patterns, env := c.settings()
		if len(patterns)+len(env) == 0 {
			together = append(together, c)
			for _, f := range c.files {
				files = append(files, txtar.File{Name: c.name + "/" + f.Name, Data: f.Data})
			}
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := module(t, c.files)
			result, err := Run(t.Context(), Config{Dir: dir, Env: environment(env...), Patterns: patterns})
			if err != nil {
				t.Fatal(err)
			}
			c.compare(t, said(result, dir))
		})
	}
	t.Run("together", func(t *testing.T) {
		t.Parallel()
		dir := module(t, files)
		result, err := Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"./..."}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range together {
			t.Run(c.name, func(t *testing.T) { c.compare(t, said(result, filepath.Join(dir, c.name))) })
		}
		t.Run("output compiles", func(t *testing.T) { typeCheck(t, dir, result.Files) })
	})
}

// Inspect has a package from somebody else, and warns as Run does: each case of
// one package that has warnings only.
func TestInspectingSaysWhatRunDoes(t *testing.T) {
	var cases []*diagnosticsCase
	var files []txtar.File
	for _, c := range diagnosticsCases(t) {
		if patterns, env := c.settings(); strings.HasPrefix(c.name, "warn_") && len(patterns)+len(env) == 0 {
			cases = append(cases, c)
			for _, f := range c.files {
				files = append(files, txtar.File{Name: c.name + "/" + f.Name, Data: f.Data})
			}
		}
	}
	dir := module(t, files)
	loaded, err := packages.Load(&packages.Config{Context: t.Context(), Dir: dir, Env: environment(), Mode: withTypes}, "./...")
	if err != nil || len(loaded) != len(cases) {
		t.Fatal(err, len(loaded), len(cases))
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := loaded[i]
			if filepath.Base(p.PkgPath) != c.name {
				t.Fatal(p.PkgPath)
			}
			result := &Result{Diagnostics: Inspect(p.Fset, p.Syntax, p.Types, p.TypesInfo)}
			got := said(result, filepath.Join(dir, c.name))
			want, _, _ := strings.Cut(c.want, "writes ")
			if got != want {
				t.Errorf("%s\n got:\n%s\nwant:\n%s", c.path, got, want)
			}
		})
	}
}

// typeCheck writes files and makes sure that they have no type errors, seen
// without the tag that hides them.
func typeCheck(t *testing.T, dir string, files []File) {
	t.Helper()
	for _, f := range files {
		if err := os.WriteFile(f.Path, f.Content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := packages.Load(&packages.Config{
		Context: t.Context(), Dir: dir, Env: environment(), Tests: true,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedTypesInfo,
	}, "./...")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range loaded {
		for _, path := range p.GoFiles {
			seen[path] = true
		}
		for _, e := range p.Errors {
			at := errorPosition(e).Filename
			if slices.ContainsFunc(files, func(f File) bool { return f.Path == at }) {
				t.Errorf("%v", e)
			}
		}
	}
	for _, f := range files {
		if !seen[f.Path] {
			t.Errorf("%s is not part of its package", f.Path)
		}
	}
}
