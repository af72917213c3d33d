package policyfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
	// asked to take back. That is what is rolled back to, and what makes a key
	// the Set's to remove.
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
// It is all or nothing. Nothing happens unless every policy is valid, and when
// the Runtime refuses one all the same (a limiter's store cannot be opened, or
// the Runtime is closed), those before it are rolled back. A layer that was
// changed and rolled back starts afresh, with an empty bucket or closed.
func (s *Set) Apply(policies map[string]protect.Policy) (changed []string, err error) {
	if err := validate(policies); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var undo []func() error
	for _, key := range s.changes(policies) {
		back := s.restore(key)
		if err := s.put(key, policies); err != nil {
			errs := []error{fmt.Errorf("%s: %w", key, err)}
			for _, back := range slices.Backward(undo) {
				errs = append(errs, back())
			}
			return nil, errors.Join(errs...)
		}
		undo = append(undo, back)
		changed = append(changed, key)
	}
	return changed, nil
}

func validate(policies map[string]protect.Policy) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(policies)) {
		if key == "" {
			errs = append(errs, &protect.Error{Kind: protect.KindInvalid, Name: "key", Err: errors.New("a policy needs a key")})
		}
		if err := policies[key].Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	return errors.Join(errs...)
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

// put gives key what policies have for it. Nothing changes when that fails.
func (s *Set) put(key string, policies map[string]protect.Policy) error {
	p, ok := policies[key]
	if !ok {
		s.rt.Remove(key)
		delete(s.in, key)
		return nil
	}
	if err := s.rt.Configure(key, p); err != nil {
		return err
	}
	s.in[key] = p
	return nil
}

// restore returns what gives key back the policy that it has now.
func (s *Set) restore(key string) func() error {
	if _, ours := s.in[key]; ours {
		before := map[string]protect.Policy{key: s.in[key]}
		return func() error { return s.back(key, s.put(key, before)) }
	}
	// Directives gave it, or somebody else's Configure, or nobody.
	before, ok := s.rt.Policy(key)
	return func() error {
		_ = s.put(key, nil)
		if now, _ := s.rt.Policy(key); !ok || same(now, before) {
			return nil
		}
		return s.back(key, s.rt.Configure(key, before))
	}
}

func (s *Set) back(key string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: cannot go back to what it was: %w", key, err)
	}
	return nil
}

// same compares the data of two valid policies, which their JSON is.
func same(p, q protect.Policy) bool {
	a, errA := json.Marshal(p)
	b, errB := json.Marshal(q)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
