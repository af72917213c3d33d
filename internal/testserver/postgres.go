package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// startWithin bounds a start: initdb alone takes seconds on a busy machine.
	startWithin = time.Minute
	// stopWithin bounds an orderly stop, before the server is killed, and the
	// removal of its folder.
	stopWithin = 10 * time.Second
	// pollEvery is how often a condition is looked at again.
	pollEvery = 20 * time.Millisecond
	// portAttempts is how many ports are tried: a free one can be taken by
	// somebody else before the server has it.
	portAttempts = 5
)

// Postgres is a PostgreSQL server of its own, with an empty database. It
// trusts everybody on this machine, and does not sync to disk: it survives
// [Postgres.Kill], not a power failure. Its methods are not for concurrent use,
// but for URL.
type Postgres struct {
	server string // the program
	dir    string // holds the data and the log; its base is the name of the database's owner
	port   int
	owner  *owner

	// process is nil unless the server runs. exited is closed once it has
	// ended and was waited for, whatever ended it.
	process *os.Process
	exited  chan struct{}
	// killed: what a server gives back at its end, it did not.
	killed bool
}

// StartPostgres makes a database in a temporary folder, starts a server for it
// and waits until that answers. Stop it on every path. PostgreSQL refuses to
// run as root: then it runs as the user postgres, or nobody.
//
// Without PostgreSQL's programs the error is [ErrNotInstalled]. ctx bounds the
// start, not the server's life.
func StartPostgres(ctx context.Context) (_ *Postgres, err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	initdb, err := Find("initdb", "postgresql")
	if err != nil {
		return nil, err
	}
	server, err := Find("postgres", "postgresql")
	if err != nil {
		return nil, err
	}
	owner, err := serverOwner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "protectgen-postgres-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{server: server, dir: dir, owner: owner}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop())
		}
	}()
	if err := owner.take(dir); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, initdb, "-D", p.data(), "-U", p.user(), "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync")
	cmd.Dir = dir
	owner.run(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	for attempt := 1; ; attempt++ {
		if p.port, err = freePort(); err != nil {
			return nil, err
		}
		err = p.start(ctx)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, errExited) || attempt == portAttempts {
			return nil, err
		}
	}
}

// URL is where the database is. It stays the same over a restart.
func (p *Postgres) URL() string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", p.user(), p.port)
}

// Kill ends the server as a crash would, with every process of its group. The
// sessions are not of that group: each ends when it notices, an instant later,
// and may answer until then.
func (p *Postgres) Kill() error {
	if p.process == nil {
		return nil
	}
	select {
	case <-p.exited: // its number may be somebody else's by now
	default:
		if err := killGroup(p.process); err != nil {
			return err
		}
		<-p.exited
		p.killed = true
	}
	p.process = nil
	return nil
}

// Restart starts the server again, on the same port with the same data, and
// waits until it answers; one that runs is killed first. ctx bounds the wait.
func (p *Postgres) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := p.Kill(); err != nil {
		return err
	}
	for {
		// The server refuses to start while a session of the killed one lives.
		err := p.start(ctx)
		if !errors.Is(err, errExited) {
			return err
		}
		if pause(ctx) != nil {
			return err
		}
	}
}

// Stop ends the server and removes its folder. Stopping again does nothing.
func (p *Postgres) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if p.killed {
		// A segment of shared memory is left, and a machine has not many. The
		// next server removes it. One that does not start is no reason to keep
		// the folder.
		_ = p.Restart(ctx)
	}
	if p.process != nil {
		// A fast shutdown: sessions are ended, shared memory is given back.
		if p.process.Signal(os.Interrupt) == nil {
			select {
			case <-p.exited:
			case <-ctx.Done():
			}
		}
		if err := p.Kill(); err != nil {
			return err
		}
	}
	for {
		// Sessions of a killed server may still be writing.
		err := os.RemoveAll(p.dir)
		if err == nil || pause(ctx) != nil {
			p.killed = false
			return err
		}
	}
}

// errExited says that a server ended before it answered.
var errExited = errors.New("the server has ended")

// start runs the server and waits until it answers. It leaves no process
// behind when it fails.
func (p *Postgres) start(ctx context.Context) (err error) {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd := exec.Command(p.server, "-D", p.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(p.port),
		"-c", "unix_socket_directories=", "-c", "fsync=off",
		// In the folder, so that what a killed server leaves goes with it.
		"-c", "dynamic_shared_memory_type=mmap")
	cmd.Dir = p.dir
	// A file, not a pipe: a pipe would be waited for until the last session ends.
	cmd.Stdout, cmd.Stderr = log, log
	p.owner.run(cmd)
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // its log says more
	}()
	p.process, p.exited = cmd.Process, exited

	for {
		answer := p.ping(ctx)
		if answer == nil {
			p.killed = false
			return nil
		}
		select {
		case <-exited:
			p.process = nil
			text, _ := os.ReadFile(p.log())
			return fmt.Errorf("%w:\n%s", errExited, text)
		default:
		}
		if err := pause(ctx); err != nil {
			return errors.Join(fmt.Errorf("the server does not answer: %w", answer), p.Kill())
		}
	}
}

// ping opens a session and ends it. Only this server knows the user, so a
// stranger on the port is not taken for it.
func (p *Postgres) ping(ctx context.Context) error {
	conn, err := pgconn.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (p *Postgres) user() string { return filepath.Base(p.dir) }
func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }
func (p *Postgres) log() string  { return filepath.Join(p.dir, "log") }

// freePort returns a loopback port that nobody listens on at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// pause waits until it is time to look again, or returns why not to.
func pause(ctx context.Context) error {
	select {
	case <-time.After(pollEvery):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
