package protecttest_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/protecttest"
)

var errDown = errors.New("down")

func TestARecorderRemembersInOrder(t *testing.T) {
	var rec protecttest.Recorder
	rt := protect.New(protect.WithObserver(&rec))
	defer rt.Close(context.Background())
	call := func(err error) {
		_, _ = protect.Execute(t.Context(), rt, "k", func(context.Context) (int, error) { return 0, err })
	}

	call(nil)
	call(errDown)

	want := []protect.EventKind{protect.EventStart, protect.EventStop, protect.EventStart, protect.EventException, protect.EventStop}
	if got := rec.Kinds(); !slices.Equal(got, want) {
		t.Errorf("kinds %v, want %v", got, want)
	}
	events := rec.Events()
	if len(events) != 5 || events[3].Err != errDown || events[3].Key != "k" {
		t.Errorf("events %+v", events)
	}
	if got := rec.Of(protect.EventStop, protect.EventException); len(got) != 3 || got[0].Err != nil || got[1].Kind != protect.EventException || got[2].Err != errDown {
		t.Errorf("stops and exceptions: %+v", got)
	}
	if got := rec.Of(); len(got) != 0 {
		t.Errorf("of no kind: %+v", got)
	}

	rec.Reset()
	if got := rec.Events(); len(got) != 0 {
		t.Errorf("after Reset: %+v", got)
	}
	if len(events) != 5 || events[0].Kind != protect.EventStart {
		t.Error("what was returned before changed with Reset")
	}
	call(nil)
	if got := rec.Kinds(); len(got) != 2 {
		t.Errorf("after another call: %v", got)
	}
}

func TestWhatARecorderReturnsIsTheCallers(t *testing.T) {
	var rec protecttest.Recorder
	rec.Observe(t.Context(), protect.Event{Kind: protect.EventStart})
	rec.Events()[0].Kind = protect.EventStop
	_ = append(rec.Events(), protect.Event{})
	if got := rec.Kinds(); !slices.Equal(got, []protect.EventKind{protect.EventStart}) {
		t.Errorf("kinds %v", got)
	}
}

func TestARecorderMayBeSharedByGoroutines(t *testing.T) {
	var rec protecttest.Recorder
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				rec.Observe(t.Context(), protect.Event{Kind: protect.EventStart})
				rec.Kinds()
				rec.Of(protect.EventStop)
			}
		})
	}
	wg.Wait()
	if n := len(rec.Events()); n != 800 {
		t.Errorf("%d events, want 800", n)
	}
}
