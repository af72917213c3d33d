module github.com/protectgen/protectgen/benchmarks

go 1.26.0

require (
	github.com/failsafe-go/failsafe-go v0.9.8
	github.com/jolestar/go-commons-pool/v2 v2.1.2
	github.com/mercari/go-circuitbreaker v0.0.2
	github.com/protectgen/protectgen v0.0.0
	github.com/sethvargo/go-limiter v1.1.0
	github.com/sony/gobreaker/v2 v2.4.0
)

require (
	github.com/benbjohnson/clock v1.3.0 // indirect
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/cenkalti/backoff/v3 v3.1.1 // indirect
)

replace github.com/protectgen/protectgen => ../
