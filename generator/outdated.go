package generator

import (
	"fmt"
	"regexp"
	"runtime"
)

// newer is how the type checker says that a package is written for a Go that
// it does not know; importing is how the reader of export data does.
var (
	newer     = regexp.MustCompile(`requires newer Go version (go[0-9.]+)`)
	importing = regexp.MustCompile(`export data is newer version|cannot decode .*, export data version \d+ is greater`)
)

// outdated returns an error when a package is for a newer Go than the one that
// this program was built with. What it would say of such a package instead
// leads nowhere.
func outdated(sources []*source) error {
	for _, s := range sources {
		for _, e := range s.errors {
			wants := "a newer Go"
			if m := newer.FindStringSubmatch(e.Msg); m != nil {
				wants = m[1]
			} else if !importing.MatchString(e.Msg) {
				continue
			}
			return fmt.Errorf("%s needs %s, but protectgen was built with %s: build it again with the newer Go", s.path, wants, runtime.Version())
		}
	}
	return nil
}
