package main

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestLongRunsShowProgressOnATerminal(t *testing.T) {
	const line, cleared = "\r\x1b[Kprotectgen: loading 3 packages…", "\r\x1b[K"
	for _, c := range []struct {
		name     string
		terminal bool
		takes    time.Duration
		want     string
	}{
		{"long, on a terminal", true, patience, line + cleared + "out\n"},
		{"short, on a terminal", true, patience - 1, "out\n"},
		{"long, into a file", false, time.Hour, "out\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := newProgress(&out, c.terminal)
			p.say("loading 3 packages")
			time.Sleep(c.takes)
			synctest.Wait()
			fmt.Fprintln(p.over(&out), "out")
			p.stop()
			time.Sleep(time.Minute)
			if got := out.String(); got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		})
	}
}
