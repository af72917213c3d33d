package protecttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/protecttest"
)

// outcomes makes n calls and says what each came to: a dot for one that passed,
// else its error or panic.
func outcomes(t *testing.T, f *protecttest.Faults, method string, n int) string {
	var all []string
	for range n {
		all = append(all, func() (came string) {
			defer func() {
				if v := recover(); v != nil {
					came = fmt.Sprintf("panic %v", v)
				}
			}()
			if err := f.Inject(t.Context(), method); err != nil {
				return err.Error()
			}
			return "."
		}())
	}
	return strings.Join(all, " ")
}

func TestRules(t *testing.T) {
	errA, errB := errors.New("a"), errors.New("b")
	for _, c := range []struct {
		name  string
		rules func(*protecttest.Faults)
		want  string // five calls of Get
	}{
		{"none", func(*protecttest.Faults) {}, ". . . . ."},
		{"an error for ever", func(f *protecttest.Faults) { f.On("Get").Error(errA) }, "a a a a a"},
		{"an error three times", func(f *protecttest.Faults) { f.On("Get").Error(errA).Times(3) }, "a a a . ."},
		{"a sequence", func(f *protecttest.Faults) {
			f.On("Get").Error(errA).Times(1)
			f.On("Get").Times(2)
			f.On("Get").Error(errB)
		}, "a . . b b"},
		{"the first of two", func(f *protecttest.Faults) { f.On("Get").Error(errA); f.On("Get").Error(errB) }, "a a a a a"},
		{"another method", func(f *protecttest.Faults) { f.On("Put").Error(errA) }, ". . . . ."},
		{"several methods", func(f *protecttest.Faults) { f.On("Put", "Get").Error(errA).Times(2) }, "a a . . ."},
		{"every method", func(f *protecttest.Faults) { f.On().Error(errA) }, "a a a a a"},
		{"a panic", func(f *protecttest.Faults) { f.On("Get").Panic("oh").Times(2) }, "panic oh panic oh . . ."},
		{"a panic rather than an error", func(f *protecttest.Faults) { f.On("Get").Error(errA).Panic(errB).Times(1) }, "panic b . . . ."},
		{"not once", func(f *protecttest.Faults) { f.On("Get").Error(errA).Times(0) }, ". . . . ."},
		{"less than once", func(f *protecttest.Faults) { f.On("Get").Error(errA).Times(-1) }, ". . . . ."},
		{"a rate of all", func(f *protecttest.Faults) { f.On("Get").Error(errA).Rate(1, 7) }, "a a a a a"},
		{"a rate of none", func(f *protecttest.Faults) { f.On("Get").Error(errA).Rate(0, 7) }, ". . . . ."},
		{"a rate for some calls", func(f *protecttest.Faults) {
			f.On("Get").Error(errA).Rate(0, 7).Times(2)
			f.On("Get").Error(errB)
		}, ". . b b b"},
		{"a rule that was cleared", func(f *protecttest.Faults) { f.On("Get").Error(errA); f.Clear() }, ". . . . ."},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := protecttest.NewFaults()
			c.rules(f)
			if got := outcomes(t, f, "Get", 5); got != c.want {
				t.Errorf("five calls come to %s, want %s", got, c.want)
			}
		})
	}
}

func TestMethodsOfOneRuleShareItsTimes(t *testing.T) {
	f := protecttest.NewFaults()
	f.On("Get", "Put").Error(errDown).Times(2)
	if got := outcomes(t, f, "Get", 1) + outcomes(t, f, "Put", 2); got != "downdown ." {
		t.Errorf("calls come to %s", got)
	}
}

func TestARateIsDecidedByItsSeed(t *testing.T) {
	draw := func(share float64, seed uint64) string {
		f := protecttest.NewFaults()
		f.On("Get").Error(errDown).Rate(share, seed)
		return outcomes(t, f, "Get", 1000)
	}
	first, again, other := draw(0.3, 1), draw(0.3, 1), draw(0.3, 2)
	if first != again {
		t.Error("the same seed gives different calls")
	}
	if first == other {
		t.Error("different seeds give the same calls")
	}
	// Always the same: the seed is fixed.
	if n := strings.Count(first, "down"); n < 250 || n > 350 {
		t.Errorf("%d of 1000 calls failed, want about 300", n)
	}
}

func TestLatency(t *testing.T) {
	for _, c := range []struct {
		name    string
		timeout time.Duration
		rule    func(*protecttest.Rule)
		took    time.Duration
		want    error
	}{
		{"alone", time.Hour, func(r *protecttest.Rule) { r.Latency(time.Minute) }, time.Minute, nil},
		{"and an error", time.Hour, func(r *protecttest.Rule) { r.Error(errDown).Latency(time.Minute) }, time.Minute, errDown},
		{"longer than the context", time.Second, func(r *protecttest.Rule) { r.Latency(time.Minute).Error(errDown) }, time.Second, context.DeadlineExceeded},
		{"without an end", time.Second, func(r *protecttest.Rule) { r.Latency(protect.Forever) }, time.Second, context.DeadlineExceeded},
		{"and a panic too late", time.Second, func(r *protecttest.Rule) { r.Latency(time.Minute).Panic("oh") }, time.Second, context.DeadlineExceeded},
		{"not struck", time.Hour, func(r *protecttest.Rule) { r.Latency(time.Minute).Rate(0, 1) }, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := protecttest.NewFaults()
				c.rule(f.On("Get"))
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				start := time.Now()
				err := f.Inject(ctx, "Get")
				if took := time.Since(start); err != c.want || took != c.took {
					t.Errorf("%v after %v, want %v after %v", err, took, c.want, c.took)
				}
			})
		})
	}
}

func TestALatencyNeedsNoContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := protecttest.NewFaults()
		f.On("Get").Latency(time.Minute).Error(errDown)
		start := time.Now()
		var none context.Context
		if err := f.Inject(none, "Get"); err != errDown || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestALatencyDoesNotHoldUpOtherCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := protecttest.NewFaults()
		f.On("Get").Latency(time.Minute)
		start := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _ = f.Inject(t.Context(), "Get") })
		}
		wg.Wait()
		if took := time.Since(start); took != time.Minute {
			t.Errorf("ten calls at once took %v, want 1m", took)
		}
	})
}

func TestCallsThatReachTheCalleeAreCounted(t *testing.T) {
	f := protecttest.NewFaults()
	f.On("Get").Error(errDown).Times(1)
	f.On("Get").Panic("oh").Times(1)
	outcomes(t, f, "Get", 3)
	outcomes(t, f, "Put", 2)
	f.Clear()
	outcomes(t, f, "Put", 2)
	if got := []int{f.Calls("Get"), f.Calls("Put"), f.Calls("Close")}; !slices.Equal(got, []int{3, 4, 0}) {
		t.Errorf("calls of Get, Put, Close: %v", got)
	}
}

func TestFaultsMayBeSharedByGoroutines(t *testing.T) {
	f := protecttest.NewFaults()
	f.On("Get").Error(errDown).Times(100)
	var mu sync.Mutex
	var failed int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f.On("Put").Error(errDown).Rate(0.5, 1).Latency(1)
			for range 50 {
				if f.Inject(t.Context(), "Get") != nil {
					mu.Lock()
					failed++
					mu.Unlock()
				}
				_ = f.Inject(t.Context(), "Put")
			}
		})
	}
	wg.Wait()
	if failed != 100 || f.Calls("Get") != 400 {
		t.Errorf("%d of %d calls failed, want 100 of 400", failed, f.Calls("Get"))
	}
}

func TestFaultsTakeNoContextAsTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := protecttest.NewFaults()
		f.On("Get").Latency(time.Second).Error(errDown)
		var none context.Context
		start := time.Now()
		if err := f.Inject(none, "Get"); err != errDown || time.Since(start) != time.Second {
			t.Errorf("Inject = %v after %v, want %v after 1s", err, time.Since(start), errDown)
		}
	})
}
