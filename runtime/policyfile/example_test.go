package policyfile_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/policyfile"
)

func Example() {
	dir, err := os.MkdirTemp("", "policies")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "policies.yaml")
	save := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	save("weather.Weather.Forecast: {timeout: 2s, limit: 100/1m}\n")

	ctx := context.Background()
	rt := protect.New()
	defer rt.Close(ctx)

	applied := make(chan []string, 1)
	w, err := policyfile.Watch(ctx, rt, path,
		policyfile.OnApply(func(keys []string) { applied <- keys }),
		policyfile.OnError(func(err error) { log.Print("policies stay as they are: ", err) }))
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	show := func() {
		keys := <-applied
		p, _ := rt.Policy("weather.Weather.Forecast")
		fmt.Println(keys, p.Limit.Tokens, "in", p.Limit.Window)
	}
	show()

	save("weather.Weather.Forecast: {timeout: 2s, limit: 50/s}\n")
	show()

	// Output:
	// [weather.Weather.Forecast] 100 in 1m0s
	// [weather.Weather.Forecast] 50 in 1s
}

func ExampleParse() {
	_, err := policyfile.Parse("policies.yaml", []byte(`
weather.Weather.Forecast:
  timeout: 30
  brekaer: {failures: 5}
weather.Weather.Alerts:
  limit: {tokens: 0, window: 1m}
`))
	fmt.Println(err)

	// Output:
	// policies.yaml:3:12: timeout: 30 has no unit; write 30s
	// policies.yaml:4:3: a policy has no field brekaer (did you mean breaker?)
	// policies.yaml:6:19: limit.tokens: 0 lets no call pass; the limit must be at least 1
}
