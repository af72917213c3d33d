package runtime

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"runtime/debug"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// What the canaries share: a look inside a library, and a process of their own
// for what ends one.

// inside returns a field that a library keeps to itself. v is a pointer. A
// library without that field has changed.
func inside[T any](t *testing.T, v reflect.Value, field string) *T {
	t.Helper()
	f := v.Elem().FieldByName(field)
	if want := reflect.TypeFor[T](); !f.IsValid() || f.Type() != want {
		t.Fatalf("%v has no %s of type %v any more", v.Type(), field, want)
	}
	return (*T)(unsafe.Pointer(f.UnsafeAddr()))
}

const childEnv = "PROTECT_CANARY_CHILD"

// inChild says what this process was started for, by runInChild; nothing when
// it was not.
func inChild() string { return os.Getenv(childEnv) }

// runInChild runs the test once more, in a process where inChild is what. It
// returns what that wrote and its exit code. The first data race ends it with
// exitOfARace.
func runInChild(t *testing.T, test, what string) (output string, code int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, "-test.run=^"+test+"$", "-test.timeout=30s")
	c.Env = append(os.Environ(), childEnv+"="+what, "GORACE=halt_on_error=1 exitcode=66 atexit_sleep_ms=0 log_path=stderr")
	out, err := c.CombinedOutput()
	if exit, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	} else if failed {
		code = exit.ExitCode()
	}
	return string(out), code
}

const exitOfARace = 66

// builtWithRace reports whether data races are noticed.
func builtWithRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
