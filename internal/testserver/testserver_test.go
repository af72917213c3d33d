package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// verdict is a test that only remembers what it was told.
type verdict struct{ skipped, failed string }

func (v *verdict) Helper()           {}
func (v *verdict) Skip(args ...any)  { v.skipped = fmt.Sprint(args...) }
func (v *verdict) Fatal(args ...any) { v.failed = fmt.Sprint(args...) }

func TestAMissingProgramSkipsTheTestAndNamesThePackage(t *testing.T) {
	t.Setenv("PROTECTGEN_REQUIRE", "")
	var v verdict
	Require(&v, "no-such-program", "some-package")
	if v.failed != "" || !strings.Contains(v.skipped, "apt-get install some-package") {
		t.Errorf("skipped %q, failed %q", v.skipped, v.failed)
	}
}

func TestAMissingProgramFailsTheTestWhereAllAreRequired(t *testing.T) {
	t.Setenv("PROTECTGEN_REQUIRE", "all")
	var v verdict
	Require(&v, "no-such-program", "some-package")
	if v.skipped != "" || !strings.Contains(v.failed, "no-such-program is not installed") {
		t.Errorf("skipped %q, failed %q", v.skipped, v.failed)
	}
}

func TestFindPrefersThePathAndThenTheNewestVersion(t *testing.T) {
	path := nothingInstalled(t)
	program := func(dirs ...string) string {
		t.Helper()
		file := filepath.Join(append(dirs, "server")...)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if found, err := Find("server", "p"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("with none there: %q, %v", found, err)
	}
	program(versions, "9.6", "bin")
	newest := program(versions, "15", "bin")
	program(versions, "14", "bin")
	if found, err := Find("server", "p"); err != nil || found != newest {
		t.Errorf("found %q, %v, want %q", found, err, newest)
	}
	onPath := program(path)
	if found, err := Find("server", "p"); err != nil || found != onPath {
		t.Errorf("found %q, %v, want %q", found, err, onPath)
	}
}

func TestWithoutPostgreSQLNothingIsStarted(t *testing.T) {
	nothingInstalled(t)
	if _, err := StartPostgres(t.Context()); !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("started: %v", err)
	}
}

func TestPostgresKeepsItsDataAndItsAddressOverACrash(t *testing.T) {
	Require(t, "postgres", "postgresql")
	server := start(t)
	url := server.URL()
	session := connect(t, url)
	run(t, session, "create table kept (n int)")
	run(t, session, "insert into kept values (42)")

	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	// A session may have an answer left before it notices.
	notices, cancel := context.WithTimeout(t.Context(), stopWithin)
	defer cancel()
	for {
		if _, err := session.Exec(notices, "select 1"); err != nil {
			break
		}
		_ = pause(notices) // when it is over, Exec says so
	}
	if err := notices.Err(); err != nil {
		t.Errorf("a session outlived the server: %v", err)
	}
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("a killed server answers", conn.Close(t.Context()))
	}
	if err := server.Kill(); err != nil {
		t.Errorf("killing again: %v", err)
	}

	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server.URL() != url {
		t.Errorf("it moved from %s to %s", url, server.URL())
	}
	var n int
	if err := connect(t, url).QueryRow(t.Context(), "select n from kept").Scan(&n); err != nil || n != 42 {
		t.Errorf("read %d, %v, want 42", n, err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	Require(t, "postgres", "postgresql")
	for name, end := range map[string]func(*Postgres) error{
		"of one that runs": func(*Postgres) error { return nil },
		"of a killed one":  (*Postgres).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			process := server.process
			if err := end(server); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := server.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(server.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the folder: %v", err)
			}
			if err := process.Signal(os.Interrupt); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("the process: %v", err)
			}
		})
	}
}

func TestAStartThatIsCalledOffLeavesNothing(t *testing.T) {
	Require(t, "postgres", "postgresql")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartPostgres(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("started: %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	Require(t, "postgres", "postgresql")
	server := start(t)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(server.data(), "postgresql.auto.conf")
	if err := os.WriteFile(settings, []byte("no_such_setting = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.start(t.Context()); !errors.Is(err, errExited) || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("start: %v", err)
	}
	if err := os.Remove(settings); err != nil {
		t.Fatal(err)
	}
}

// nothingInstalled leaves nothing to be found but what the test puts into
// versions and into the folder that it returns, which is all of PATH.
func nothingInstalled(t *testing.T) (path string) {
	t.Helper()
	saved := versions
	t.Cleanup(func() { versions = saved })
	versions = t.TempDir()
	path = t.TempDir()
	t.Setenv("PATH", path)
	return path
}

func start(t *testing.T) *Postgres {
	t.Helper()
	server, err := StartPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	// The error says that the server ended the session first.
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
