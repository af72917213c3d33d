package policyfile

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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
