package protecttest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	protect "github.com/protectgen/protectgen/runtime"
	"github.com/protectgen/protectgen/runtime/protecttest"
)

// fakeWeather is a callee that fails on demand.
type fakeWeather struct{ faults *protecttest.Faults }

func (w fakeWeather) Forecast(ctx context.Context, city string) (string, error) {
	if err := w.faults.Inject(ctx, "Forecast"); err != nil {
		return "", err
	}
	return "sun in " + city, nil
}

// client is what a wrapper does for a method, written by hand.
func client(rt *protect.Runtime, w fakeWeather) func(ctx context.Context, city string) (string, error) {
	return func(ctx context.Context, city string) (string, error) {
		return protect.Execute(ctx, rt, "weather.Forecast", func(ctx context.Context) (string, error) {
			return w.Forecast(ctx, city)
		})
	}
}

func Example() {
	var rec protecttest.Recorder
	rt := protect.New(protect.WithObserver(&rec), protect.WithStores(protecttest.Stores()))
	defer rt.Close(context.Background())
	err := rt.Configure("weather.Forecast", protect.Policy{Breaker: &protect.BreakerPolicy{Failures: 2}})
	if err != nil {
		fmt.Println(err)
		return
	}

	faults := protecttest.NewFaults()
	faults.On("Forecast").Error(errors.New("bad gateway")).Times(1)
	faults.On("Forecast").Panic("no sky")
	forecast := client(rt, fakeWeather{faults})
	for range 3 {
		_, err := forecast(context.Background(), "Bonn")
		fmt.Println(protect.KindOf(err))
	}
	fmt.Println(faults.Calls("Forecast"), "calls reached the callee")
	for _, e := range rec.Of(protect.EventBreakerState) {
		fmt.Println(e.Name, "from", e.From, "to", e.To)
	}

	// Output:
	// operation
	// panic
	// breaker open
	// 2 calls reached the callee
	// weather.Forecast from closed to open
}

// An outage, its end and a limit, in no time at all.
func TestForecastComesBackAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// given a callee that hangs for its first three calls
		rt := protect.New(protect.WithStores(protecttest.Stores()))
		defer rt.Close(context.Background())
		err := rt.Configure("weather.Forecast", protect.Policy{
			Timeout:  time.Second,
			Limit:    &protect.LimitPolicy{Tokens: 5, Window: time.Minute},
			Breaker:  &protect.BreakerPolicy{Failures: 3, Recovery: 30 * time.Second},
			Bulkhead: &protect.BulkheadPolicy{Max: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		faults := protecttest.NewFaults()
		faults.On("Forecast").Latency(protect.Forever).Times(3)
		forecast := client(rt, fakeWeather{faults})
		call := func(want protect.Kind) {
			t.Helper()
			if _, err := forecast(t.Context(), "Bonn"); protect.KindOf(err) != want {
				t.Errorf("a call is %v, want %v", err, want)
			}
		}

		// when it is called, the breaker opens and spares it
		for range 3 {
			call(protect.KindTimeout)
		}
		protecttest.AssertState(t, rt, "weather.Forecast", protect.Open)
		call(protect.KindBreakerOpen)
		if n := faults.Calls("Forecast"); n != 3 {
			t.Errorf("%d calls reached the callee, want 3", n)
		}

		// then a probe closes it, within the limit
		time.Sleep(30 * time.Second)
		call(protect.KindNone)
		protecttest.AssertState(t, rt, "weather.Forecast", protect.Closed)
		protecttest.AssertBucket(t, rt, "weather.Forecast", "", 1)
		call(protect.KindNone)
		call(protect.KindRateLimited)
		time.Sleep(30 * time.Second)
		call(protect.KindNone)
		protecttest.AssertIdle(t, rt)
	})
}
