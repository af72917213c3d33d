package main

import "flag"

// Every package takes the flag, so that go test ./... -update rewrites what
// others expect.
var _ = flag.Bool("update", false, "nothing: this package has no files that its tests expect")
