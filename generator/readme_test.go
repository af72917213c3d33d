package generator

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// What the README's examples take for granted.
const (
	readmeTypes = `package weather

import "context"

type Report struct{}

type Alert struct{}

var ErrNoAlerts error

func Dial(ctx context.Context, addr string) (Weather, error) { return nil, nil }
`
	readmeCaller = `package caller

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	protect "github.com/protectgen/protectgen/runtime"

	"example.com/weather"
)

func cached(city string) *weather.Report { return nil }

func call(ctx context.Context, w http.ResponseWriter, userID, city, addr string) *weather.Report {
%s
	if err != nil {
		return nil
	}
%s
%s
	return report
}
`
)

// The README's code is compiled: the interface is generated for, and the rest
// calls what comes of it.
func TestTheReadmeCompiles(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for _, about := range []string{"//protect:breaker", "client.Forecast(ctx, userID, city)\n", "protect.New()", "errors.As"} {
			if strings.Contains(block[1], about) {
				blocks[about] = block[1]
			}
		}
	}
	if len(blocks) != 4 {
		t.Fatalf("the README has %d of the 4 examples", len(blocks))
	}
	caller := fmt.Sprintf(readmeCaller, blocks["protect.New()"], blocks["client.Forecast(ctx, userID, city)\n"], blocks["errors.As"])
	dir := goldenModule(t, []*golden{
		{name: "weather", archive: &txtar.Archive{Files: []txtar.File{
			{Name: "types.go", Data: []byte(readmeTypes)},
			{Name: "weather.go", Data: []byte("package weather\n\nimport \"context\"\n\n" + blocks["//protect:breaker"])},
		}}},
		{name: "caller", archive: &txtar.Archive{Files: []txtar.File{{Name: "caller.go", Data: []byte(caller)}}}},
	})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment(), Patterns: []string{"./..."}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range result.Diagnostics {
		t.Errorf("%v", d)
	}
	apply(t, result)
	goCommand(t, dir, "vet", "./...")
}
