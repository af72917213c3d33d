// Package protecttest helps to test code that is protected: [Faults] makes a
// fake callee fail on demand, [Recorder] remembers the events of a Runtime,
// [Store] makes limits obey the clock of testing/synctest, and the assertions
// say what breakers, buckets and pools are like.
//
// With them an outage of half a minute takes no time:
//
//	func TestForecastComesBackAfterAnOutage(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			rt := protect.New(protect.WithStores(protecttest.Stores()))
//			defer rt.Close(context.Background())
//			faults := protecttest.NewFaults()
//			faults.On("Forecast").Error(errDown).Times(5)
//			client, err := NewProtectedWeather(rt, fakeWeather{faults})
//			// ... five calls that fail ...
//			protecttest.AssertState(t, rt, "weather.Weather", protect.Open)
//			time.Sleep(30 * time.Second)
//			// ... a call that succeeds ...
//			protecttest.AssertState(t, rt, "weather.Weather", protect.Closed)
//			protecttest.AssertIdle(t, rt)
//		})
//	}
//
// A fake asks the faults first, and a decorator can do the same in front of the
// real thing:
//
//	func (w fakeWeather) Forecast(ctx context.Context, city string) (*Report, error) {
//		if err := w.faults.Inject(ctx, "Forecast"); err != nil {
//			return nil, err
//		}
//		return &Report{City: city}, nil
//	}
//
// A Runtime belongs to the bubble that it was made in, as its channels and timers
// do. [protect.Default], which a nil Runtime means, outlives each of them: a test
// with a clock of its own makes a Runtime of its own too.
//
// Nothing here starts a goroutine. It is not for production: a Store keeps
// every bucket it ever had, and a Recorder every event.
package protecttest
