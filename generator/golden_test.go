package generator

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/diff"
	"golang.org/x/tools/txtar"

	"github.com/protectgen/protectgen/templates"
)

// golden is a case of testdata/golden: an archive with the sources of one or
// more packages, the files that are emitted for them, and, for a program, what
// it prints, in the file output.
type golden struct {
	name    string // of the archive, and of the folder of its sources
	file    string
	archive *txtar.Archive
}

// TestGolden generates all cases in one module, compares what is emitted, and
// has the go command vet, test and run it.
func TestGolden(t *testing.T) {
	cases := readGolden(t)
	dir := goldenModule(t, cases)
	cfg := Config{Dir: dir, Env: environment(), Patterns: []string{"./..."}}

	result, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range result.Diagnostics {
		t.Errorf("%v", d)
	}
	emitted := map[string][]txtar.File{}
	for _, f := range result.Files {
		rel, err := filepath.Rel(dir, f.Path)
		if err != nil {
			t.Fatal(err)
		}
		name, inside, _ := strings.Cut(filepath.ToSlash(rel), "/")
		emitted[name] = append(emitted[name], txtar.File{Name: inside, Data: f.Content})
	}
	if *update {
		for _, c := range cases {
			c.update(t, emitted[c.name])
		}
		cases = readGolden(t)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.compare(t, emitted[c.name]) })
	}

	apply(t, result)
	t.Run("generating again changes nothing", func(t *testing.T) {
		again, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		changes, refused := again.Changes()
		for _, c := range changes {
			t.Errorf("%s", c.Diff(c.Path))
		}
		for _, d := range append(again.Diagnostics, refused...) {
			t.Errorf("%v", d)
		}
	})
	t.Run("vet", func(t *testing.T) { goCommand(t, dir, "vet", "./...") })
	t.Run("test", func(t *testing.T) { goCommand(t, dir, "test", "-vet=off", "./...") })
	for _, c := range cases {
		if want, ok := c.output(); ok {
			t.Run("run "+c.name, func(t *testing.T) {
				if got := goCommand(t, dir, "run", "./"+c.name); got != want && !*update {
					t.Errorf("%s prints\n%swant\n%s", c.name, got, want)
				} else if *update {
					c.updateOutput(t, got)
				}
			})
		}
	}
}

func readGolden(t *testing.T) []*golden {
	t.Helper()
	files, err := filepath.Glob("../testdata/golden/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var cases []*golden
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, &golden{strings.TrimSuffix(filepath.Base(file), ".txtar"), file, archive})
	}
	return cases
}

// goldenModule writes the sources of all cases into a module that uses this
// one.
func goldenModule(t *testing.T, cases []*golden) string {
	t.Helper()
	var files []txtar.File
	for _, c := range cases {
		for _, f := range c.archive.Files {
			if !isGenerated(f.Data) && f.Name != "output" {
				files = append(files, txtar.File{Name: path.Join(c.name, f.Name), Data: f.Data})
			}
		}
	}
	return usingModule(t, files)
}

// expected returns the emitted files of the archive.
func (c *golden) expected() map[string][]byte {
	files := map[string][]byte{}
	for _, f := range c.archive.Files {
		if isGenerated(f.Data) {
			files[f.Name] = f.Data
		}
	}
	return files
}

func (c *golden) output() (string, bool) {
	for _, f := range c.archive.Files {
		if f.Name == "output" {
			return string(f.Data), true
		}
	}
	return "", false
}

func (c *golden) compare(t *testing.T, emitted []txtar.File) {
	want := c.expected()
	if len(emitted) == 0 {
		t.Error("nothing was emitted")
	}
	for _, f := range emitted {
		if d := diff.Diff("want/"+f.Name, want[f.Name], "got/"+f.Name, f.Data); d != nil {
			t.Errorf("%s", d)
		}
		delete(want, f.Name)
		if !bytes.HasPrefix(f.Data, []byte(templates.Header+"\n")) {
			t.Errorf("%s does not begin with the header", f.Name)
		}
	}
	for name := range want {
		t.Errorf("%s was not emitted", name)
	}
}

// update replaces the emitted files of the archive.
func (c *golden) update(t *testing.T, emitted []txtar.File) {
	var files []txtar.File
	for _, f := range c.archive.Files {
		if !isGenerated(f.Data) {
			files = append(files, f)
		}
	}
	c.archive.Files = append(files, emitted...)
	c.write(t)
}

func (c *golden) updateOutput(t *testing.T, output string) {
	for i, f := range c.archive.Files {
		if f.Name == "output" {
			c.archive.Files[i].Data = []byte(output)
		}
	}
	c.write(t)
}

func (c *golden) write(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(c.file, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// apply brings the disk in line with a result.
func apply(t *testing.T, result *Result) {
	t.Helper()
	changes, refused := result.Changes()
	for _, change := range changes {
		if d := change.Apply(); d != nil {
			refused = append(refused, *d)
		}
	}
	for _, d := range refused {
		t.Fatal(d)
	}
}

// goCommand runs the go command in dir and returns what it prints.
func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return goCommandWith(t, dir, nil, args...)
}

// goCommandWith is goCommand with more in its environment.
func goCommandWith(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = dir, environment(env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}
