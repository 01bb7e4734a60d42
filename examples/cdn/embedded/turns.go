package main

import (
	"context"
	"sync"

	"github.com/dolthub/go-mysql-server/server"
	"github.com/dolthub/go-mysql-server/sql"
	"github.com/dolthub/vitess/go/mysql"
	"github.com/dolthub/vitess/go/sqltypes"
	querypb "github.com/dolthub/vitess/go/vt/proto/query"
)

// turns lets one connection after another to the database, each until its
// transaction has ended. The tables in memory know no concurrent transactions: each
// works on the table that it found, and its commit puts back what others have
// committed meanwhile.
type turns struct {
	mysql.Handler
	turn chan struct{} // holds a token while nobody has the turn

	mu       sync.Mutex
	sessions map[uint32]sql.Session // by connection
	holder   uint32                 // connections count from 1
}

func newTurns() *turns {
	t := &turns{turn: make(chan struct{}, 1), sessions: make(map[uint32]sql.Session)}
	t.turn <- struct{}{}
	return t
}

// wrap puts the turns before a handler.
func (t *turns) wrap(h mysql.Handler) (mysql.Handler, error) {
	t.Handler = h
	return t, nil
}

// build notes the sessions that another builder makes.
func (t *turns) build(next server.SessionBuilder) server.SessionBuilder {
	return func(ctx context.Context, c *mysql.Conn, addr string) (sql.Session, error) {
		s, err := next(ctx, c, addr)
		if err == nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.sessions[c.ConnectionID] = s
		}
		return s, err
	}
}

// take waits for the connection's turn, which it may have.
func (t *turns) take(ctx context.Context, c *mysql.Conn) error {
	if t.holds(c) {
		return nil
	}
	select {
	case <-t.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holder = c.ConnectionID
	return nil
}

func (t *turns) holds(c *mysql.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.holder == c.ConnectionID
}

// pass ends the connection's turn, if it is in no transaction that a client began.
func (t *turns) pass(c *mysql.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.sessions[c.ConnectionID]; s == nil || s.GetTransaction() == nil || !s.GetIgnoreAutoCommit() {
		t.release(c)
	}
}

func (t *turns) release(c *mysql.Conn) {
	if t.holder == c.ConnectionID {
		t.holder = 0
		t.turn <- struct{}{}
	}
}

func (t *turns) ComQuery(ctx context.Context, c *mysql.Conn, query string, callback mysql.ResultSpoolFn) error {
	if err := t.take(ctx, c); err != nil {
		return err
	}
	defer t.pass(c)
	return t.Handler.ComQuery(ctx, c, query, callback)
}

func (t *turns) ComMultiQuery(ctx context.Context, c *mysql.Conn, query string, callback mysql.ResultSpoolFn) (string, error) {
	if err := t.take(ctx, c); err != nil {
		return "", err
	}
	defer t.pass(c)
	return t.Handler.ComMultiQuery(ctx, c, query, callback)
}

func (t *turns) ComPrepare(ctx context.Context, c *mysql.Conn, query string, prepare *mysql.PrepareData) ([]*querypb.Field, error) {
	if err := t.take(ctx, c); err != nil {
		return nil, err
	}
	defer t.pass(c)
	return t.Handler.ComPrepare(ctx, c, query, prepare)
}

func (t *turns) ComStmtExecute(ctx context.Context, c *mysql.Conn, prepare *mysql.PrepareData, callback func(*sqltypes.Result) error) error {
	if err := t.take(ctx, c); err != nil {
		return err
	}
	defer t.pass(c)
	return t.Handler.ComStmtExecute(ctx, c, prepare, callback)
}

func (t *turns) ConnectionClosed(c *mysql.Conn) {
	t.Handler.ConnectionClosed(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, c.ConnectionID)
	t.release(c)
}
