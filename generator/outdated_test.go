package generator

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

func TestAProgramOlderThanTheModuleSaysSo(t *testing.T) {
	for message, want := range map[string]string{
		"package requires newer Go version go1.99 (application built with go1.26)":                                      "go1.99",
		"could not import fmt (cannot import \"fmt\" (x), export data is newer version - update tool)":                  "a newer Go",
		`could not import fmt (cannot decode "fmt", export data version 5 is greater than maximum supported version 4)`: "a newer Go",
		"undefined: NewProtectedWeather": "",
	} {
		err := outdated([]*source{{path: "example.com/m", errors: []packages.Error{{Msg: message}}}})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", message, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), "needs "+want) || !strings.Contains(err.Error(), runtime.Version())):
			t.Errorf("%s: %v, want one that names %s", message, err, want)
		}
	}
}
