// Package users keeps users in PostgreSQL. The interface says what protects
// the database and its callers from each other; protectgen makes
// ProtectedRepository from it, whose pool holds the connections.
package users

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

//go:generate go tool protectgen

// Repository keeps users.
//
// A user who is not there and an email that is taken are answers: they open no
// breaker.
//
//protect:breaker name=database failures=3 recovery=200ms ignore=ErrNoUser,ErrEmailTaken
//protect:pool size=4 overflow=2 broken=connectionLost
//protect:timeout 10s
type Repository interface {
	// FindByEmail returns the user with that email, or ErrNoUser.
	FindByEmail(ctx context.Context, email string) (*User, error)

	// Save adds a user. An email that is there already is ErrEmailTaken.
	Save(ctx context.Context, user *User) error

	// Close ends the connection.
	Close() error
}

// User is a row.
type User struct{ Email, Name string }

// The answers that are not users.
var (
	ErrNoUser     = errors.New("users: no such user")
	ErrEmailTaken = errors.New("users: the email is taken")
)

// connectionLost tells whether a connection is of no use after err. It is,
// unless the server itself refused the statement and goes on: pgx closes a
// connection whose call was cut short.
func connectionLost(err error) bool {
	if errors.Is(err, ErrNoUser) || errors.Is(err, ErrEmailTaken) {
		return false
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || refused.SeverityUnlocalized != "ERROR"
}
