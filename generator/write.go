package generator

import (
	"bytes"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Change is a file that is not what a Result says it should be.
type Change struct {
	Path string
	Old  []byte // what it holds, nil when it is not there
	New  []byte // what it should hold, nil when it should not be there
	mode fs.FileMode
}

// Changes compares the Result with the files on disk and changes nothing.
//
// A path that is taken by something that protectgen did not write is a
// diagnostic, and then nothing in that folder is a change. A file that
// differs only in having \r\n at the ends of its lines, as version control
// may write them, is not a change.
func (r *Result) Changes() ([]Change, []Diagnostic) {
	var changes []Change
	var refused []Diagnostic
	add := func(path string, content []byte) {
		c, err := compare(path, content)
		if err != nil {
			refused = append(refused, *err)
		} else if c != nil {
			changes = append(changes, *c)
		}
	}
	for _, file := range r.Files {
		add(file.Path, file.Content)
	}
	for _, path := range r.Orphans {
		add(path, nil)
	}
	changes = slices.DeleteFunc(changes, func(c Change) bool {
		return slices.ContainsFunc(refused, func(d Diagnostic) bool {
			return filepath.Dir(d.Position.Filename) == filepath.Dir(c.Path)
		})
	})
	slices.SortFunc(changes, func(a, b Change) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) })
	return changes, refused
}

// compare returns the change that gives the file this content, nil for no
// change, or why it must be left alone.
func compare(path string, content []byte) (*Change, *Diagnostic) {
	// Only what protectgen wrote is ever removed; whatever else stands there
	// is no reason to complain.
	refuse := func(hint, format string, args ...any) (*Change, *Diagnostic) {
		if content == nil {
			return nil, nil
		}
		return nil, &Diagnostic{Position: token.Position{Filename: path}, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if content == nil {
			return nil, nil
		}
		return &Change{Path: path, New: content, mode: 0o666}, nil
	case err != nil:
		return refuse("", "%v", reason(err))
	case !info.Mode().IsRegular():
		return refuse("protectgen writes regular files only; move it away", "this is %s, not a file", kindOf(info.Mode()))
	}
	old, err := os.ReadFile(path)
	switch {
	case err != nil:
		return refuse("", "%v", reason(err))
	case !isGenerated(old):
		return refuse("protectgen would write here; rename or remove the file", "this file was not written by protectgen")
	case content != nil && bytes.Equal(bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")), content):
		return nil, nil
	}
	return &Change{Path: path, Old: old, New: content, mode: info.Mode().Perm()}, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "something special"
}

// reason returns an error without the path that the diagnostic says anyway.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Apply writes or removes the file. Readers see the old content or the new,
// never a part of it, and the file keeps its permissions.
func (c Change) Apply() *Diagnostic {
	if err := c.apply(); err != nil {
		return &Diagnostic{Position: token.Position{Filename: c.Path}, Message: fmt.Sprintf("cannot write: %v", reason(err))}
	}
	return nil
}

func (c Change) apply() error {
	if c.New == nil {
		if err := os.Remove(c.Path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	// A name that the go command ignores and that is short whatever the file is
	// called, in the same folder so that the rename does not cross file systems.
	temp := filepath.Join(filepath.Dir(c.Path), fmt.Sprintf(".protectgen.%016x", rand.Uint64()))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, c.mode)
	if err != nil {
		return err
	}
	_, err = f.Write(c.New)
	if err == nil && c.Old != nil {
		err = f.Chmod(c.mode) // opening took the umask off
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temp, c.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}
