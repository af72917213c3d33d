package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	protect "github.com/protectgen/protectgen/runtime"
)

// Files is an API with a generous limit for everything, and a narrow one for
// what is expensive. Each user has buckets of their own.
type Files interface {
	//protect:limit 1000/1h key=userID
	Handle(ctx context.Context, userID, request string) (string, error)

	//protect:limit 10/1h key=userID name=file_upload
	Upload(ctx context.Context, userID, file string) (string, error)
}

// files implements Files on the service.
type files struct{ *client }

func (f files) Handle(ctx context.Context, _, request string) (string, error) {
	return f.get(ctx, request)
}

func (f files) Upload(ctx context.Context, _, file string) (string, error) {
	return f.get(ctx, "/upload"+file)
}

func limits(ctx context.Context, out io.Writer) (err error) {
	server := startService("files")
	defer server.close()
	rt := protect.New()
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	api, err := NewProtectedFiles(rt, files{server.client()})
	if err != nil {
		return err
	}

	handled := passing(1001, func() error { _, err := api.Handle(ctx, "user:123", "/request"); return err })
	fmt.Fprintf(out, "user:123 asks 1001 times in an hour: %d pass\n", handled)
	upload := func(user string) int {
		return passing(11, func() error { _, err := api.Upload(ctx, user, "/file"); return err })
	}
	fmt.Fprintf(out, "user:123 uploads 11 files: %d pass, whatever was asked before\n", upload("user:123"))
	fmt.Fprintf(out, "user:456 uploads 11 files: %d pass\n", upload("user:456"))
	fmt.Fprintf(out, "the server was reached %d times\n", server.reached.Load())

	uploads, err := rt.Limiter("file_upload")
	if err != nil {
		return err
	}
	for _, user := range []string{"user:123", "user:789"} {
		status, err := uploads.Status(ctx, user)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "status of %s: %d of %d used in %v, limited: %v\n", user, status.Used, status.Limit, status.Window, status.Limited)
	}
	if err := uploads.Reset(ctx, "user:123"); err != nil {
		return err
	}
	fmt.Fprintf(out, "after a reset user:123 uploads 11 files: %d pass\n", upload("user:123"))
	fmt.Fprintf(out, "and user:456, who has had none: %d pass\n", upload("user:456"))
	return nil
}

// passing makes n calls and counts those that a limit let pass.
func passing(n int, call func() error) (passed int) {
	for range n {
		if !errors.Is(call(), protect.ErrRateLimited) {
			passed++
		}
	}
	return passed
}
