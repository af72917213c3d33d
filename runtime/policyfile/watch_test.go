package policyfile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	limiter "github.com/sethvargo/go-limiter"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/policyfile"
)

// watching is a Watcher under test, with what it told.
type watching struct {
	*policyfile.Watcher
	rt *protect.Runtime

	mu      sync.Mutex
	applied []string // the keys of each time, joined
	errs    []string
}

// never is a poll that no test lives to see: what is seen was told by the file
// system.
const never = time.Hour

func watch(t *testing.T, path string, poll time.Duration, opts ...protect.Option) *watching {
	t.Helper()
	w := &watching{rt: closing(t, protect.New(opts...))}
	watcher, err := policyfile.Watch(t.Context(), w.rt, path, policyfile.PollEvery(poll),
		policyfile.OnApply(func(keys []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.applied = append(w.applied, strings.Join(keys, " "))
		}),
		policyfile.OnError(func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errs = append(w.errs, err.Error())
		}))
	if err != nil {
		t.Fatal(err)
	}
	w.Watcher = watcher
	t.Cleanup(watcher.Close)
	return w
}

// told returns what the callbacks were told so far.
func (w *watching) told() (applied, errs []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.applied), slices.Clone(w.errs)
}

// timeout is the timeout that holds for k.
func (w *watching) timeout() time.Duration {
	p, _ := w.rt.Policy("k")
	return p.Timeout
}

// eventually waits until what is to come has come.
func eventually(t *testing.T, what string, come func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !come(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting: %s", what)
		}
	}
}

// becomes waits until the timeout of k is d and the Watcher is content.
func (w *watching) becomes(t *testing.T, d time.Duration) {
	t.Helper()
	eventually(t, fmt.Sprintf("a timeout of %v", d), func() bool { return w.timeout() == d && w.Err() == nil })
}

// complains waits until the last error told contains text.
func (w *watching) complains(t *testing.T, text string) {
	t.Helper()
	eventually(t, "an error: "+text, func() bool {
		_, errs := w.told()
		return len(errs) > 0 && strings.Contains(errs[len(errs)-1], text)
	})
	if err := w.Err(); err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("Err is %v, want %s", err, text)
	}
}

// second is a file with a timeout of n seconds for k, as long as any other.
func second(n int) string { return fmt.Sprintf("k: {timeout: %ds}\n", n) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// file returns the path of a new file that says second(1).
func file(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "policies.yaml")
	write(t, path, second(1))
	return path
}

func TestAFileIsAppliedAtOnceAndWhenItIsWritten(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, never)
	if w.timeout() != time.Second || w.Err() != nil {
		t.Errorf("at once the timeout is %v, the error %v", w.timeout(), w.Err())
	}

	write(t, path, second(2))
	w.becomes(t, 2*time.Second)

	write(t, path, "a: {}\nb: {}\n")
	eventually(t, "other keys", func() bool { return slices.Equal(w.rt.Keys(), []string{"a", "b"}) })

	w.Close()
	applied, errs := w.told()
	if want := []string{"k", "k", "a b k"}; !slices.Equal(applied, want) || len(errs) > 0 {
		t.Errorf("told of %q and %q, want %q", applied, errs, want)
	}
}

func TestAChangeReachesRunningWrappers(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, never)
	guards, err := protect.NewGuards(w.rt, "backend", protect.Spec{Key: "k", Policy: limit(1)})
	must(t, err)
	deadline := func() (left time.Duration) {
		err := guards[0].Do(context.Background(), "", func(ctx context.Context, _ string) error {
			at, _ := ctx.Deadline()
			left = time.Until(at)
			return nil
		})
		must(t, err)
		return left
	}
	if left := deadline(); left > time.Second {
		t.Errorf("a call has %v, want 1s", left)
	}

	write(t, path, "k: {timeout: 1h}")
	w.becomes(t, time.Hour)

	if left := deadline(); left < time.Minute {
		t.Errorf("a call has %v, want 1h", left)
	}
}

func TestAFileThatEditorsReplace(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, never)
	for n := 2; n <= 4; n++ {
		temp := path + "~"
		write(t, temp, second(n))
		must(t, os.Rename(temp, path))
		w.becomes(t, time.Duration(n)*time.Second)
	}
	// and those that move the old one away first
	must(t, os.Rename(path, path+".bak"))
	write(t, path, second(5))
	w.becomes(t, 5*time.Second)
}

func TestAConfigMapThatIsSwapped(t *testing.T) {
	t.Parallel()
	// given policies.yaml -> ..data/policies.yaml, ..data -> ..1
	dir := t.TempDir()
	version := func(n int) string {
		name := fmt.Sprintf("..%d", n)
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		write(t, filepath.Join(dir, name, "policies.yaml"), second(n))
		return name
	}
	link := filepath.Join(dir, "..data")
	must(t, os.Symlink(version(1), link))
	path := filepath.Join(dir, "policies.yaml")
	must(t, os.Symlink(filepath.Join("..data", "policies.yaml"), path))
	w := watch(t, path, never)

	for n := 2; n <= 4; n++ {
		// when ..data is replaced by a link to another version, and the old
		// one is removed
		temp := filepath.Join(dir, "..data_tmp")
		must(t, os.Symlink(version(n), temp))
		must(t, os.Rename(temp, link))
		must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", n-1))))

		w.becomes(t, time.Duration(n)*time.Second)
	}
	if _, errs := w.told(); len(errs) > 0 {
		t.Errorf("errors: %q", errs)
	}
}

func TestAFileThatVanishesKeepsItsPolicies(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, never)

	must(t, os.Remove(path))
	w.complains(t, "no such file")
	if !errors.Is(w.Err(), os.ErrNotExist) || w.timeout() != time.Second {
		t.Errorf("the error is %v, the timeout %v", w.Err(), w.timeout())
	}

	write(t, path, second(2))
	w.becomes(t, 2*time.Second)

	// The same file again is no change, but the error is over.
	must(t, os.Remove(path))
	eventually(t, "an error", func() bool { return w.Err() != nil })
	write(t, path, second(2))
	w.becomes(t, 2*time.Second)
	w.Close()
	if applied, _ := w.told(); len(applied) != 2 {
		t.Errorf("applied %q, want twice", applied)
	}
}

func TestAFileThatIsTruncatedKeepsItsPolicies(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, never)

	must(t, os.Truncate(path, 0))
	w.complains(t, "the file has no policies")
	if w.timeout() != time.Second {
		t.Errorf("the timeout is %v", w.timeout())
	}

	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	for part := range strings.Lines("k:\n  timeout:\n    2s\n") {
		_, err := f.WriteString(part)
		must(t, err)
	}
	w.becomes(t, 2*time.Second)
}

// Half a file may be a valid one, with keys missing.
func TestAFileIsNotReadHalfWritten(t *testing.T) {
	t.Parallel()
	for range 50 {
		if writtenInHalves(t) {
			return
		}
	}
	t.Fatal("no file was written in one go: the machine stalls between any two writes")
}

// writtenInHalves writes a file in two steps, and reports whether they followed
// each other faster than the 100 ms after which a file counts as settled; if
// not, the half is read rightly.
func writtenInHalves(t *testing.T) bool {
	t.Helper()
	path := file(t)
	write(t, path, second(1)+"l: {timeout: 1s}\n")
	w := watch(t, path, 5*time.Millisecond)
	defer w.Close()

	start := time.Now()
	write(t, path, second(2))
	time.Sleep(40 * time.Millisecond) // several polls
	write(t, path, second(2)+"l: {timeout: 1s}\n")
	if time.Since(start) > 90*time.Millisecond {
		return false
	}

	w.becomes(t, 2*time.Second)
	w.Close()
	if applied, errs := w.told(); !slices.Equal(applied, []string{"k l", "k"}) || len(errs) != 0 {
		t.Errorf("told of %q and %q", applied, errs)
	}
	return true
}

func TestABadFileChangesNothing(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, never)

	write(t, path, "k: {timeout: 2s}\nl: {timeout: 3}\n")
	w.complains(t, path+":2:14: timeout: 3 has no unit; write 3s")
	equal(t, holding(w.rt), policies{"k": timeout(time.Second)})

	write(t, path, "k: {timeout: 2s}\nl: {timeout: 4}\n")
	w.complains(t, "timeout: 4 has no unit")
	equal(t, holding(w.rt), policies{"k": timeout(time.Second)})

	write(t, path, "k: {timeout: 2s}\nl: {timeout: 4s}\n")
	w.becomes(t, 2*time.Second)
	w.Close()
	if applied, errs := w.told(); !slices.Equal(applied, []string{"k", "k l"}) || len(errs) != 2 {
		t.Errorf("told of %q and %q", applied, errs)
	}
}

func TestWhatTheRuntimeRefusesIsTriedAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var attempts int
	stores := &stores{down: "l"}
	path := file(t)
	w := watch(t, path, 10*time.Millisecond, protect.WithStores(func(name string, tokens uint64, window time.Duration) (limiter.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		attempts++
		return stores.open(name, tokens, window)
	}))

	write(t, path, "k: {timeout: 2s}\nl: {limit: 1/1m}\n")
	w.complains(t, "l: protect: limiter failed")
	if w.timeout() != time.Second {
		t.Errorf("the timeout is %v, want it rolled back", w.timeout())
	}

	eventually(t, "more attempts", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return attempts > 3
	})

	mu.Lock()
	stores.down = ""
	mu.Unlock()
	w.becomes(t, 2*time.Second)
	if _, errs := w.told(); len(errs) != 1 {
		t.Errorf("one error was told %d times", len(errs))
	}
}

func TestWhatNobodyTellsOfIsFound(t *testing.T) {
	t.Parallel()
	// given a link to a file in a directory that is not watched
	path := file(t)
	link := filepath.Join(t.TempDir(), "link.yaml")
	must(t, os.Symlink(path, link))
	w := watch(t, link, 10*time.Millisecond)

	write(t, path, second(2))
	w.becomes(t, 2*time.Second)
}

func TestADirectoryThatIsReplacedIsWatchedAgain(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, 10*time.Millisecond)
	dir := filepath.Dir(path)
	must(t, os.Rename(dir, dir+".old"))
	t.Cleanup(func() { os.RemoveAll(dir + ".old") })
	eventually(t, "an error", func() bool { return errors.Is(w.Err(), os.ErrNotExist) })

	must(t, os.Mkdir(dir, 0o700))
	write(t, path, second(2))
	w.becomes(t, 2*time.Second)
}

func TestWatchRefusesAFileThatCannotBeApplied(t *testing.T) {
	t.Parallel()
	rt := closing(t, protect.New())
	path := file(t)
	write(t, path, "k: {timeout: 1s}\nl: 5\n")
	silent := policyfile.OnError(func(err error) { t.Errorf("told of %v as well", err) })

	if _, err := policyfile.Watch(t.Context(), rt, path, silent); !errors.Is(err, protect.ErrInvalid) {
		t.Errorf("a bad file is %v", err)
	}
	if _, err := policyfile.Watch(t.Context(), rt, path+".none", silent); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file is %v", err)
	}
	if _, err := policyfile.Watch(t.Context(), rt, filepath.Join(path, "f"), silent); err == nil {
		t.Error("a file in no directory was watched")
	}
	if len(rt.Keys()) > 0 {
		t.Errorf("keys: %v", rt.Keys())
	}
}

func TestAWatcherNeedsNoContextAndNoOption(t *testing.T) {
	t.Parallel()
	var none context.Context
	w, err := policyfile.Watch(none, closing(t, protect.New()), file(t), nil)
	must(t, err)
	w.Close()
}

func TestAWatcherEndsWithItsContext(t *testing.T) {
	t.Parallel()
	rt := closing(t, protect.New())
	ctx, cancel := context.WithCancel(t.Context())
	path := file(t)
	w, err := policyfile.Watch(ctx, rt, path, policyfile.PollEvery(time.Millisecond))
	must(t, err)

	cancel()
	w.Close()
	w.Close()

	write(t, path, second(2))
	if p, ok := rt.Policy("k"); !ok || p.Timeout != time.Second {
		t.Errorf("the policy is %+v (%v), want it to stay", p, ok)
	}
}

func TestCloseWaitsForAChangeThatIsBeingApplied(t *testing.T) {
	t.Parallel()
	path := file(t)
	var calls int
	entered := make(chan struct{})
	w, err := policyfile.Watch(t.Context(), closing(t, protect.New()), path, policyfile.PollEvery(never),
		policyfile.OnApply(func([]string) {
			if calls++; calls == 2 {
				close(entered)
				time.Sleep(20 * time.Millisecond)
				calls++
			}
		}))
	must(t, err)
	write(t, path, second(2))
	<-entered

	w.Close()

	if calls != 3 {
		t.Error("Close came back in the middle of a callback")
	}
}

// A callback sees the state that it is told of.
func TestErrIsCurrentInCallbacks(t *testing.T) {
	t.Parallel()
	path := file(t)
	seen := make(chan bool, 10)
	// Set once the first callback was made, before Watch returned.
	started := make(chan *policyfile.Watcher, 1)
	err := func() func() error {
		var w *policyfile.Watcher
		return func() error {
			if w == nil {
				w = <-started
			}
			return w.Err()
		}
	}()
	first := true
	w, watchErr := policyfile.Watch(t.Context(), closing(t, protect.New()), path, policyfile.PollEvery(never),
		policyfile.OnApply(func([]string) {
			if first {
				first = false
				return
			}
			seen <- err() == nil
		}),
		policyfile.OnError(func(e error) { seen <- err() == e }))
	must(t, watchErr)
	started <- w
	defer w.Close()

	for _, text := range []string{"k: 5", second(2)} {
		write(t, path, text)
		if !<-seen {
			t.Errorf("%q: Err is not what the callback is told", text)
		}
	}
}
