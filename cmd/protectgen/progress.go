package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// patience is how long a run may take before it says what it is doing.
const patience = time.Second

// progress is one line on a terminal that says what is being done. Nothing is
// shown of a run that is over soon, and nothing stays on the terminal.
type progress struct {
	out   io.Writer
	timer *time.Timer // nil when nothing is to be shown

	mu    sync.Mutex
	doing string
	late  bool // the run has taken a while
	line  bool // there is one on the terminal
}

func newProgress(out io.Writer, terminal bool) *progress {
	p := &progress{out: out}
	if terminal {
		p.timer = time.AfterFunc(patience, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.late = true
			p.show()
		})
	}
	return p
}

// say tells what is being done from here on.
func (p *progress) say(doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing = doing
	p.show()
}

// show writes the line. The caller holds mu.
func (p *progress) show() {
	if p.late && p.doing != "" {
		p.line = true
		fmt.Fprintf(p.out, "\r\x1b[Kprotectgen: %s…", p.doing)
	}
}

// clear takes the line away, until more is said.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line {
		p.line = false
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// stop ends it: nothing is shown any more.
func (p *progress) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.say("")
	p.clear()
}

// over returns a writer to out, before whose output the line is taken away.
func (p *progress) over(out io.Writer) io.Writer { return &clearing{p, out} }

type clearing struct {
	progress *progress
	out      io.Writer
}

func (c *clearing) Write(b []byte) (int, error) {
	c.progress.clear()
	return c.out.Write(b)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
