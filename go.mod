module github.com/protectgen/protectgen

go 1.26.0

tool github.com/protectgen/protectgen/cmd/protectgen

require (
	github.com/benbjohnson/clock v1.3.0
	github.com/cenkalti/backoff/v3 v3.1.1
	github.com/dave/jennifer v1.7.1
	github.com/fsnotify/fsnotify v1.10.1
	github.com/goccy/go-yaml v1.19.2
	github.com/jackc/pgx/v5 v5.12.0
	github.com/jolestar/go-commons-pool/v2 v2.1.2
	github.com/mercari/go-circuitbreaker v0.0.2
	github.com/rogpeppe/go-internal v1.16.0
	github.com/sethvargo/go-limiter v1.1.0
	go.uber.org/goleak v1.3.0
	golang.org/x/mod v0.42.0
	golang.org/x/tools v0.52.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)
