package runtime

import (
	"time"

	"github.com/sethvargo/go-limiter"
)

// OpenSimStore opens a store that lives by the time of a bubble.
func OpenSimStore(_ string, tokens uint64, window time.Duration) (limiter.Store, error) {
	return newSimStore(tokens, window), nil
}
