package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// reader implements connectors.Reader. The rows come as a stream, so that a
// result of any size needs no memory; a goroutine takes them off the connection
// in batches, one ahead of Read, and ends with the reader's context.
type reader struct {
	*source
	query  string
	rows   int64 // returned so far
	ctx    context.Context
	cancel context.CancelFunc
	ahead  chan batch // nil: the stream is to be opened
	done   bool
}

// batch is what the stream gave: rows, then an error or the end.
type batch struct {
	elements []byte
	count    int
	done     bool
	err      error
}

// Read implements connectors.Reader. Rows have no event time, as in JdbcIO: the
// watermark stays at the beginning until the end.
func (r *reader) Read(ctx context.Context, maxBytes int, maxWait time.Duration) (connectors.Batch, error) {
	if r.done {
		return connectors.Batch{Done: true, Watermark: beam.MaxEventTime, Position: rowPosition(r.rows)}, nil
	}
	if r.ahead == nil {
		r.ahead = make(chan batch)
		go r.stream(r.ctx, r.ahead, maxBytes, r.rows)
	}
	out := connectors.Batch{MinTimestamp: beam.MaxEventTime, Watermark: beam.MinEventTime, BacklogBytes: -1, BacklogRecords: -1}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case b := <-r.ahead:
		if b.err != nil {
			r.ahead = nil
			return connectors.Batch{}, r.explain(b.err, "run the query "+shorten(r.query))
		}
		r.rows += int64(b.count)
		out.Elements, out.Count = b.elements, b.count
		if out.Count > 0 {
			out.MinTimestamp = beam.MinEventTime
		}
		if b.done {
			r.done = true
			out.Done, out.Watermark = true, beam.MaxEventTime
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	out.Position = rowPosition(r.rows)
	return out, nil
}

// Close implements connectors.Reader.
func (r *reader) Close() error {
	r.cancel()
	return nil
}

// stream runs the query and hands its rows over until they end.
func (r *reader) stream(ctx context.Context, out chan<- batch, maxBytes int, skip int64) {
	send := func(b batch) bool {
		select {
		case out <- b:
			return true
		case <-ctx.Done():
			return false
		}
	}
	s, err := r.open(ctx)
	if err != nil {
		send(batch{err: err})
		return
	}
	defer s.close()
	rows, err := s.start(ctx, r.query)
	if err != nil {
		send(batch{err: err})
		return
	}
	f := r.newFiller(s, rows, skip)
	for {
		b := f.fill(maxBytes)
		if !send(b) || b.done || b.err != nil {
			return
		}
	}
}

// start runs a query whose rows may be taken slowly.
func (s *session) start(ctx context.Context, query string) (driver.Rows, error) {
	if err := s.exec(ctx, "SET SESSION net_write_timeout = 86400"); err != nil {
		return nil, err
	}
	return s.conn.QueryContext(ctx, query, nil)
}

// filler turns rows into elements.
type filler struct {
	*reader
	result     driver.Rows
	skip       int64
	header     []byte
	values     []driver.Value
	row        coder.Row
	converters []converter
}

func (r *reader) newFiller(s *session, rows driver.Rows, skip int64) *filler {
	f := &filler{reader: r, result: rows, skip: skip, row: coder.Row{Schema: r.schema, Values: make([]any, len(r.schema.Fields))},
		header: coder.AppendHeader(nil, beam.MinEventTime, 1, nil, beam.NoFiring), values: make([]driver.Value, len(rows.Columns()))}
	for _, field := range r.schema.Fields {
		f.converters = append(f.converters, newConverter(field.Type, s.zone, r.target.zeroIsNull))
	}
	return f
}

// fill returns the next rows, up to about maxBytes. The end comes with the last
// of them; an error comes alone, and the rows before it come again.
func (f *filler) fill(maxBytes int) batch {
	var b batch
	if len(f.values) != len(f.converters) {
		return batch{err: &beam.Error{Code: beam.Rejected, Where: f.name, Cure: "submit the pipeline again",
			What: fmt.Sprintf("the query returns %d columns, but it had %d when the pipeline was made", len(f.values), len(f.converters))}}
	}
	for len(b.elements) < maxBytes {
		err := f.result.Next(f.values)
		switch {
		case isEmpty(err):
			b.done = true
			return b
		case err != nil:
			return batch{err: err}
		case f.skip > 0:
			f.skip--
			continue
		}
		if b.elements, err = f.append(b.elements); err != nil {
			return batch{err: err}
		}
		b.count++
	}
	return b
}

func (f *filler) append(dst []byte) ([]byte, error) {
	for i, convert := range f.converters {
		v, err := convert(f.values[i])
		if err == nil && v == nil && !f.schema.Fields[i].Type.Nullable {
			err = errors.New("it is NULL where the schema allows none")
		}
		if err != nil {
			return nil, f.badValue(i, err)
		}
		f.row.Values[i] = v
	}
	return f.coder.Append(append(dst, f.header...), f.row)
}

func (f *filler) badValue(i int, err error) error {
	cure := ""
	if errors.Is(err, errZeroDate) {
		cure = "set zeroDateTimeBehavior=CONVERT_TO_NULL in jdbc_url"
	}
	return &beam.Error{Code: beam.BadData, Where: f.name, What: "the column " + f.schema.Fields[i].Name + " cannot be read", Cause: err, Cure: cure}
}
