package runtime

import (
	"strconv"
	"time"
)

// State is the state of a breaker.
type State int

// The states of a breaker.
const (
	Closed   State = iota // calls pass
	Open                  // calls are refused until the recovery time is over
	HalfOpen              // a few probes pass; they decide
)

// String returns "closed", "open" or "half-open".
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	}
	return "state " + strconv.Itoa(int(s))
}

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is a snapshot of what protects one key. A layer that the policy does
// not have is nil. Key and every Name are whole, with the prefix of their scope.
type Status struct {
	Key      string
	Policy   Policy
	Limiter  *LimiterStatus // of the bucket without an entity
	Breaker  *BreakerStatus
	Bulkhead *BulkheadStatus
	Pool     *PoolStatus
}

// LimiterStatus is a snapshot of one bucket.
type LimiterStatus struct {
	Name, Entity    string
	Limit           uint64 // what the window allows now, scaled
	Used, Remaining uint64 // Used is more than Limit when that was scaled down since
	Window          time.Duration
	ResetAt         time.Time // when the window ends; zero when none has begun
	Limited         bool      // the next call would be refused
}

// BreakerStatus is a snapshot of a breaker.
type BreakerStatus struct {
	Name       string
	State      State
	Failures   int           // counted towards opening
	Forced     bool          // by ForceOpen or ForceClosed, until Reset
	RetryAfter time.Duration // until probes may pass; 0 unless open, and when a command holds it open
}

// BulkheadStatus is a snapshot of a bulkhead.
type BulkheadStatus struct {
	Name                 string
	Max, Active, Waiting int
}

// PoolStatus is a snapshot of a pool. Active + Idle instances are alive;
// Overflow of them are beyond Size.
type PoolStatus struct {
	Name                                               string
	Size, MaxOverflow, Active, Idle, Overflow, Waiting int
}

// Health is a summary over all parts.
type Health struct {
	Healthy  bool // no problems
	Policies int  // keys that have a policy
	Breakers map[string]State
	Pools    map[string]PoolStatus
	Problems []string // in words, sorted
}
