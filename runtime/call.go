package runtime

import (
	"context"
	"log/slog"
)

// call is what events and errors say about the protected call they belong to.
// It is zero for a part's own use, outside a call.
type call struct {
	key    string
	entity string
	attrs  []slog.Attr
}

// orBackground lets callers pass no context.
func orBackground(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}
