// Package backend is the weather service: a real HTTP server on a loopback
// port that can be told to fail or to hang, and that counts what reaches it.
package backend

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"
)

// Server is a weather service under the control of its owner. It is safe for
// concurrent use.
type Server struct {
	server   *httptest.Server
	requests atomic.Int64
	failing  atomic.Bool
	delay    atomic.Int64
}

// Start starts a healthy server. Close it.
func Start() *Server {
	s := new(Server)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /forecast", func(w http.ResponseWriter, r *http.Request) {
		city := r.URL.Query().Get("city")
		days := []string{"sunny", "rain", "fog"}
		if city == "Atlantis" {
			days = nil
		}
		answer(w, map[string]any{"city": city, "days": days})
	})
	mux.HandleFunc("GET /alerts", func(w http.ResponseWriter, r *http.Request) {
		alerts := []string{"storm"}
		if r.URL.Query().Get("city") == "Oslo" {
			alerts = nil
		}
		answer(w, alerts)
	})
	s.server = httptest.NewServer(s.control(mux))
	return s
}

// URL is where the server listens.
func (s *Server) URL() string { return s.server.URL }

// Requests is how many requests have reached the server.
func (s *Server) Requests() int64 { return s.requests.Load() }

// Fail makes the server answer 503, or stops it from doing so.
func (s *Server) Fail(failing bool) { s.failing.Store(failing) }

// Delay makes the server wait before it answers; 0 is not at all. It stops
// waiting when the client hangs up.
func (s *Server) Delay(d time.Duration) { s.delay.Store(int64(d)) }

// Close stops the server.
func (s *Server) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *Server) control(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if d := time.Duration(s.delay.Load()); d > 0 {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
				return
			}
		}
		if s.failing.Load() {
			http.Error(w, "the weather is out of order", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
