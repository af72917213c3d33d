package policyfile

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	protect "github.com/protectgen/protectgen/runtime"
)

// From outside, a change that was told of looks like one that was found.
func TestADirectoryThatIsMadeAnewTellsOfChangesAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	path := filepath.Join(dir, "policies.yaml")
	save := func() {
		t.Helper()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save()
	w, err := Watch(t.Context(), protect.New(), path, PollEvery(5*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	watched := func(want int) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); len(w.fs.WatchList()) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("still waiting for %d watched directories", want)
			}
		}
	}

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	watched(0)
	save()
	watched(1)
}

func TestOnlyEventsAboutTheFileAreHeeded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "policies.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := &Watcher{path: path}
	concerns := func(name string) bool { return w.concerns(fsnotify.Event{Name: filepath.Join(dir, name)}) }

	if concerns("other") {
		t.Error("another file, while there is none")
	}
	write("{}")
	if !concerns("..data") {
		t.Error("not a link, when the file has come")
	}
	if concerns("..data") {
		t.Error("a link that led to nothing new")
	}
	if !concerns("policies.yaml") {
		t.Error("not the file itself, when it looks the same")
	}
	write("a: {}")
	if !concerns("..data") {
		t.Error("not a link, when the file has changed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !concerns("..data") {
		t.Error("not a link, when the file has gone")
	}
}
