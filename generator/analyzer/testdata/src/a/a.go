// Package a has directives, right and wrong.
package a

import "context"

// Weather is what is protected.
//
//protect:breaker failures=5
type Weather interface {
	//protect:limit 100/1m key=city
	Forecast(ctx context.Context, city string) (string, error)

	// want +2 `limit: key in Alerts: there is no town`
	//
	//protect:limit 100/1m key=town
	Alerts(ctx context.Context, city string) error

	// want +2 `timout.*timeout`
	//
	//protect:timout 2s
	Ping(ctx context.Context) error
}

// Station is no interface.
//
// want +2 `limit.*interface`
//
//protect:limit 100/1m
type Station struct{}
