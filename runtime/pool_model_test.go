package runtime

import (
	"context"
	"errors"
	"math/rand/v2"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// poolModel is a pool in numbers: which instance is where does not matter,
// only how many are, and who waits. Functions of the user's fail in the way
// that is set at the time.
type poolModel struct {
	size, overflow int
	idle           []time.Time // last used, the next to be lent at the end
	out            []lease[*item]
	line           []*borrower
	made, gone     int
	closing        bool

	newMode, checkMode, brokenMode, closeMode string // "", error, panic, goexit
}

const modelIdle = 10 * time.Second

// borrower is one call of borrow. Its channel is closed without a value when
// the goroutine was ended.
type borrower struct {
	cancel context.CancelFunc
	result chan borrowed
}

type borrowed struct {
	lease lease[*item]
	err   error
}

func (m *poolModel) live() int { return len(m.idle) + len(m.out) }

func (m *poolModel) surplus() bool {
	return m.live() > m.size && len(m.line) == 0 || m.live() > m.size+m.overflow
}

// settle is what follows every change: those in line who have a place now get
// an instance or fail, and what is too much is closed.
func (m *poolModel) settle(rt *rapid.T) {
	if m.closing {
		for _, b := range m.line {
			m.wantError(rt, b, ErrClosed)
		}
		m.line = nil
		if len(m.out) == 0 {
			m.gone += len(m.idle)
			m.idle = nil
		}
		return
	}
	for len(m.line) > 0 && len(m.out) < m.size+m.overflow {
		b := m.line[0]
		m.line = m.line[1:]
		m.serve(rt, b)
	}
	for len(m.idle) > 0 && m.surplus() {
		m.idle = m.idle[1:]
		m.gone++
	}
}

func (m *poolModel) serve(rt *rapid.T, b *borrower) {
	for len(m.idle) > 0 {
		m.idle = m.idle[:len(m.idle)-1]
		if m.checkMode == "" {
			m.wantLease(rt, b)
			return
		}
		m.gone++
		if m.checkMode == "goexit" {
			m.wantNothing(rt, b)
			return
		}
	}
	switch m.newMode {
	case "":
		m.made++
		m.wantLease(rt, b)
	case "goexit":
		m.wantNothing(rt, b)
	default:
		m.wantError(rt, b, errFault)
	}
}

// answer returns what borrow returned, and whether it did, to b who must not
// wait any more. The instance is out from here on.
func (m *poolModel) answer(rt *rapid.T, b *borrower) (borrowed, bool) {
	select {
	case got, ok := <-b.result:
		b.cancel()
		if ok && got.err == nil {
			m.out = append(m.out, got.lease)
		}
		return got, ok
	default:
		rt.Fatalf("a borrower still waits")
		return borrowed{}, false
	}
}

func (m *poolModel) wantLease(rt *rapid.T, b *borrower) {
	got, ok := m.answer(rt, b)
	if !ok || got.err != nil {
		rt.Fatalf("borrow = %v (returned: %v), want an instance", got.err, ok)
	}
	for _, l := range m.out[:len(m.out)-1] {
		if l.box == got.lease.box {
			rt.Fatalf("instance %d is lent twice", l.box.value.id)
		}
	}
	if got.lease.box.value.closed.Load() != 0 {
		rt.Fatalf("instance %d is lent though closed", got.lease.box.value.id)
	}
}

func (m *poolModel) wantError(rt *rapid.T, b *borrower, want error) {
	if got, ok := m.answer(rt, b); !ok || !errors.Is(got.err, want) {
		rt.Fatalf("borrow = %v (returned: %v), want %v", got.err, ok, want)
	}
}

func (m *poolModel) wantNothing(rt *rapid.T, b *borrower) {
	if got, ok := m.answer(rt, b); ok {
		rt.Fatalf("borrow = %v, want its goroutine to end", got.err)
	}
}

// A faulty pool of any settings, resized and closed at any time, against the
// model.
func TestPoolModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) { checkPoolModel(t, rt) })
	})
}

func checkPoolModel(t *testing.T, rt *rapid.T) {
	fail := func(mode string) error {
		if mode == "" {
			return nil
		}
		return faults[mode]()
	}
	m := &poolModel{size: rapid.IntRange(1, 3).Draw(rt, "size"), overflow: rapid.IntRange(0, 2).Draw(rt, "overflow")}
	settings := func() PoolPolicy {
		return PoolPolicy{Size: m.size, Overflow: m.overflow, Wait: Forever, Idle: modelIdle}
	}
	f := newFleet()
	f.New = func(context.Context) (*item, error) {
		if err := fail(m.newMode); err != nil {
			return nil, err
		}
		return f.make(), nil
	}
	f.Check = func(context.Context, *item) error { return fail(m.checkMode) }
	f.Broken = func(error) bool { return fail(m.brokenMode) != nil }
	f.Close = func(i *item) error { i.closed.Add(1); return fail(m.closeMode) }
	p := startPool(t, f, settings())

	// However the run ends, nobody is left waiting and nothing out, or the
	// bubble never ends.
	var all []*borrower
	closed := make(chan struct{})
	closeAll := sync.OnceFunc(func() {
		go func() {
			defer close(closed)
			_ = p.Close(context.Background())
		}()
	})
	defer func() {
		closeAll()
		for _, b := range all {
			b.cancel()
			for got := range b.result {
				if got.err == nil {
					m.out = append(m.out, got.lease)
				}
			}
		}
		for _, l := range m.out {
			p.giveBack(context.Background(), call{}, l, nil, true)
		}
		<-closed
	}()

	mode := rapid.SampledFrom([]string{"", "", "error", "panic", "goexit"})
	rt.Repeat(map[string]func(*rapid.T){
		"borrow": func(rt *rapid.T) {
			ctx, cancel := context.WithCancel(context.Background())
			b := &borrower{cancel, make(chan borrowed, 1)}
			go func() {
				defer close(b.result)
				l, err := p.borrow(ctx, call{})
				b.result <- borrowed{l, err}
			}()
			synctest.Wait()
			m.line = append(m.line, b)
			all = append(all, b)
		},
		"give up": func(rt *rapid.T) {
			if len(m.line) == 0 {
				rt.Skip("nobody waits")
			}
			i := rapid.IntRange(0, len(m.line)-1).Draw(rt, "who")
			m.line[i].cancel()
			synctest.Wait()
			m.wantError(rt, m.line[i], context.Canceled)
			m.line = append(m.line[:i:i], m.line[i+1:]...)
		},
		"give back": func(rt *rapid.T) {
			if len(m.out) == 0 {
				rt.Skip("nothing is lent")
			}
			i := rapid.IntRange(0, len(m.out)-1).Draw(rt, "which")
			err := rapid.SampledFrom([]error{nil, errFault}).Draw(rt, "err")
			finished := rapid.Bool().Draw(rt, "finished")
			l := m.out[i]
			if !finished || err != nil && m.brokenMode != "" || m.closing {
				m.gone++
			} else {
				m.idle = append(m.idle, time.Now())
			}
			m.out = append(m.out[:i:i], m.out[i+1:]...)
			onGoroutine(func() { p.giveBack(context.Background(), call{}, l, err, finished) })
		},
		"time passes": func(rt *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(1, 12).Draw(rt, "seconds")) * time.Second)
			for !m.closing && len(m.idle) > 0 && time.Since(m.idle[0]) >= modelIdle {
				m.idle = m.idle[1:]
				m.gone++
			}
		},
		"resize": func(rt *rapid.T) {
			m.size = rapid.IntRange(1, 3).Draw(rt, "new size")
			m.overflow = rapid.IntRange(0, 2).Draw(rt, "new overflow")
			p.resize(settings())
		},
		"faults": func(rt *rapid.T) {
			m.newMode, m.checkMode = mode.Draw(rt, "New"), mode.Draw(rt, "Check")
			m.brokenMode, m.closeMode = mode.Draw(rt, "Broken"), mode.Draw(rt, "Close")
		},
		"close": func(rt *rapid.T) {
			if rapid.IntRange(0, 9).Draw(rt, "dice") > 0 {
				rt.Skip("closing is rare, or nothing else would happen")
			}
			m.closing = true
			closeAll()
		},
		"": func(rt *rapid.T) {
			synctest.Wait()
			m.settle(rt)
			synctest.Wait()
			s := p.Status()
			want := PoolStatus{
				Name: "db", Size: m.size, MaxOverflow: m.overflow,
				Active: len(m.out), Idle: len(m.idle), Overflow: max(0, m.live()-m.size), Waiting: len(m.line),
			}
			if s != want {
				rt.Fatalf("status %+v, want %+v", s, want)
			}
			if made, open := len(f.items), len(f.open(rt)); made != m.made || open != made-m.gone || open != m.live() {
				rt.Fatalf("%d made, %d open; want %d, %d", made, open, m.made, m.made-m.gone)
			}
			if _, active, _ := p.gate.counts(); active != len(m.out) {
				rt.Fatalf("%d places are taken for %d instances", active, len(m.out))
			}
			select {
			case <-closed:
				if !m.closing || len(m.out) > 0 {
					rt.Fatalf("Close returned with %d instances out", len(m.out))
				}
			default:
				if m.closing && len(m.out) == 0 {
					rt.Fatalf("Close did not return")
				}
			}
		},
	})
}

// Many callers at once, each function failing now and then, settings changing.
// An instance counts from the moment New begins to when Close ends.
func TestPoolUnderStress(t *testing.T) {
	defer goleak.VerifyNone(t)
	const most = 5 // the greatest size and overflow together
	var exist, lent atomic.Int64
	var over atomic.Bool // Close has returned
	dice := func(fault func() error) error {
		if rand.IntN(12) == 0 {
			return fault()
		}
		return nil
	}
	anyFault := func() error {
		return dice([]func() error{faults["error"], faults["panic"], faults["goexit"]}[rand.IntN(3)])
	}
	f := newFleet()
	f.New = func(context.Context) (*item, error) {
		made := false
		if n := exist.Add(1); n > most || over.Load() {
			t.Errorf("%d instances exist of at most %d (closed: %v)", n, most, over.Load())
		}
		defer func() {
			if !made {
				exist.Add(-1)
			}
		}()
		goruntime.Gosched()
		if err := anyFault(); err != nil {
			return nil, err
		}
		made = true
		return f.make(), nil
	}
	f.Close = func(i *item) error {
		goruntime.Gosched()
		i.closed.Add(1)
		exist.Add(-1)
		return anyFault()
	}
	f.Check = func(context.Context, *item) error { return anyFault() }
	f.Broken = func(error) bool { return anyFault() != nil }
	observer := ObserverFunc(func(context.Context, Event) { _ = dice(faults["panic"]) })
	p := startPool(t, f, PoolPolicy{Size: 3, Overflow: 2, Idle: time.Millisecond, Life: 5 * time.Millisecond}, observer)

	use := func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(2000))*time.Microsecond)
		defer cancel()
		_ = p.Do(ctx, func(_ context.Context, i *item) error {
			defer lent.Add(-1)
			if n := lent.Add(1); n > most || over.Load() {
				t.Errorf("%d instances are lent of at most %d (closed: %v)", n, most, over.Load())
			}
			if i.closed.Load() != 0 {
				t.Errorf("instance %d is lent though closed", i.id)
			}
			goruntime.Gosched()
			return anyFault()
		})
	}
	status := func() {
		if s := p.Status(); s.Active < 0 || s.Idle < 0 || s.Active > most || s.Active+s.Idle > most ||
			s.Overflow != max(0, s.Active+s.Idle-s.Size) {
			t.Errorf("status does not add up: %+v", s)
		}
	}
	run := func(callers, calls int) *sync.WaitGroup {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range calls {
					onGoroutine(use)
					status()
				}
			})
		}
		return &wg
	}

	callers := run(12, 300)
	var resizing sync.WaitGroup
	resizing.Go(func() {
		for range 100 {
			size := 1 + rand.IntN(3)
			p.resize(PoolPolicy{Size: size, Overflow: rand.IntN(most - size + 1), Idle: time.Millisecond, Life: 5 * time.Millisecond})
			time.Sleep(100 * time.Microsecond)
		}
	})
	callers.Wait()
	resizing.Wait()

	// Nobody is in: every place is free again, and nothing is beyond Size.
	p.resize(PoolPolicy{Size: 3, Overflow: 2, Idle: time.Hour})
	eventually(t, func() bool { _, active, waiting := p.gate.counts(); return active == 0 && waiting == 0 })
	if s := p.Status(); s.Active != 0 || s.Overflow != 0 || int(exist.Load()) != s.Idle || len(f.open(t)) != s.Idle {
		t.Errorf("status %+v, %d exist, %d open", s, exist.Load(), len(f.open(t)))
	}

	// Closed in the middle of it, by three at once.
	callers = run(12, 100)
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			time.Sleep(2 * time.Millisecond)
			_ = p.Close(context.Background()) // joins the faults of f.Close
			over.Store(true)
			f.wantOpen(t)
		})
	}
	closers.Wait()
	callers.Wait()
	if n := exist.Load(); n != 0 {
		t.Errorf("%d instances exist after Close", n)
	}
}

// eventually waits for what a timer's goroutine has yet to do.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not come to an end")
}
