// Package weather is an SDK as one finds them everywhere: an interface, and a
// client that speaks HTTP. What protects the client stands in the comments of
// the interface; protectgen makes ProtectedWeather from it.
package weather

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

//go:generate go tool protectgen

// Weather is the SDK's client interface.
//
//protect:breaker failures=3 recovery=500ms
//protect:pool size=2 overflow=1 wait=2s
type Weather interface {
	// Forecast returns the forecast for a city, on behalf of a user.
	//
	//protect:limit 5/1m key=userID
	//protect:timeout 1s
	Forecast(ctx context.Context, userID, city string) (*Report, error)

	// Alerts returns what a city is warned of. ErrNoAlerts is an answer, not a
	// failure of the service.
	//
	//protect:breaker failures=3 recovery=500ms ignore=ErrNoAlerts
	Alerts(ctx context.Context, city string) ([]string, error)

	// Close gives the client's connection back.
	Close() error
}

// Report is a forecast.
type Report struct {
	City string   `json:"city"`
	Days []string `json:"days"`
}

// Today is the first day of the forecast.
func (r *Report) Today() string { return r.Days[0] }

// ErrNoAlerts is returned for a city that nothing threatens.
var ErrNoAlerts = errors.New("weather: no alerts")

// Client speaks to the weather service over one connection.
type Client struct {
	base string
	http *http.Client
}

var _ Weather = (*Client)(nil)

// NewClient returns a client of the service at base, such as
// "http://127.0.0.1:8080".
func NewClient(base string) *Client {
	return &Client{base: base, http: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}}
}

// Forecast implements Weather.
func (c *Client) Forecast(ctx context.Context, userID, city string) (*Report, error) {
	report := new(Report)
	if err := c.get(ctx, "/forecast?city="+url.QueryEscape(city)+"&user="+url.QueryEscape(userID), report); err != nil {
		return nil, err
	}
	// The bug that every SDK has somewhere: no city without a first day.
	_ = report.Today()
	return report, nil
}

// Alerts implements Weather.
func (c *Client) Alerts(ctx context.Context, city string) ([]string, error) {
	var alerts []string
	if err := c.get(ctx, "/alerts?city="+url.QueryEscape(city), &alerts); err != nil {
		return nil, err
	}
	if len(alerts) == 0 {
		return nil, ErrNoAlerts
	}
	return alerts, nil
}

// Close implements Weather.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("weather: %s", resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
