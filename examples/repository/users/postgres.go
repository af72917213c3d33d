package users

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Schema makes the table that a Connection needs.
const Schema = `create table users (email text primary key, name text not null)`

// ApplicationName is what the server calls the sessions of Connections.
const ApplicationName = "users"

// closeWithin bounds the goodbye to a server that may be gone.
const closeWithin = time.Second

// Connection is a Repository on one connection. Like that it is not for
// concurrent use.
type Connection struct{ conn *pgx.Conn }

var _ Repository = (*Connection)(nil)

// Connect opens a connection to the database at url. ctx bounds that alone.
func Connect(ctx context.Context, url string) (*Connection, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = ApplicationName
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &Connection{conn}, nil
}

// Ping asks the server for a sign of life.
func (c *Connection) Ping(ctx context.Context) error { return c.conn.Ping(ctx) }

// FindByEmail implements Repository.
func (c *Connection) FindByEmail(ctx context.Context, email string) (*User, error) {
	user := new(User)
	row := c.conn.QueryRow(ctx, `select email, name from users where email = $1`, email)
	if err := row.Scan(&user.Email, &user.Name); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, ErrNoUser
		}
		return nil, err
	}
	return user, nil
}

// Save implements Repository.
func (c *Connection) Save(ctx context.Context, user *User) error {
	const uniqueViolation = "23505" // https://www.postgresql.org/docs/current/errcodes-appendix.html
	_, err := c.conn.Exec(ctx, `insert into users (email, name) values ($1, $2)`, user.Email, user.Name)
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && refused.Code == uniqueViolation {
		return ErrEmailTaken
	}
	return err
}

// Close implements Repository. The connection is gone when it returns: pgx
// cleans up in the background after a call that was cut short, which Close
// waits for.
func (c *Connection) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	err := c.conn.Close(ctx)
	select {
	case <-c.conn.PgConn().CleanupDone():
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}
