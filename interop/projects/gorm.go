package projects

import (
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

//protect:breaker failures=5
//protect:timeout 2s
type GormPool interface{ gorm.ConnPool }

//protect:breaker failures=5
type GormTx interface{ gorm.Tx }

//protect:wrap
type Dialector interface{ gorm.Dialector }

//protect:retry 2
type Migrator interface{ gorm.Migrator }

//protect:breaker failures=5
type Generic[T any] interface{ gorm.Interface[T] }

//protect:wrap
type GormLogger interface{ logger.Interface }
