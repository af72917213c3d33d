package policyfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	protect "github.com/protectgen/protectgen/runtime"
)

// settle is how long a file must have been left alone before it is read: a
// program that writes one in several steps is not overtaken half-way.
const settle = 100 * time.Millisecond

// defaultPoll is how often a file is read unasked.
const defaultPoll = 30 * time.Second

// Option configures [Watch].
type Option func(*Watcher)

// OnApply makes Watch call fn each time that a change of the file was applied,
// with the keys that were set or removed, sorted. The first time is before
// Watch returns. Calls come one at a time; fn must not close the Watcher.
func OnApply(fn func(keys []string)) Option {
	return func(w *Watcher) { w.onApply = fn }
}

// OnError makes Watch call fn when the file cannot be applied or is gone, once
// for each thing that is wrong with it. Calls come one at a time, and with
// those of OnApply in the order of what happened; fn must not close the
// Watcher.
func OnError(fn func(err error)) Option {
	return func(w *Watcher) { w.onError = fn }
}

// PollEvery sets how often the file is read even though nobody told of a
// change; 30 s unless d is positive. That finds what the file system does not
// tell: changes on network file systems, behind a link into another directory,
// or in a directory that was itself replaced. It also tries again to apply a
// file that is right but could not be applied.
func PollEvery(d time.Duration) Option {
	return func(w *Watcher) {
		if d > 0 {
			w.poll = d
		}
	}
}

// Watcher keeps the policies of a Runtime in step with a file. It is safe for
// concurrent use. Make one with [Watch] and end it with [Watcher.Close].
type Watcher struct {
	path    string
	set     *Set
	poll    time.Duration
	onApply func([]string)
	onError func(error)

	fs   *fsnotify.Watcher
	stop context.CancelFunc
	done chan struct{} // closed when the goroutine has ended

	stat os.FileInfo // the file when it was last looked at, nil for none; the goroutine's own

	mu  sync.Mutex
	err error
}

// Watch applies the policies of the file at path to rt, and goes on to do so
// whenever the file changes: calls that begin after that have the new policies.
// A file that cannot be applied, as a whole, changes nothing; nor does one that
// vanishes. It may be written in place, replaced, or be a link that is swapped,
// as in a mounted ConfigMap. Keys that are gone from the file get the policies
// of their directives back.
//
// Watch fails if the file as it is cannot be applied. Its goroutine ends with
// ctx or [Watcher.Close]; the policies stay. A nil rt means [protect.Default].
func Watch(ctx context.Context, rt *protect.Runtime, path string, opts ...Option) (*Watcher, error) {
	w := &Watcher{
		path: path,
		set:  NewSet(rt),
		poll: defaultPoll,
		done: make(chan struct{}),
	}
	for _, opt := range opts {
		if opt != nil {
			opt(w)
		}
	}
	if ctx == nil {
		ctx = context.Background()
	}
	var keys []string
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		return nil, err
	}
	// Watched first and read then, so that no change falls in between. It is
	// the directory that tells of a file being replaced.
	if err = w.fs.Add(w.dir()); err == nil {
		w.stat, _ = os.Stat(w.path)
		keys, err = w.load()
	}
	if err != nil {
		return nil, errors.Join(err, w.fs.Close())
	}
	w.tell(keys, nil)
	ctx, w.stop = context.WithCancel(ctx)
	go w.run(ctx)
	return w, nil
}

// Err returns what was wrong with the file when it was last read, nil when its
// policies are those that hold.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close ends the Watcher, and waits for a change that is being applied.
// Closing again does nothing.
func (w *Watcher) Close() {
	w.stop()
	<-w.done
}

func (w *Watcher) dir() string { return filepath.Dir(w.path) }

func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	defer w.fs.Close()
	defer w.stop()
	poll := time.NewTicker(w.poll)
	defer poll.Stop()
	settled := time.NewTimer(0)
	defer settled.Stop()
	settled.Stop()
	unsettled := false // settled is set: the file is not to be read before
	wait := func() {
		unsettled = true
		settled.Reset(settle)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.fs.Events:
			if w.concerns(e) {
				wait()
			}
		case <-w.fs.Errors: // some events were lost
			wait()
		case <-poll.C:
			// The watch is lost with its directory. If there is none, the file
			// is gone, and that is what will be reported.
			_ = w.fs.Add(w.dir())
			switch {
			case w.changed():
				wait()
			case !unsettled:
				w.tell(w.load())
			}
		case <-settled.C:
			unsettled = false
			w.tell(w.load())
		}
	}
}

// concerns reports whether an event in the directory may be about the file.
// Directories are busy places: their other files must not hold up the reading.
// The links that lead to the file may have any name, so it is looked at itself;
// but two writes in quick succession can look the same.
func (w *Watcher) concerns(e fsnotify.Event) bool {
	changed := w.changed()
	return changed || filepath.Base(e.Name) == filepath.Base(w.path)
}

// changed reports whether path leads to another file than when it last looked,
// or to one that was written since.
func (w *Watcher) changed() bool {
	before := w.stat
	now, err := os.Stat(w.path)
	if err != nil {
		now = nil
	}
	w.stat = now
	if before == nil || now == nil {
		return before != nil || now != nil
	}
	return !os.SameFile(before, now) || before.Size() != now.Size() || !before.ModTime().Equal(now.ModTime())
}

// load reads the file and applies what it says. A file that says what holds
// already changes nothing. What is not a file is not opened: a named pipe would
// keep even Close waiting for a writer.
func (w *Watcher) load() (changed []string, err error) {
	if info, err := os.Stat(w.path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", w.path)
	}
	policies, err := Load(w.path)
	if err != nil {
		return nil, err
	}
	return w.set.Apply(policies)
}

// tell keeps the result of a load for Err, and calls back unless there is
// nothing new in it.
func (w *Watcher) tell(changed []string, err error) {
	w.mu.Lock()
	before := w.err
	w.err = err
	w.mu.Unlock()
	switch {
	case err == nil && len(changed) > 0 && w.onApply != nil:
		w.onApply(changed)
	case err != nil && w.onError != nil && (before == nil || before.Error() != err.Error()):
		w.onError(err)
	}
}
