package generator

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// shape is a case of testdata/shapes: an archive with the sources of a package
// called shape, and of packages below it. Whatever interface it holds is
// wrapped in each of the ways that variants says, or refused where and as the
// archive's file want/VARIANT says; that file also has the methods which are
// left unprotected and why. A file run_test.go is a test of the first variant.
//
// Invariant: a case without want files has no diagnostic and no unprotected
// method in any variant, so a shape cannot be lost in silence.
type shape struct {
	name    string
	file    string
	archive *txtar.Archive
}

// variants are what takes the place of a line //protect:breaker in the sources.
var variants = []struct{ name, directive string }{
	{"guard", "//protect:breaker"},
	{"pool", "//protect:pool"},
	{"chain", "//protect:fallback next"},
}

var replaceable = regexp.MustCompile(`(?m)^(\s*)//protect:breaker(\r?)$`)

// TestShapes generates each variant of all shapes in one module, and has the
// go command check what is emitted.
func TestShapes(t *testing.T) {
	shapes := readShapes(t)
	var files []txtar.File
	for _, s := range shapes {
		for _, v := range variants {
			files = append(files, s.sources(v.name, v.directive)...)
		}
	}
	dir := usingModule(t, files)
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"./..."}})
	if err != nil {
		t.Fatal(err)
	}
	got := outcomes(t, dir, result)
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			if *update {
				s.update(t, got)
			}
			for _, v := range variants {
				if got, want := got[v.name+"/"+s.name], s.want(v.name); got != want {
					t.Errorf("%s\n got:\n%s\nwant:\n%s", v.name, got, want)
				}
			}
		})
	}
	checkImplements(t, result)
	apply(t, result)
	t.Run("vet", func(t *testing.T) { goCommand(t, dir, "vet", "./...") })
	t.Run("run", func(t *testing.T) {
		var tested []string
		for _, s := range shapes {
			if slices.ContainsFunc(s.archive.Files, func(f txtar.File) bool { return f.Name == "run_test.go" }) {
				tested = append(tested, "./"+variants[0].name+"/"+s.name)
			}
		}
		goCommand(t, dir, append([]string{"test", "-vet=off"}, tested...)...)
	})
}

func readShapes(t *testing.T) []*shape {
	t.Helper()
	files, err := filepath.Glob("../testdata/shapes/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var shapes []*shape
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		shapes = append(shapes, &shape{strings.TrimSuffix(filepath.Base(file), ".txtar"), file, archive})
	}
	return shapes
}

// sources returns the files of a variant. A package is imported as shape, or
// as what is below it, and stands in a folder of its variant and case.
func (s *shape) sources(variant, directive string) []txtar.File {
	var files []txtar.File
	folder := path.Join(variant, s.name)
	importPath := "example.com/" + folder
	for _, f := range s.archive.Files {
		if strings.HasPrefix(f.Name, "want/") || f.Name == "run_test.go" && variant != variants[0].name {
			continue
		}
		data := replaceable.ReplaceAll(f.Data, []byte("${1}"+directive+"${2}"))
		data = bytes.ReplaceAll(data, []byte(`"shape"`), []byte(`"`+importPath+`"`))
		data = bytes.ReplaceAll(data, []byte(`"shape/`), []byte(`"`+importPath+`/`))
		files = append(files, txtar.File{Name: path.Join(folder, f.Name), Data: data})
	}
	return files
}

// want returns what the archive says of a variant.
func (s *shape) want(variant string) string {
	for _, f := range s.archive.Files {
		if f.Name == "want/"+variant {
			return string(f.Data)
		}
	}
	return ""
}

func (s *shape) update(t *testing.T, got map[string]string) {
	t.Helper()
	s.archive.Files = slices.DeleteFunc(s.archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want/") })
	for _, v := range variants {
		if text := got[v.name+"/"+s.name]; text != "" {
			s.archive.Files = append(s.archive.Files, txtar.File{Name: "want/" + v.name, Data: []byte(text)})
		}
	}
	if err := os.WriteFile(s.file, txtar.Format(s.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// outcomes says for each variant/case what the result has to tell of it. Of
// a chain, whose methods are not guarded, it tells no more than diagnostics.
func outcomes(t *testing.T, dir string, result *Result) map[string]string {
	t.Helper()
	out := map[string]string{}
	say := func(file, line string) {
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.SplitN(filepath.ToSlash(rel), "/", 3)
		id := path.Join(parts[0], parts[1])
		line = strings.ReplaceAll(line, filepath.Join(dir, parts[0], parts[1])+string(filepath.Separator), "")
		out[id] += strings.ReplaceAll(line, "example.com/"+id, "shape") + "\n"
	}
	for _, d := range result.Diagnostics {
		if d.Position.Filename == "" {
			t.Errorf("%v", d)
			continue
		}
		say(d.Position.Filename, d.String())
	}
	type group struct{ dir, iface, why string }
	var order []group
	methods := map[group][]string{}
	for _, e := range result.Explanations {
		g := group{filepath.Dir(e.Position.Filename), e.Interface, e.Why}
		if e.Protected || e.Why == "closes the pools" || strings.Contains(e.Package, "/chain/") {
			continue
		}
		if methods[g] == nil {
			order = append(order, g)
		}
		methods[g] = append(methods[g], e.Method)
	}
	for _, g := range order {
		say(g.dir, fmt.Sprintf("%s: %s unprotected: %s", g.iface, strings.Join(methods[g], " "), g.why))
	}
	return out
}

// checkImplements makes sure that the compiler is made to check that each
// wrapper is what it wraps.
func checkImplements(t *testing.T, result *Result) {
	t.Helper()
	content := map[string][]byte{}
	for _, f := range result.Files {
		content[f.Path] = f.Content
	}
	for _, e := range result.Explanations {
		dir, source := filepath.Split(e.Position.Filename)
		name := regexp.QuoteMeta(e.Interface)
		assertion := regexp.MustCompile(`(?m)^(var _ ` + name + ` = \(\*|func _\[(?s:.*?)\) ` + name + `\[.* \{\n\treturn \w+\n)`)
		if !assertion.Match(content[filepath.Join(dir, outputName(source))]) {
			t.Errorf("nothing makes the compiler check the wrapper of %s.%s", e.Package, e.Interface)
		}
	}
}
