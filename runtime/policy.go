package runtime

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Forever, as a wait, has no bound of its own: it ends with the context.
const Forever time.Duration = math.MaxInt64

// The defaults of the fields that have one, in the order of the policies
// below. A zero field means its default.
const (
	defaultRetryBackoff    = 100 * time.Millisecond
	defaultRetryMax        = 2 * time.Second
	defaultBreakerFailures = 5
	defaultBreakerRecovery = 30 * time.Second
	defaultBreakerProbes   = 1
	defaultPoolSize        = 10
	defaultPoolWait        = 5 * time.Second
)

// maxTokens is the largest limit: up to here every store, those that count in
// floating point included, counts exactly.
const maxTokens = 1 << 53

// maxInstances is the most that size and overflow of a pool, or the callers in
// a bulkhead, can be: the pool library counts in 32 bits.
const maxInstances = math.MaxInt32

// Policy says what protects the calls made under one key. Every section is
// optional: a layer without a section is not there.
//
// A Policy is plain data: its JSON and YAML names are those of the directives,
// and durations are written as in Go ("1m30s"). Treat one as immutable once it
// was handed over.
type Policy struct {
	// Timeout is the deadline of the whole call, waiting and retries
	// included. 0 is none, except for Execute, which then applies 5 s.
	Timeout  time.Duration   `json:"timeout,omitempty" yaml:"timeout,omitempty"`
	Retry    *RetryPolicy    `json:"retry,omitempty" yaml:"retry,omitempty"`
	Limit    *LimitPolicy    `json:"limit,omitempty" yaml:"limit,omitempty"`
	Breaker  *BreakerPolicy  `json:"breaker,omitempty" yaml:"breaker,omitempty"`
	Bulkhead *BulkheadPolicy `json:"bulkhead,omitempty" yaml:"bulkhead,omitempty"`
	Pool     *PoolPolicy     `json:"pool,omitempty" yaml:"pool,omitempty"`
}

// LimitPolicy allows Tokens calls in each Window, for each entity. Windows are
// fixed and begin with the entity's first call: up to twice Tokens can pass
// around the boundary of two windows, never more than Tokens within one.
type LimitPolicy struct {
	Tokens  uint64         `json:"tokens" yaml:"tokens"`                       // calls a window, required
	Window  time.Duration  `json:"window" yaml:"window"`                       // required
	Wait    time.Duration  `json:"wait,omitempty" yaml:"wait,omitempty"`       // how long to wait for a token; a call that cannot have one in time is refused at once
	OnError OnError        `json:"onerror,omitempty" yaml:"onerror,omitempty"` // what happens when the store fails
	Scale   func() float64 `json:"-" yaml:"-"`                                 // factor from 0 to 1 for Tokens, asked on each call and for each status, which it must not ask for itself; nil is 1
}

// OnError says what a limiter does when its store fails.
type OnError int

// What to do when a limiter's store fails.
const (
	Deny  OnError = iota // refuse with KindLimiterFailed
	Allow                // let the call pass
	Local                // count in memory until the store answers again
)

var onErrorNames = [...]string{Deny: "deny", Allow: "allow", Local: "local"}

// String returns the name that a directive uses: "deny", "allow" or "local".
func (o OnError) String() string {
	if o >= 0 && int(o) < len(onErrorNames) {
		return onErrorNames[o]
	}
	return fmt.Sprintf("onerror %d", int(o))
}

// MarshalText returns the name.
func (o OnError) MarshalText() ([]byte, error) {
	if o < 0 || int(o) >= len(onErrorNames) {
		return nil, invalid("onerror", "%d is none of deny, allow, local", int(o))
	}
	return []byte(o.String()), nil
}

// UnmarshalText reads a name.
func (o *OnError) UnmarshalText(text []byte) error {
	i := slices.Index(onErrorNames[:], string(text))
	if i < 0 {
		return invalid("onerror", "%q is none of deny, allow, local", text)
	}
	*o = OnError(i)
	return nil
}

// BreakerPolicy opens a breaker either on failures in a row (Failures, counted
// within a sliding time when Within is set) or on a failure rate (Rate, Of and
// Within).
type BreakerPolicy struct {
	Failures int                 `json:"failures,omitempty" yaml:"failures,omitempty"` // the Nth failure opens; default 5 unless Rate is set
	Within   time.Duration       `json:"within,omitempty" yaml:"within,omitempty"`     // sliding time in which failures, or calls for Rate, count; 0 counts failures in a row
	Rate     float64             `json:"rate,omitempty" yaml:"rate,omitempty"`         // share of failures, 0 to 1, that opens
	Of       int                 `json:"of,omitempty" yaml:"of,omitempty"`             // calls seen within Within before Rate is judged
	Recovery time.Duration       `json:"recovery,omitempty" yaml:"recovery,omitempty"` // time open before probes may pass; default 30 s
	Probes   int                 `json:"probes,omitempty" yaml:"probes,omitempty"`     // calls at once when half-open, and the successes that close; default 1
	Slow     time.Duration       `json:"slow,omitempty" yaml:"slow,omitempty"`         // a callee that takes longer has failed, waits before it not counted; 0 is never
	Needs    []string            `json:"needs,omitempty" yaml:"needs,omitempty"`       // breakers of the same scope that must not be open; one that is not there is healthy
	Failure  func(error) Outcome `json:"-" yaml:"-"`                                   // judges the callee's errors; nil counts each as a failure
}

// BulkheadPolicy bounds how many calls run at once.
type BulkheadPolicy struct {
	Max  int           `json:"max" yaml:"max"`                       // required
	Wait time.Duration `json:"wait,omitempty" yaml:"wait,omitempty"` // how long to wait for a place; 0 is not at all
}

// PoolPolicy sizes a pool of instances.
type PoolPolicy struct {
	Size     int           `json:"size,omitempty" yaml:"size,omitempty"`         // instances that stay; default 10
	Overflow int           `json:"overflow,omitempty" yaml:"overflow,omitempty"` // instances that may come on top, closed on return
	Wait     time.Duration `json:"wait,omitempty" yaml:"wait,omitempty"`         // how long to wait for an instance; default 5 s, Forever waits as long as the context
	Idle     time.Duration `json:"idle,omitempty" yaml:"idle,omitempty"`         // an instance unused for longer is closed; 0 is never
	Life     time.Duration `json:"life,omitempty" yaml:"life,omitempty"`         // an instance older than this is closed; 0 is never
	Prefill  int           `json:"prefill,omitempty" yaml:"prefill,omitempty"`   // instances made when the pool starts, at most Size
}

// RetryPolicy tries a failed call again, waiting between attempts: Backoff,
// doubled each time up to Max, with full jitter, and never less than the
// RetryAfter of a refusal. One that asks for more than Max is the last, and so is
// an attempt after which the deadline would pass in the wait.
type RetryPolicy struct {
	Attempts int              `json:"attempts" yaml:"attempts"`                   // calls in all, the first included; required
	Backoff  time.Duration    `json:"backoff,omitempty" yaml:"backoff,omitempty"` // upper bound of the first wait; default 100 ms
	Max      time.Duration    `json:"max,omitempty" yaml:"max,omitempty"`         // upper bound of every wait; default 2 s
	When     func(error) bool `json:"-" yaml:"-"`                                 // which errors are worth another attempt; nil is all that can change by themselves
}

// Validate reports every field that cannot hold, joined. Each is an [*Error]
// of [KindInvalid] whose Name is the field's path: "breaker.failures".
func (p Policy) Validate() error {
	var errs []error
	errs = append(errs, duration("timeout", p.Timeout))
	if p.Retry != nil {
		errs = append(errs, p.Retry.Validate())
	}
	if p.Limit != nil {
		errs = append(errs, p.Limit.Validate())
	}
	if p.Breaker != nil {
		errs = append(errs, p.Breaker.Validate())
	}
	if p.Bulkhead != nil {
		errs = append(errs, p.Bulkhead.Validate())
	}
	if p.Pool != nil {
		errs = append(errs, p.Pool.Validate())
	}
	return errors.Join(errs...)
}

// Validate reports every field that cannot hold.
func (p LimitPolicy) Validate() error {
	var errs []error
	switch {
	case p.Tokens == 0:
		errs = append(errs, invalid("limit.tokens", "0 lets no call pass; the limit must be at least 1"))
	case p.Tokens > maxTokens:
		errs = append(errs, invalid("limit.tokens", "%d is more than %d", p.Tokens, uint64(maxTokens)))
	}
	if p.Window == 0 {
		errs = append(errs, invalid("limit.window", "a limit needs a window, such as 1m"))
	}
	errs = append(errs, duration("limit.window", p.Window), duration("limit.wait", p.Wait))
	if p.OnError < Deny || p.OnError > Local {
		errs = append(errs, invalid("limit.onerror", "%d is none of deny, allow, local", int(p.OnError)))
	}
	return errors.Join(errs...)
}

// Validate reports every field that cannot hold.
func (p BreakerPolicy) Validate() error {
	errs := []error{
		count("breaker.failures", p.Failures),
		duration("breaker.within", p.Within),
		count("breaker.of", p.Of),
		duration("breaker.recovery", p.Recovery),
		count("breaker.probes", p.Probes),
		duration("breaker.slow", p.Slow),
	}
	switch {
	case math.IsNaN(p.Rate) || p.Rate < 0 || p.Rate > 1:
		errs = append(errs, invalid("breaker.rate", "%v is not a share from 0 to 1", p.Rate))
	case p.Rate > 0:
		if p.Failures != 0 {
			errs = append(errs, invalid("breaker.failures", "a breaker opens on failures or on a rate, not on both"))
		}
		if p.Of == 0 {
			errs = append(errs, invalid("breaker.of", "a rate needs of: the calls to see before it is judged"))
		}
		if p.Within == 0 {
			errs = append(errs, invalid("breaker.within", "a rate needs within: the time that it is taken over"))
		}
	case p.Of != 0:
		errs = append(errs, invalid("breaker.of", "of goes with rate"))
	}
	for i, name := range p.Needs {
		if name == "" {
			errs = append(errs, invalid("breaker.needs", "an empty name"))
		}
		if slices.Contains(p.Needs[:i], name) {
			errs = append(errs, invalid("breaker.needs", "%s stands twice", name))
		}
	}
	return errors.Join(errs...)
}

// Validate reports every field that cannot hold.
func (p BulkheadPolicy) Validate() error {
	var errs []error
	if p.Max == 0 {
		errs = append(errs, invalid("bulkhead.max", "0 lets no call pass; a bulkhead must have at least 1 place"))
	}
	errs = append(errs, count("bulkhead.max", p.Max), duration("bulkhead.wait", p.Wait))
	return errors.Join(errs...)
}

// Validate reports every field that cannot hold.
func (p PoolPolicy) Validate() error {
	errs := []error{
		count("pool.size", p.Size),
		count("pool.overflow", p.Overflow),
		duration("pool.wait", p.Wait),
		duration("pool.idle", p.Idle),
		duration("pool.life", p.Life),
		count("pool.prefill", p.Prefill),
	}
	d := p.withDefaults()
	if d.Size > 0 && d.Overflow > maxInstances-d.Size {
		errs = append(errs, invalid("pool.overflow", "size and overflow together are more than %d", maxInstances))
	}
	if d.Size > 0 && d.Prefill > d.Size {
		errs = append(errs, invalid("pool.prefill", "%d is more than size %d", d.Prefill, d.Size))
	}
	return errors.Join(errs...)
}

// Validate reports every field that cannot hold.
func (p RetryPolicy) Validate() error {
	var errs []error
	if p.Attempts == 0 {
		errs = append(errs, invalid("retry.attempts", "0 makes no call; there must be at least 1 attempt"))
	}
	errs = append(errs, count("retry.attempts", p.Attempts), duration("retry.backoff", p.Backoff), duration("retry.max", p.Max))
	return errors.Join(errs...)
}

func duration(field string, d time.Duration) error {
	if d < 0 {
		return invalid(field, "%v is negative", d)
	}
	return nil
}

func count(field string, n int) error {
	switch {
	case n < 0:
		return invalid(field, "%d is negative", n)
	case n > maxInstances:
		return invalid(field, "%d is more than %d", n, maxInstances)
	}
	return nil
}

func (p BreakerPolicy) withDefaults() BreakerPolicy {
	if p.Failures == 0 && p.Rate == 0 {
		p.Failures = defaultBreakerFailures
	}
	p.Recovery = orDefault(p.Recovery, defaultBreakerRecovery)
	p.Probes = orDefault(p.Probes, defaultBreakerProbes)
	return p
}

func (p PoolPolicy) withDefaults() PoolPolicy {
	p.Size = orDefault(p.Size, defaultPoolSize)
	p.Wait = orDefault(p.Wait, defaultPoolWait)
	return p
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	p.Backoff = orDefault(p.Backoff, defaultRetryBackoff)
	p.Max = orDefault(p.Max, defaultRetryMax)
	return p
}

func orDefault[V comparable](v, def V) V {
	var zero V
	if v == zero {
		return def
	}
	return v
}

// The same methods compare two settings by their data, defaults filled in.
// Functions are not compared.

func (p LimitPolicy) same(q LimitPolicy) bool {
	return p.Tokens == q.Tokens && p.Window == q.Window && p.Wait == q.Wait && p.OnError == q.OnError
}

func (p BreakerPolicy) same(q BreakerPolicy) bool {
	p, q = p.withDefaults(), q.withDefaults()
	return p.Failures == q.Failures && p.Within == q.Within && p.Rate == q.Rate && p.Of == q.Of &&
		p.Recovery == q.Recovery && p.Probes == q.Probes && p.Slow == q.Slow && slices.Equal(p.Needs, q.Needs)
}

func (p BulkheadPolicy) same(q BulkheadPolicy) bool { return p == q }

func (p PoolPolicy) same(q PoolPolicy) bool { return p.withDefaults() == q.withDefaults() }

func (p RetryPolicy) same(q RetryPolicy) bool {
	p, q = p.withDefaults(), q.withDefaults()
	return p.Attempts == q.Attempts && p.Backoff == q.Backoff && p.Max == q.Max
}

// clone returns a copy that shares no section with p.
func (p Policy) clone() Policy {
	p.Retry = copyOf(p.Retry)
	p.Limit = copyOf(p.Limit)
	p.Breaker = copyOf(p.Breaker)
	if p.Breaker != nil {
		p.Breaker.Needs = slices.Clone(p.Breaker.Needs)
	}
	p.Bulkhead = copyOf(p.Bulkhead)
	p.Pool = copyOf(p.Pool)
	return p
}

func copyOf[V any](v *V) *V {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

func (p Policy) same(q Policy) bool {
	return p.Timeout == q.Timeout &&
		sameSection(p.Retry, q.Retry, RetryPolicy.same) &&
		sameSection(p.Limit, q.Limit, LimitPolicy.same) &&
		sameSection(p.Breaker, q.Breaker, BreakerPolicy.same) &&
		sameSection(p.Bulkhead, q.Bulkhead, BulkheadPolicy.same) &&
		sameSection(p.Pool, q.Pool, PoolPolicy.same)
}

func sameSection[S any](p, q *S, same func(S, S) bool) bool {
	if p == nil || q == nil {
		return p == q
	}
	return same(*p, *q)
}
