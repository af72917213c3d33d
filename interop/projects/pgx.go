package projects

import "github.com/jackc/pgx/v5"

//protect:breaker failures=5
//protect:timeout 2s
type Tx interface{ pgx.Tx }

//protect:bulkhead 10
type Batch interface{ pgx.BatchResults }

//protect:wrap
type Rows interface{ pgx.Rows }
