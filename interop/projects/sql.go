package projects

import "database/sql/driver"

// The interfaces of drivers are small and meant to be combined.

//protect:breaker failures=5
type DriverConn interface{ driver.Conn }

//protect:limit 100/s
type Connector interface{ driver.Connector }

//protect:timeout 2s
type Execer interface{ driver.ExecerContext }

//protect:breaker failures=5
//protect:bulkhead 10 wait=1s
type Session interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
}

//protect:breaker failures=5
type Statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

//protect:retry 2
type DriverRows interface{ driver.RowsNextResultSet }

// Each call runs on a connection of its own, borrowed for that.
//
//protect:pool size=2
//protect:breaker failures=5
//protect:timeout 1s
type PooledExecer interface{ driver.ExecerContext }
