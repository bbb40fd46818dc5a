package file

import (
	"context"
	"database/sql/driver"

	"modernc.org/sqlite" // SQLite without cgo: the binaries stay static
)

// mostPrepared is how many statements a connection keeps. The store has some forty; those whose text depends on how many
// mailboxes are asked for come on top.
const mostPrepared = 100

// connector opens connections that keep their statements. Preparing them anew each time, as database/sql does with what it
// is given as text, took more than a quarter of the processor's time that a message costs here.
type connector struct{ dsn string }

var sqliteDriver = &sqlite.Driver{}

// Connect implements driver.Connector.
func (c connector) Connect(context.Context) (driver.Conn, error) {
	raw, err := sqliteDriver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &conn{sqliteConn: raw.(sqliteConn), idle: map[string]statement{}}, nil
}

// Driver implements driver.Connector.
func (connector) Driver() driver.Driver { return sqliteDriver }

// sqliteConn is what a connection of the driver can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// statement is what one of its statements can do.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// conn is a connection and the statements that nobody uses right now, by their text. One goroutine at a time uses it.
type conn struct {
	sqliteConn
	idle map[string]statement
}

// take prepares a statement, unless it is kept. Nobody else has it until it is given back: rows that are being read move on
// with their statement.
func (c *conn) take(ctx context.Context, query string) (statement, error) {
	if s, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.(statement), nil
}

// give keeps a statement for the next time, and ends another one if there are many.
func (c *conn) give(query string, s statement) error {
	before, twice := c.idle[query]
	c.idle[query] = s
	if twice {
		return before.Close()
	}
	for other, s := range c.idle {
		if len(c.idle) <= mostPrepared {
			break
		}
		delete(c.idle, other)
		return s.Close()
	}
	return nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err := s.ExecContext(ctx, args)
	if err != nil {
		_ = s.Close() // it says once more what err says
		return nil, err
	}
	return result, c.give(query, s)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		_ = s.Close() // it says once more what err says
		return nil, err
	}
	return &result{Rows: rows, read: func(err error) error {
		if err != nil {
			_ = s.Close() // likewise
			return err
		}
		return c.give(query, s)
	}}, nil
}

// Close implements driver.Conn.
func (c *conn) Close() error {
	for _, s := range c.idle {
		_ = s.Close() // the connection ends, and with it what may be wrong with them
	}
	c.idle = nil
	return c.sqliteConn.Close()
}

// result is rows whose statement is kept once they are read.
type result struct {
	driver.Rows
	read func(error) error // takes how their end went; nil once it has been called
}

// Close implements driver.Rows.
func (r *result) Close() error {
	err := r.Rows.Close()
	if r.read == nil {
		return err
	}
	read := r.read
	r.read = nil
	return read(err)
}
