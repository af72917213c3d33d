package directive

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/directives.md from the schema")

func TestReferenceIsWrittenFromTheSchema(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "directives.md")
	want := Markdown()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale: run go test ./generator/directive -update", path)
	}
}

func TestHelpTellsOfEveryDirectiveAndKey(t *testing.T) {
	all, ok := Help("")
	if !ok {
		t.Fatal("there is no overview")
	}
	for _, s := range specs {
		if !strings.Contains(all, Prefix+s.Name+" ") || !strings.Contains(all, s.Doc) {
			t.Errorf("the overview does not tell of %s", s.Name)
		}
		text, ok := Help(s.Name)
		if !ok {
			t.Fatalf("there is no help for %s", s.Name)
		}
		words := strings.Join(strings.Fields(text), " ")
		for _, p := range append(s.Args, s.Keys...) {
			if !strings.Contains(words, strings.Join(strings.Fields(p.Doc), " ")) || !strings.Contains(words, p.Default) {
				t.Errorf("help for %s does not tell of %s", s.Name, p.Name)
			}
		}
		for line := range strings.Lines(text) {
			if len(line) > 80 && !strings.Contains(line, Prefix) {
				t.Errorf("help for %s has a line of %d columns", s.Name, len(line))
			}
		}
	}
}

func TestHelpForAnUnknownDirectiveNamesTheNearest(t *testing.T) {
	for _, name := range []string{"limt", "//protect:limt"} {
		text, ok := Help(name)
		if ok || !strings.Contains(text, "did you mean limit?") {
			t.Errorf("Help(%q) = %q, %v", name, text, ok)
		}
	}
	if _, ok := Help("//protect:limit"); !ok {
		t.Error("a directive is not found under the name that files have it under")
	}
}
