package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"time"
)

// service is a real HTTP server on a loopback port that does what a pattern
// tells it to. Every path there is answers with the service's name and itself.
// It is safe for concurrent use.
type service struct {
	name    string
	server  *httptest.Server
	reached atomic.Int64 // requests
	status  atomic.Int64 // what it answers with
	load    atomic.Uint64
	held    atomic.Int64 // requests that wait for release
	gate    atomic.Pointer[chan struct{}]
}

// startService starts a healthy service. Close it.
func startService(name string) *service {
	s := &service{name: name}
	s.answer(http.StatusOK)
	s.server = httptest.NewServer(s)
	return s
}

// close stops the service. Requests that it holds are cut off.
func (s *service) close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// answer sets the status of all answers from now on.
func (s *service) answer(status int) { s.status.Store(int64(status)) }

// announce sets the load, from 0 to 1, that the service tells its clients of.
func (s *service) announce(load float64) { s.load.Store(math.Float64bits(load)) }

// hold keeps requests waiting until the function that it returns is called.
func (s *service) hold() (release func()) {
	gate := make(chan struct{})
	s.gate.Store(&gate)
	return func() {
		s.gate.Store(nil)
		close(gate)
	}
}

// holding waits until n requests are held.
func (s *service) holding(ctx context.Context, n int64) error {
	return until(ctx, fmt.Sprintf("%s holds %d requests", s.name, n), func() bool { return s.held.Load() == n })
}

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.reached.Add(1)
	if gate := s.gate.Load(); gate != nil {
		s.held.Add(1)
		defer s.held.Add(-1)
		select {
		case <-*gate:
		case <-r.Context().Done():
		}
	}
	load := math.Float64frombits(s.load.Load())
	w.Header().Set(loadHeader, strconv.FormatFloat(load, 'g', -1, 64))
	if status := int(s.status.Load()); status != http.StatusOK {
		http.Error(w, http.StatusText(status), status)
		return
	}
	fmt.Fprint(w, s.name+r.URL.Path)
}

// loadHeader is how a service tells its load.
const loadHeader = "X-Load"

// client speaks to a service over one connection.
type client struct {
	base string
	http *http.Client
	load func(float64) // is told the service's load; nil for nobody
}

func (s *service) client() *client {
	return &client{base: s.server.URL, http: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}}
}

// httpError is an answer that is none.
type httpError struct{ Status int }

func (e *httpError) Error() string { return fmt.Sprint(e.Status, " ", http.StatusText(e.Status)) }

// get returns what the service says about a path, or an *httpError.
func (c *client) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if c.load != nil {
		load, err := strconv.ParseFloat(resp.Header.Get(loadHeader), 64)
		if err != nil {
			return "", err
		}
		c.load(load)
	}
	if resp.StatusCode != http.StatusOK {
		return "", &httpError{resp.StatusCode}
	}
	return string(body), nil
}

// mustGet is get for those who like to panic.
func (c *client) mustGet(ctx context.Context, path string) (string, error) {
	body, err := c.get(ctx, path)
	if err != nil {
		panic(err)
	}
	return body, nil
}

// Close gives the connection back.
func (c *client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// until waits for a condition that must come true.
func until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		}
	}
	return nil
}
