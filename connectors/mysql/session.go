package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
)

// database is where a transform reads or writes.
type database struct {
	// name is the user's full transform name, for errors.
	name   string
	target *target
	// init are statements for every new connection (connection_init_sqls).
	init []string
}

// session is one connection, used directly rather than through database/sql:
// a sink owns its connection, and wants the number of placeholders that the
// server counts in a statement.
type session struct {
	db   *database
	conn conn
	// zone is how times are written in this session.
	zone *time.Location
	// maxPacket is the largest statement that the server takes, in bytes.
	maxPacket int
}

// conn is what the driver's connections can do.
type conn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
}

// open connects and learns what it needs of the server.
func (d *database) open(ctx context.Context) (*session, error) {
	connector, err := gomysql.NewConnector(d.target.config)
	if err != nil {
		return nil, d.explain(err, "connect")
	}
	c, err := connector.Connect(ctx)
	if err != nil {
		return nil, d.explain(err, "connect")
	}
	full, ok := c.(conn)
	if !ok {
		return nil, d.explain(fmt.Errorf("a connection of type %T", c), "connect")
	}
	s := &session{db: d, conn: full, zone: d.target.zone}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, d.explain(err, "set up the connection")
	}
	return s, nil
}

func (s *session) prepare(ctx context.Context) error {
	for i, sql := range s.db.init {
		if err := s.exec(ctx, sql); err != nil {
			return fmt.Errorf("statement %d of connection_init_sqls: %w", i+1, withoutText(err))
		}
	}
	row, err := s.row(ctx, "SELECT @@max_allowed_packet, @@session.time_zone, @@system_time_zone, TIMEDIFF(NOW(), UTC_TIMESTAMP())")
	if err != nil {
		return err
	}
	if s.maxPacket, err = strconv.Atoi(text(row[0])); err != nil {
		return err
	}
	if s.zone == nil {
		s.zone = sessionZone(text(row[1]), text(row[2]), text(row[3]))
	}
	return nil
}

// withoutText takes the message off a refusal that quotes the statement, which
// may hold a secret.
func withoutText(err error) error {
	var e *gomysql.MySQLError
	if errors.As(err, &e) && (e.Number == 1064 || e.Number == 1149) {
		return &gomysql.MySQLError{Number: e.Number, SQLState: e.SQLState, Message: "the server cannot read it as SQL"}
	}
	return err
}

// sessionZone returns the zone in which the server's session sees times: its
// name where that tells, the offset of now where it does not.
func sessionZone(session, system, diff string) *time.Location {
	if strings.EqualFold(session, "SYSTEM") {
		session = system
	}
	if zone, err := parseZone(session); err == nil {
		return zone
	}
	sign, rest := 1, diff
	if strings.HasPrefix(diff, "-") {
		sign, rest = -1, diff[1:]
	}
	var h, m, sec int
	if _, err := fmt.Sscanf(rest, "%d:%d:%d", &h, &m, &sec); err != nil {
		return time.UTC
	}
	return time.FixedZone(session, sign*(h*3600+m*60+sec))
}

// text is a value of the text protocol.
func text(v driver.Value) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case string:
		return v
	}
	return fmt.Sprint(v)
}

func (s *session) exec(ctx context.Context, sql string, args ...driver.Value) error {
	_, err := s.execResult(ctx, sql, args)
	return err
}

// execResult runs a statement; its arguments are put into the text where the
// driver can, which saves round trips.
func (s *session) execResult(ctx context.Context, sql string, args []driver.Value) (driver.Result, error) {
	res, err := s.conn.ExecContext(ctx, sql, named(args))
	if !errors.Is(err, driver.ErrSkip) {
		return res, err
	}
	stmt, err := s.statement(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	return stmt.ExecContext(ctx, named(args))
}

// stmt is what the driver's prepared statements can do.
type stmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func (s *session) statement(ctx context.Context, sql string) (stmt, error) {
	p, err := s.conn.PrepareContext(ctx, sql)
	if err != nil {
		return nil, err
	}
	full, ok := p.(stmt)
	if !ok {
		return nil, fmt.Errorf("a statement of type %T", p)
	}
	return full, nil
}

// row returns the first row of a query, io.EOF if there is none.
func (s *session) row(ctx context.Context, sql string, args ...driver.Value) ([]driver.Value, error) {
	rows, err := s.conn.QueryContext(ctx, sql, named(args))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(out); err != nil {
		return nil, err
	}
	for i, v := range out {
		if b, ok := v.([]byte); ok { // the driver's buffer
			out[i] = string(b)
		}
	}
	return out, nil
}

// Transactions are begun and ended by statements, since the driver's Commit
// knows no context. One that is not ended goes with its connection.
func (s *session) begin(ctx context.Context) error    { return s.exec(ctx, "START TRANSACTION") }
func (s *session) commit(ctx context.Context) error   { return s.exec(ctx, "COMMIT") }
func (s *session) rollback(ctx context.Context) error { return s.exec(ctx, "ROLLBACK") }

func (s *session) close() { _ = s.conn.Close() }

func named(args []driver.Value) []driver.NamedValue {
	if len(args) == 0 {
		return nil
	}
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return out
}

// isEmpty tells that a query had no row.
func isEmpty(err error) bool { return errors.Is(err, io.EOF) }
