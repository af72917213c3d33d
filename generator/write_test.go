package generator

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/protectgen/protectgen/templates"
)

const ours = templates.Header + "\n\npackage p\n"

// file writes a file into a folder of the test and returns its path.
func file(t *testing.T, content string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p_protect.go")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func want(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("%s holds %q (%v), want %q", filepath.Base(path), got, err, content)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("something is left beside it: %v, %v", entries, err)
	}
}

func TestAnUnchangedFileIsNotTouched(t *testing.T) {
	for name, content := range map[string]string{
		"the same":     ours,
		"with returns": strings.ReplaceAll(ours, "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, content, 0o644)
			long := time.Now().Add(-time.Hour).Truncate(time.Second)
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
			apply(t, &Result{Files: []File{{path, []byte(ours)}}})
			info, err := os.Stat(path)
			if err != nil || !info.ModTime().Equal(long) {
				t.Errorf("modified at %v, want %v (%v)", info.ModTime(), long, err)
			}
			want(t, path, content)
		})
	}
}

func TestAChangedFileKeepsItsPermissions(t *testing.T) {
	path := file(t, ours, 0o644)
	if err := os.Chmod(path, 0o606); err != nil {
		t.Fatal(err)
	}
	apply(t, &Result{Files: []File{{path, []byte(ours + "\nvar x int\n")}}})
	want(t, path, ours+"\nvar x int\n")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o606 {
		t.Errorf("mode %v, want -rw----rw- (%v)", info.Mode(), err)
	}
}

func TestANameMayBeAsLongAsTheSystemAllows(t *testing.T) {
	const suffix = "_protect.go"
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 255-len(suffix))+suffix)
	apply(t, &Result{Files: []File{{path, []byte(ours)}}})
	want(t, path, ours)
}

func TestReadersNeverSeeAPart(t *testing.T) {
	path := file(t, ours, 0o644)
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	apply(t, &Result{Files: []File{{path, []byte(ours + "\nvar x int\n")}}})
	// A reader that began before goes on reading the old file: it was
	// replaced, not written over.
	var b bytes.Buffer
	if _, err := b.ReadFrom(reader); err != nil || b.String() != ours {
		t.Errorf("the open file holds %q (%v)", b.String(), err)
	}
}

func TestOnlyOurOrphansAreRemoved(t *testing.T) {
	mine := file(t, ours, 0o644)
	foreign := file(t, "package p\n", 0o644)
	target := file(t, ours, 0o644)
	link := filepath.Join(t.TempDir(), "p_protect.go")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(t.TempDir(), "gone.go")
	apply(t, &Result{Orphans: []string{mine, foreign, link, gone}})
	if _, err := os.Stat(mine); !os.IsNotExist(err) {
		t.Errorf("an orphan of ours is still there: %v", err)
	}
	want(t, foreign, "package p\n")
	want(t, target, ours)
	want(t, link, ours)
}

func TestARefusedPathKeepsItsFolder(t *testing.T) {
	foreign := file(t, "package p\n", 0o644)
	beside := filepath.Join(filepath.Dir(foreign), "other_protect.go")
	elsewhere := filepath.Join(t.TempDir(), "p_protect.go")
	result := &Result{Files: []File{{beside, []byte(ours)}, {foreign, []byte(ours)}, {elsewhere, []byte(ours)}}}
	changes, refused := result.Changes()
	if len(refused) != 1 || refused[0].Position.Filename != foreign || refused[0].Severity != Error || refused[0].Hint == "" {
		t.Errorf("refused: %v", refused)
	}
	if len(changes) != 1 || changes[0].Path != elsewhere {
		t.Errorf("changes: %v", changes)
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p_protect.go")
	changes, refused := (&Result{Files: []File{{path, []byte(ours)}}}).Changes()
	if len(changes) != 1 || len(refused) != 0 {
		t.Fatal(changes, refused)
	}
	// The path is taken after it was looked at.
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if d := changes[0].Apply(); d == nil {
		t.Error("a folder was written over")
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestAFileThatCannotBeWrittenIsADiagnostic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "p_protect.go")
	changes, refused := (&Result{Files: []File{{path, []byte(ours)}}}).Changes()
	if len(changes) != 1 || len(refused) != 0 {
		t.Fatal(changes, refused)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	d := changes[0].Apply()
	if d == nil || d.String() != path+": cannot write: no such file or directory" {
		t.Errorf("diagnostic: %v", d)
	}
}

func TestADiffNamesWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new []byte
		want     string
	}{
		{"missing", nil, []byte("a\n"), "diff /dev/null b/x.go\n--- /dev/null\n+++ b/x.go\n@@ -0,0 +1,1 @@\n+a\n"},
		{"orphaned", []byte("a\n"), nil, "diff a/x.go /dev/null\n--- a/x.go\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n"},
		{"stale", []byte("a\nb\n"), []byte("a\nc\n"), "diff a/x.go b/x.go\n--- a/x.go\n+++ b/x.go\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"},
	} {
		if got := string((Change{Old: c.old, New: c.new}).Diff("x.go")); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
