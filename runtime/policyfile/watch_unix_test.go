//go:build unix

package policyfile_test

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestANamedPipeInPlaceOfTheFileHoldsNothingUp(t *testing.T) {
	t.Parallel()
	path := file(t)
	w := watch(t, path, 10*time.Millisecond)
	must(t, os.Remove(path))
	must(t, syscall.Mkfifo(path, 0o600))
	w.complains(t, "not a regular file")
	if got := w.timeout(); got != time.Second {
		t.Errorf("the policy is %v, want it to stay", got)
	}
	w.Close()
}
