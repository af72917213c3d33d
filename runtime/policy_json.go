package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The JSON of a policy writes durations as Go does ("1m30s"), a Forever as
// "forever", and reads a rate as a share (0.5) or a percentage ("50%"). The
// shadows below have the fields of their policy, with types that do that. All
// literals are written without keys: a field that is added to a policy does not
// compile until it is here too.

type policyJSON struct {
	Timeout  jsonDuration    `json:"timeout,omitempty"`
	Retry    *RetryPolicy    `json:"retry,omitempty"`
	Limit    *LimitPolicy    `json:"limit,omitempty"`
	Breaker  *BreakerPolicy  `json:"breaker,omitempty"`
	Bulkhead *BulkheadPolicy `json:"bulkhead,omitempty"`
	Pool     *PoolPolicy     `json:"pool,omitempty"`
}

type limitJSON struct {
	Tokens  uint64       `json:"tokens"`
	Window  jsonDuration `json:"window"`
	Wait    jsonDuration `json:"wait,omitempty"`
	OnError OnError      `json:"onerror,omitempty"`
}

type breakerJSON struct {
	Failures int          `json:"failures,omitempty"`
	Within   jsonDuration `json:"within,omitempty"`
	Rate     jsonShare    `json:"rate,omitempty"`
	Of       int          `json:"of,omitempty"`
	Recovery jsonDuration `json:"recovery,omitempty"`
	Probes   int          `json:"probes,omitempty"`
	Slow     jsonDuration `json:"slow,omitempty"`
	Needs    []string     `json:"needs,omitempty"`
}

type bulkheadJSON struct {
	Max  int          `json:"max"`
	Wait jsonDuration `json:"wait,omitempty"`
}

type poolJSON struct {
	Size     int          `json:"size,omitempty"`
	Overflow int          `json:"overflow,omitempty"`
	Wait     jsonDuration `json:"wait,omitempty"`
	Idle     jsonDuration `json:"idle,omitempty"`
	Life     jsonDuration `json:"life,omitempty"`
	Prefill  int          `json:"prefill,omitempty"`
}

type retryJSON struct {
	Attempts int          `json:"attempts"`
	Backoff  jsonDuration `json:"backoff,omitempty"`
	Max      jsonDuration `json:"max,omitempty"`
}

// MarshalJSON writes the policy's data; functions are left out.
func (p Policy) MarshalJSON() ([]byte, error) {
	return json.Marshal(policyJSON{jsonDuration(p.Timeout), p.Retry, p.Limit, p.Breaker, p.Bulkhead, p.Pool})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Policy) UnmarshalJSON(data []byte) error {
	var j policyJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = Policy{time.Duration(j.Timeout), j.Retry, j.Limit, j.Breaker, j.Bulkhead, j.Pool}
	return nil
}

// MarshalJSON writes the policy's data; functions are left out.
func (p LimitPolicy) MarshalJSON() ([]byte, error) {
	return json.Marshal(limitJSON{p.Tokens, jsonDuration(p.Window), jsonDuration(p.Wait), p.OnError})
}

// UnmarshalJSON reads what MarshalJSON writes, or a limit as directives write
// it: "100/1m".
func (p *LimitPolicy) UnmarshalJSON(data []byte) error {
	if isNull(data) {
		return nil
	}
	var text string
	if json.Unmarshal(data, &text) == nil {
		limit, err := parseLimit(text)
		if err == nil {
			*p = limit
		}
		return err
	}
	var j limitJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = LimitPolicy{j.Tokens, time.Duration(j.Window), time.Duration(j.Wait), j.OnError, nil}
	return nil
}

// MarshalJSON writes the policy's data; functions are left out.
func (p BreakerPolicy) MarshalJSON() ([]byte, error) {
	return json.Marshal(breakerJSON{
		p.Failures, jsonDuration(p.Within), jsonShare(p.Rate), p.Of,
		jsonDuration(p.Recovery), p.Probes, jsonDuration(p.Slow), p.Needs,
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *BreakerPolicy) UnmarshalJSON(data []byte) error {
	var j breakerJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = BreakerPolicy{
		j.Failures, time.Duration(j.Within), float64(j.Rate), j.Of,
		time.Duration(j.Recovery), j.Probes, time.Duration(j.Slow), j.Needs, nil,
	}
	return nil
}

// MarshalJSON writes the policy's data.
func (p BulkheadPolicy) MarshalJSON() ([]byte, error) {
	return json.Marshal(bulkheadJSON{p.Max, jsonDuration(p.Wait)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *BulkheadPolicy) UnmarshalJSON(data []byte) error {
	var j bulkheadJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = BulkheadPolicy{j.Max, time.Duration(j.Wait)}
	return nil
}

// MarshalJSON writes the policy's data.
func (p PoolPolicy) MarshalJSON() ([]byte, error) {
	return json.Marshal(poolJSON{
		p.Size, p.Overflow, jsonDuration(p.Wait), jsonDuration(p.Idle), jsonDuration(p.Life), p.Prefill,
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *PoolPolicy) UnmarshalJSON(data []byte) error {
	var j poolJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = PoolPolicy{
		j.Size, j.Overflow, time.Duration(j.Wait), time.Duration(j.Idle), time.Duration(j.Life), j.Prefill,
	}
	return nil
}

// MarshalJSON writes the policy's data; functions are left out.
func (p RetryPolicy) MarshalJSON() ([]byte, error) {
	return json.Marshal(retryJSON{p.Attempts, jsonDuration(p.Backoff), jsonDuration(p.Max)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *RetryPolicy) UnmarshalJSON(data []byte) error {
	var j retryJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*p = RetryPolicy{j.Attempts, time.Duration(j.Backoff), time.Duration(j.Max), nil}
	return nil
}

type jsonDuration time.Duration

func (d jsonDuration) MarshalText() ([]byte, error) {
	if time.Duration(d) == Forever {
		return []byte("forever"), nil
	}
	return []byte(time.Duration(d).String()), nil
}

func (d *jsonDuration) UnmarshalText(text []byte) error {
	if string(text) == "forever" {
		*d = jsonDuration(Forever)
		return nil
	}
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write one with its unit, such as 30s", text)
	}
	*d = jsonDuration(parsed)
	return nil
}

type jsonShare float64

func (s *jsonShare) UnmarshalJSON(data []byte) error {
	if isNull(data) {
		return nil
	}
	var text string
	if json.Unmarshal(data, &text) != nil {
		return json.Unmarshal(data, (*float64)(s))
	}
	percent, ok := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(percent, 64)
	if !ok || err != nil {
		return fmt.Errorf("%q is not a share: write one from 0 to 1, or a percentage such as \"50%%\"", text)
	}
	*s = jsonShare(n / 100)
	return nil
}

// isNull reports whether data is null, which by convention changes nothing.
// Unlike the others, those who ask take a text too, and null would be an empty
// one.
func isNull(data []byte) bool { return string(data) == "null" }

// parseLimit reads a limit as directives write it: 100/1m, or 100/m.
func parseLimit(text string) (LimitPolicy, error) {
	malformed := errors.New("a limit is written as tokens/window, such as \"100/1m\"")
	tokens, window, ok := strings.Cut(text, "/")
	if !ok {
		return LimitPolicy{}, malformed
	}
	n, err := strconv.ParseUint(tokens, 10, 64)
	if err != nil {
		return LimitPolicy{}, malformed
	}
	if window == "s" || window == "m" || window == "h" {
		window = "1" + window
	}
	d, err := time.ParseDuration(window)
	if err != nil {
		return LimitPolicy{}, malformed
	}
	return LimitPolicy{Tokens: n, Window: d}, nil
}
