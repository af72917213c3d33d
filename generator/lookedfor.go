package generator

// optional is a type that the standard library asks the values of one of its
// interfaces for.
type optional struct {
	in      string   // the interface: its package's path and its name
	name    string   // what they are asked for
	methods []string // one of these stands for it
	cost    string   // of not being it
	unwrap  string   // the method through which it is found just as well; empty for none
}

// lookedFor is what the standard library looks for in values that have it as a
// rule, and cannot do without. Where it finds another way that only takes
// longer (io.WriterTo behind an io.Reader, fs.ReadFileFS behind an fs.FS),
// nobody needs to be told; nor of what is deprecated (driver.Execer), of little
// use by now (http.Pusher), or found in few values (fs.ReadLinkFS).
var lookedFor = []optional{
	// http.ResponseController, by which httputil.ReverseProxy does too; it
	// follows Unwrap. Handlers that stream ask for them themselves.
	{"net/http.ResponseWriter", "net/http.Flusher", []string{"Flush", "FlushError"}, "nothing can be flushed", "Unwrap() http.ResponseWriter"},
	{"net/http.ResponseWriter", "net/http.Hijacker", []string{"Hijack"}, "no connection can be taken over", "Unwrap() http.ResponseWriter"},

	// http.Client.CloseIdleConnections, and httptest.Server.Close.
	{"net/http.RoundTripper", "interface{CloseIdleConnections()}", []string{"CloseIdleConnections"}, "Client.CloseIdleConnections does nothing", ""},

	// fs.ReadDir and http.FS; http.FileServer seeks for ranges, and after it
	// has read what tells the type.
	{"io/fs.File", "io/fs.ReadDirFile", []string{"ReadDir"}, "fs.ReadDir and http.FS list no folder", ""},
	{"io/fs.File", "io.Seeker", []string{"Seek"}, "http.FileServer fails where it has to seek", ""},

	// The copying of httputil.ReverseProxy after a switch of protocols, and
	// http.Server before it closes a connection that is still sending.
	{"net.Conn", "interface{CloseWrite() error}", []string{"CloseWrite"}, "http.Server and httputil.ReverseProxy do not close one half", ""},

	// sql.Open: without it, connecting is driver.Driver.Open, which has no
	// context.
	{"database/sql/driver.Driver", "database/sql/driver.DriverContext", []string{"OpenConnector"}, "connecting does not see the context", ""},

	// sql.DB.Close.
	{"database/sql/driver.Connector", "io.Closer", []string{"Close"}, "sql.DB.Close does not close it", ""},

	// sql.DB.PingContext, sql.DB.BeginTx, and each query and use of a
	// connection: ctxutil.go, convert.go and sql.go of database/sql.
	{"database/sql/driver.Conn", "database/sql/driver.Pinger", []string{"Ping"}, "sql.DB.Ping asks nobody", ""},
	{"database/sql/driver.Conn", "database/sql/driver.ConnBeginTx", []string{"BeginTx"}, "transactions have no options", ""},
	{"database/sql/driver.Conn", "database/sql/driver.ConnPrepareContext", []string{"PrepareContext"}, "preparing does not see the context", ""},
	{"database/sql/driver.Conn", "database/sql/driver.ExecerContext", []string{"ExecContext"}, "everything is prepared first", ""},
	{"database/sql/driver.Conn", "database/sql/driver.QueryerContext", []string{"QueryContext"}, "everything is prepared first", ""},
	{"database/sql/driver.Conn", "database/sql/driver.NamedValueChecker", []string{"CheckNamedValue"}, "the driver's own types of arguments are refused", ""},
	{"database/sql/driver.Conn", "database/sql/driver.SessionResetter", []string{"ResetSession"}, "sessions are not reset", ""},
	{"database/sql/driver.Conn", "database/sql/driver.Validator", []string{"IsValid"}, "broken connections are used again", ""},

	// Each execution of a prepared statement: ctxutil.go.
	{"database/sql/driver.Stmt", "database/sql/driver.StmtExecContext", []string{"ExecContext"}, "running it does not see the context", ""},
	{"database/sql/driver.Stmt", "database/sql/driver.StmtQueryContext", []string{"QueryContext"}, "running it does not see the context", ""},

	// sql.Rows.NextResultSet and sql.Rows.ColumnTypes.
	{"database/sql/driver.Rows", "database/sql/driver.RowsNextResultSet", []string{"NextResultSet"}, "further results are not seen", ""},
	{"database/sql/driver.Rows", "database/sql/driver.RowsColumnTypeScanType", []string{"ColumnTypeScanType"}, "sql.ColumnType knows less", ""},
	{"database/sql/driver.Rows", "database/sql/driver.RowsColumnTypeDatabaseTypeName", []string{"ColumnTypeDatabaseTypeName"}, "sql.ColumnType knows less", ""},
	{"database/sql/driver.Rows", "database/sql/driver.RowsColumnTypeLength", []string{"ColumnTypeLength"}, "sql.ColumnType knows less", ""},
	{"database/sql/driver.Rows", "database/sql/driver.RowsColumnTypeNullable", []string{"ColumnTypeNullable"}, "sql.ColumnType knows less", ""},
	{"database/sql/driver.Rows", "database/sql/driver.RowsColumnTypePrecisionScale", []string{"ColumnTypePrecisionScale"}, "sql.ColumnType knows less", ""},
}
