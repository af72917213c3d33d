//go:build !unix

package testserver

import (
	"errors"
	"os"
	"os/exec"
)

// owner is the user that a server runs as: that of this process.
type owner struct{}

func serverOwner() (*owner, error) { return nil, nil }

func (*owner) take(string) error { return nil }

func (*owner) run(*exec.Cmd) {}

func ownGroup(*exec.Cmd) {}

// killGroup kills the process; there are no groups here.
func killGroup(process *os.Process) error {
	err := process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
