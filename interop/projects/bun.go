package projects

import "github.com/uptrace/bun"

//protect:breaker failures=5
type Bun interface{ bun.IDB }

//protect:limit 100/s
type BunConn interface{ bun.IConn }
