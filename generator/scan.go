package generator

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// scan narrows patterns that name folders, with or without "/..." behind, to
// the folders in which a file may have a directive or was written by us. A
// look at the bytes of a file costs a hundredth of what the go command needs to
// list it, and most files have nothing for us.
//
// It reports false when a pattern is of another kind, names nothing that it can
// read, or is about a module that has folders ignored: the go command says what
// that is.
func scan(dir string, patterns []string) (s scanned, ok bool) {
	for _, pattern := range patterns {
		root, deep := strings.CutSuffix(filepath.ToSlash(pattern), "/...")
		if root != "." && root != ".." && !strings.HasPrefix(root, "./") && !strings.HasPrefix(root, "../") {
			return s, false
		}
		if strings.Contains(root, "...") || strings.HasSuffix(root, ".go") {
			return s, false
		}
		if deep && ignores(filepath.Join(dir, root)) {
			return s, false
		}
		if err := s.walk(dir, filepath.FromSlash(root), deep); err != nil {
			return s, false
		}
	}
	return s, true
}

var ignore = regexp.MustCompile(`(?m)^\s*ignore\b`)

// ignores reports whether the go.mod of a folder's module keeps some folders
// out of patterns.
func ignores(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			return ignore.Match(content)
		}
		if filepath.Dir(dir) == dir {
			return false
		}
		dir = filepath.Dir(dir)
	}
}

// scanned is what a scan found.
type scanned struct {
	patterns []string // a folder each, as the go command takes it
	tests    bool     // one of the files is a test's
}

// walk scans a folder and, when deep, those below it that the go command would
// look into: not those of other modules, vendored ones, nor those whose names
// it passes over, as it does with files.
func (s *scanned) walk(dir, root string, deep bool) error {
	return filepath.WalkDir(filepath.Join(dir, root), func(path string, entry fs.DirEntry, err error) error {
		top := path == filepath.Join(dir, root)
		if err == nil && top && !entry.IsDir() {
			return fs.ErrInvalid // a file, or a symbolic link, which the go command may follow
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		if name := entry.Name(); !top && (!deep || name == "testdata" || name == "vendor" || name[0] == '_' || name[0] == '.') {
			return filepath.SkipDir
		}
		files, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		worth := false
		for _, file := range files {
			switch name := file.Name(); {
			case name == "go.mod" && !top:
				return filepath.SkipDir
			case filepath.Ext(name) != ".go" || name[0] == '_' || name[0] == '.' || file.IsDir():
			default:
				content, err := os.ReadFile(filepath.Join(path, name))
				if errors.Is(err, fs.ErrNotExist) || err == nil && !isGenerated(content) && !mayHaveDirective(content) {
					continue
				}
				if err != nil {
					return err
				}
				worth = true
				s.tests = s.tests || strings.HasSuffix(name, "_test.go")
			}
		}
		if worth {
			relative, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			s.patterns = append(s.patterns, "./"+filepath.ToSlash(relative))
		}
		return nil
	})
}
