package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	gomysql "github.com/go-sql-driver/mysql"

	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// writer implements connectors.Writer: it runs the statement for each row of an
// entry, in order, in one transaction.
type writer struct {
	*sink
	shard    int
	epoch    int64
	session  *session // nil: to be opened
	single   stmt     // the prepared statement, nil until it is needed
	progress *progress
	multi    *multiRow // nil: row by row
	used     time.Time // when the session was, last
}

// maxPlaceholders is the limit of the protocol for one statement.
const maxPlaceholders = 65_535

// connect opens the session and has the server check the statement.
func (w *writer) connect(ctx context.Context) error {
	var err error
	if w.session, err = w.open(ctx); err != nil {
		return err
	}
	err = w.settle(ctx)
	if err == nil {
		err = w.prepare(ctx)
	}
	if err != nil {
		w.drop()
		return err
	}
	w.used = time.Now()
	return nil
}

// settle makes the session fit for transactions, whatever the user's own
// statements have set.
func (w *writer) settle(ctx context.Context) error {
	if len(w.init) > 0 || len(w.target.config.Params) > 0 {
		if err := w.session.exec(ctx, "SET SESSION autocommit = 1"); err != nil {
			return w.explain(err, "set up the connection")
		}
	}
	if !w.durable {
		return nil
	}
	seconds := int64(max(w.silence/time.Second, 1))
	return w.explain(w.session.exec(ctx, "SET SESSION wait_timeout = ?", seconds), "set up the connection")
}

func (w *writer) prepare(ctx context.Context) error {
	s, err := w.session.statement(ctx, w.sql)
	if err != nil {
		return w.explain(err, "prepare the statement "+shorten(w.sql))
	}
	if n := s.NumInput(); n != len(w.fields) {
		return &beam.Error{Code: beam.InvalidPipeline, Where: w.name,
			What: fmt.Sprintf("the statement %s has %d placeholders, but the rows have %d fields", shorten(w.sql), n, len(w.fields)),
			Cure: "write one ? for each field, in the order of the fields"}
	}
	w.single = s
	return nil
}

// drop closes the connection: after an error its state is unknown.
func (w *writer) drop() {
	if w.session != nil {
		w.session.close()
	}
	w.session, w.single = nil, nil
}

// Close implements connectors.Writer.
func (w *writer) Close() error {
	w.drop()
	return nil
}

// Write implements connectors.Writer.
func (w *writer) Write(ctx context.Context, n int64, elements [][]byte) error {
	if w.durable && time.Since(w.used) > w.silence/2 {
		w.drop() // the server is about to
	}
	if w.session == nil {
		if err := w.connect(ctx); err != nil {
			return err
		}
	}
	rows, err := w.rows(elements)
	if err != nil {
		return err
	}
	multi := w.multi
	err = w.write(ctx, n, rows)
	if err != nil && multi != nil && !isTransient(err) && beam.CodeOf(err) != beam.Cancelled && ctx.Err() == nil {
		// Which row is it? One at a time they tell; and where they all pass,
		// this statement is none for many rows.
		w.multi = nil
		if err = w.again(ctx, n, rows); err != nil {
			w.multi = multi
		} else {
			w.log.Warn("the statement does not take many rows at once: it goes on row by row", "transform", w.name)
		}
	}
	if err != nil {
		w.drop()
		return w.explain(err, "write")
	}
	w.used = time.Now()
	return nil
}

// again writes over a new connection.
func (w *writer) again(ctx context.Context, n int64, rows [][]driver.Value) error {
	w.drop()
	if err := w.connect(ctx); err != nil {
		return err
	}
	return w.write(ctx, n, rows)
}

// rows decodes the elements of an entry into arguments.
func (w *writer) rows(elements [][]byte) ([][]driver.Value, error) {
	rows := make([][]driver.Value, len(elements))
	args := make([]driver.Value, len(elements)*len(w.fields))
	for i, b := range elements {
		rows[i], args = args[:len(w.fields):len(w.fields)], args[len(w.fields):]
		if err := w.decode(b, rows[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (w *writer) decode(b []byte, args []driver.Value) error {
	var e coder.Element
	if _, err := w.input.Scan(b, &e); err != nil {
		return w.badRow(err)
	}
	value := e.Value
	if w.prefix {
		content, _, err := coder.DecodeLengthPrefixed(value)
		if err != nil {
			return w.badRow(err)
		}
		value = content
	}
	v, _, err := w.row.Decode(value)
	if err != nil {
		return w.badRow(err)
	}
	row, ok := v.(coder.Row)
	if !ok || len(row.Values) != len(args) {
		return w.badRow(errors.New("it has not the fields of the schema"))
	}
	for i, f := range row.Values {
		if args[i], err = w.fields[i].value(f, w.session.zone); err != nil {
			return w.badRow(fmt.Errorf("field %s: %w", w.fields[i].name, err))
		}
	}
	return nil
}

func (w *writer) badRow(cause error) error {
	return &beam.Error{Code: beam.BadData, Where: w.name, What: "a row cannot be written", Cause: cause}
}

// write runs the transaction of an entry; after an error the connection, and
// with it the transaction, is dropped.
func (w *writer) write(ctx context.Context, n int64, rows [][]driver.Value) error {
	chunks := w.chunks(rows)
	if w.progress == nil && len(chunks) == 1 && (w.multi != nil || len(rows) == 1) {
		return w.run(ctx, chunks[0]) // one statement is a transaction
	}
	if err := w.session.begin(ctx); err != nil {
		return err
	}
	if w.progress != nil {
		there, err := w.session.advance(ctx, w.progress, w.epoch, n)
		if err != nil {
			return err
		}
		if there {
			return w.session.rollback(ctx)
		}
	}
	for _, chunk := range chunks {
		if err := w.run(ctx, chunk); err != nil {
			return err
		}
	}
	return w.session.commit(ctx)
}

// chunks divides rows into those of one statement each; row by row, all are
// one chunk.
func (w *writer) chunks(rows [][]driver.Value) [][][]driver.Value {
	if w.multi == nil {
		return [][][]driver.Value{rows}
	}
	var chunks [][][]driver.Value
	fixed := len(w.multi.tuple) + 1
	room := w.session.maxPacket - len(w.sql) - 1024
	start, bytes := 0, 0
	for i, row := range rows {
		need := fixed
		for _, v := range row {
			need += size(v)
		}
		if i > start && (bytes+need > room || (i-start+1)*len(row) > maxPlaceholders) {
			chunks = append(chunks, rows[start:i])
			start, bytes = i, 0
		}
		bytes += need
	}
	return append(chunks, rows[start:])
}

// run writes rows by one statement for all of them, or one for each.
func (w *writer) run(ctx context.Context, rows [][]driver.Value) error {
	if w.multi == nil || len(rows) == 1 {
		for _, row := range rows {
			if err := w.runOne(ctx, row); err != nil {
				return err
			}
		}
		return nil
	}
	args := make([]driver.Value, 0, len(rows)*len(w.fields))
	for _, row := range rows {
		args = append(args, row...)
	}
	return w.session.exec(ctx, w.multi.text(len(rows)), args...)
}

func (w *writer) runOne(ctx context.Context, row []driver.Value) error {
	_, err := w.single.ExecContext(ctx, named(row))
	var refusal *gomysql.MySQLError
	if err != nil && !isTransient(err) && (errors.As(err, &refusal) || errors.Is(err, gomysql.ErrPktTooLarge)) {
		return &beam.Error{Code: beam.Rejected, Where: w.name, Cause: err, Cure: cureOf(err),
			What: fmt.Sprintf("%s refused the row (%s) of %s", w.target.name(), rowText(w.fields, row), shorten(w.sql))}
	}
	return err
}
