package projects

import "github.com/redis/go-redis/v9"

//protect:breaker failures=5
//protect:timeout 1s
type Redis interface{ redis.UniversalClient }

//protect:limit 1000/s
type Pipeline interface{ redis.Pipeliner }

//protect:wrap
type Scripter interface{ redis.Scripter }
