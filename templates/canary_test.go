package templates

import (
	"strings"
	"testing"

	"github.com/dave/jennifer/jen"
)

// The tests below show what jennifer does with names when it is left to
// itself, and name the tests that hold our files to better. One that fails says
// that the library changed, and that a defence may have become idle.

func printed(t *testing.T, f *jen.File) string {
	t.Helper()
	var b strings.Builder
	if err := f.Render(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func wantInside(t *testing.T, file, text string) {
	t.Helper()
	if !strings.Contains(file, text) {
		t.Errorf("the file has no %s:\n%s", text, file)
	}
}

// Defence: scope; TestNamesAreHandedOutOnce, TestEmittedCodeCompiles.
func TestCanaryJenniferLetsNamesHideAnImport(t *testing.T) {
	f := jen.NewFilePathName("example.com/p", "p")
	f.Func().Id("Get").Params(jen.Id("http").String()).Block(jen.Qual("net/http", "Get").Call(jen.Id("http")))
	f.Var().Id("time").Op("=").Qual("time", "Second")

	file := printed(t, f)

	wantInside(t, file, `"net/http"`)
	wantInside(t, file, "func Get(http string) {\n\thttp.Get(http)\n}")
	wantInside(t, file, `"time"`)
	wantInside(t, file, "var time = time.Second")
}

// Defence: the predeclared names that a file mentions are taken;
// TestEmittedCodeCompiles.
func TestCanaryJenniferCallsAnImportAny(t *testing.T) {
	f := jen.NewFilePathName("example.com/p", "p")
	f.Var().Id("x").Id("any").Op("=").Qual("example.com/any", "X").Op("+").Qual("example.com/string", "X")

	file := printed(t, f)

	wantInside(t, file, `any "example.com/any"`)
	wantInside(t, file, `string1 "example.com/string"`) // as with every other predeclared name
	wantInside(t, file, "var x any = any.X + string1.X")
}

// Defence: Render passes the path, and qualified mentions no import for it:
// TestEmittedCodeCompiles.
func TestCanaryJenniferImportsTheFilesOwnPackageUnlessToldItsPath(t *testing.T) {
	for _, c := range []struct {
		file *jen.File
		want string
	}{
		{jen.NewFile("p"), "q.T"},
		{jen.NewFilePathName("example.com/q", "p"), " T"},
	} {
		c.file.Var().Id("x").Qual("example.com/q", "T")
		wantInside(t, printed(t, c.file), "var x "+strings.TrimSpace(c.want)+"\n")
	}
}
