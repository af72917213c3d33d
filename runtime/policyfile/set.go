package policyfile

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	protect "github.com/protectgen/protectgen/runtime"
)

// Set is the policies that one source, such as a file, gives to a Runtime. It
// is safe for concurrent use, but not from a callback of the Runtime that its
// own Apply causes. Make one with [NewSet].
type Set struct {
	rt *protect.Runtime

	mu sync.Mutex
	// in is what the Runtime was last given for each key, and has not been
	// asked to take back. That is what makes a key the Set's to remove.
	in map[string]protect.Policy
}

// NewSet returns a Set that is empty. A nil rt means [protect.Default].
func NewSet(rt *protect.Runtime) *Set {
	if rt == nil {
		rt = protect.Default()
	}
	return &Set{rt: rt, in: map[string]protect.Policy{}}
}

// Apply makes policies those of the Set: it configures what is new or has
// changed, and removes the keys of an earlier Apply that are gone, so that the
// policies of their directives hold again. A key whose data did not change is
// not touched. It returns the keys that it configured or removed, sorted.
//
// It is all or nothing: unless every policy is valid and the Runtime takes all
// of them, nothing has changed, and no layer has lost its state.
func (s *Set) Apply(policies map[string]protect.Policy) (changed []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := map[string]protect.Policy{}
	var gone []string
	for _, key := range s.changes(policies) {
		if p, ok := policies[key]; ok {
			set[key] = p
		} else {
			gone = append(gone, key)
		}
		changed = append(changed, key)
	}
	if err := s.rt.ConfigureAll(set, gone...); err != nil {
		return nil, err
	}
	for _, key := range gone {
		delete(s.in, key)
	}
	maps.Copy(s.in, set)
	return changed, nil
}

// changes returns the keys that policies would change, sorted.
func (s *Set) changes(policies map[string]protect.Policy) []string {
	var keys []string
	for key, p := range policies {
		if old, ok := s.in[key]; !ok || !same(old, p) {
			keys = append(keys, key)
		}
	}
	for key := range s.in {
		if _, ok := policies[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// same compares the data of two valid policies, which their JSON is.
func same(p, q protect.Policy) bool {
	a, errA := json.Marshal(p)
	b, errB := json.Marshal(q)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
