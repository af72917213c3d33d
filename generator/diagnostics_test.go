package generator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// Each case of testdata/diagnostics is an archive: a comment that says what it
// is about, the files of a module, and what Run has to say about them, in the
// file diagnostics. Lines of the comment that begin with "run: " are patterns,
// "env: " environment variables.
func TestDiagnostics(t *testing.T) {
	paths, err := filepath.Glob("../testdata/diagnostics/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var files []txtar.File
			want := ""
			for _, f := range archive.Files {
				if f.Name == "diagnostics" {
					want = string(f.Data)
				} else {
					files = append(files, f)
				}
			}
			got := diagnose(t, string(archive.Comment), files)
			if *update {
				archive.Files = append(files, txtar.File{Name: "diagnostics", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("%s\n got:\n%s\nwant:\n%s", path, got, want)
			}
		})
	}
}

// diagnose runs a case and returns its diagnostics, and the files that would
// be written.
func diagnose(t *testing.T, comment string, files []txtar.File) string {
	t.Helper()
	dir := module(t, files)
	cfg := Config{Dir: dir}
	var env []string
	for line := range strings.Lines(comment) {
		if patterns, ok := strings.CutPrefix(line, "run: "); ok {
			cfg.Patterns = strings.Fields(patterns)
		}
		if vars, ok := strings.CutPrefix(line, "env: "); ok {
			env = strings.Fields(vars)
		}
	}
	cfg.Env = environment(env...)
	result, err := Run(t.Context(), cfg)
	if err != nil {
		return "failed: " + strings.ReplaceAll(err.Error(), dir, "$DIR") + "\n"
	}
	var b strings.Builder
	for _, d := range result.Diagnostics {
		b.WriteString(d.String() + "\n")
	}
	for _, f := range result.Files {
		b.WriteString("writes " + f.Path + "\n")
	}
	for _, path := range result.Orphans {
		b.WriteString("removes " + path + "\n")
	}
	return strings.ReplaceAll(filepath.ToSlash(b.String()), filepath.ToSlash(dir)+"/", "")
}
