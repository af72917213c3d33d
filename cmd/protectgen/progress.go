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
	shown bool      // to be shown at all
	since time.Time // when the run began

	mu   sync.Mutex
	line bool // there is one on the terminal
}

func newProgress(out io.Writer, terminal bool) *progress {
	return &progress{out: out, shown: terminal, since: time.Now()}
}

// say shows what is being done from here on, once the run has taken a while.
func (p *progress) say(doing string) {
	if !p.shown || time.Since(p.since) < patience {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = true
	fmt.Fprintf(p.out, "\r\x1b[Kprotectgen: %s…", doing)
}

// clear takes the line away.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line {
		p.line = false
		fmt.Fprint(p.out, "\r\x1b[K")
	}
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
