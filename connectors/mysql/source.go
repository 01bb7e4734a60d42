package mysql

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"google.golang.org/protobuf/proto"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// readSpec is the payload of a native read.
type readSpec struct {
	connectSpec
	Query string `json:"query"`
	// Schema is that of the rows, as an encoded schema proto, fixed when the
	// read was expanded.
	Schema []byte `json:"schema"`
	// Partition is a column of whole numbers by which the read is split.
	Partition string `json:"partition,omitempty"`
	// Parts is the number of splits wanted; 0: the default.
	Parts int64 `json:"parts,omitempty"`
}

const (
	defaultParts = 4
	maxParts     = 1000
)

// source implements connectors.Source: one split, or one for each range of the
// partition column.
type source struct {
	*database
	spec   readSpec
	schema *coder.Schema
	coder  *coder.Coder
}

func newSource(t connectors.Transform, log *slog.Logger) (*source, error) {
	s := &source{}
	if err := json.Unmarshal(t.Payload, &s.spec); err != nil {
		return nil, badPayload()
	}
	var err error
	if s.database, err = s.spec.database(t.Name); err != nil {
		return nil, err
	}
	if len(s.target.ignored) > 0 {
		log.Warn("connection properties without effect", "transform", t.Name, "properties", s.target.ignored)
	}
	if s.schema, err = decodeSchema(s.spec.Schema); err != nil {
		return nil, err
	}
	s.coder = coder.RowCoder(s.schema)
	return s, nil
}

func decodeSchema(b []byte) (*coder.Schema, error) {
	var p pipepb.Schema
	if err := proto.Unmarshal(b, &p); err != nil {
		return nil, badPayload()
	}
	return coder.SchemaFromProto(&p)
}

// Bounded implements connectors.Source.
func (s *source) Bounded() bool { return true }

// Close implements connectors.Source: readers own the connections.
func (s *source) Close() error { return nil }

// Committed implements connectors.Source: nobody outside follows a read.
func (s *source) Committed(context.Context, connectors.Split, []byte) error { return nil }

// Splits implements connectors.Source.
func (s *source) Splits(ctx context.Context) ([]connectors.Split, error) {
	session, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer session.close()
	if s.spec.Partition == "" {
		if _, err := session.columns(ctx, s.spec.Query); err != nil {
			return nil, s.explain(err, "run the query "+shorten(s.spec.Query))
		}
		return []connectors.Split{{ID: "all", Start: rowPosition(0)}}, nil
	}
	row, err := session.row(ctx, fmt.Sprintf("SELECT MIN(%[1]s), MAX(%[1]s) FROM (%[2]s) AS fresnel", quoteName(s.spec.Partition), s.spec.Query))
	if err != nil {
		return nil, s.explain(err, "find the range of the column "+s.spec.Partition)
	}
	return s.ranges(row[0], row[1])
}

// ranges divides the numbers of the partition column; rows where it is NULL
// are in the first.
func (s *source) ranges(least, most any) ([]connectors.Split, error) {
	if least == nil || most == nil {
		return []connectors.Split{{ID: "all", Start: rowPosition(0)}}, nil
	}
	from, err := integerOf(least)
	to, err2 := integerOf(most)
	if err != nil || err2 != nil {
		return nil, &beam.Error{Code: beam.Unsupported, Where: s.name, What: fmt.Sprintf("the column %s does not hold whole numbers", s.spec.Partition),
			Cure: "name another as partition_column, or none"}
	}
	parts := s.spec.Parts
	if parts <= 0 {
		parts = defaultParts
	}
	width := uint64(to) - uint64(from)
	step := width/uint64(min(parts, maxParts)) + 1
	var splits []connectors.Split
	for at := uint64(0); at <= width; at += step {
		id := ""
		if at > 0 {
			id = strconv.FormatInt(int64(uint64(from)+at), 10)
		}
		id += ".."
		if width-at >= step {
			id += strconv.FormatInt(int64(uint64(from)+at+step), 10)
		}
		splits = append(splits, connectors.Split{ID: id, Start: rowPosition(0)})
		if width-at < step {
			break
		}
	}
	return splits, nil
}

// query returns the query of a split: its id is "all" or "from..to", where
// either end may be open and to is excluded.
func (s *source) query(id string) (string, error) {
	if id == "all" {
		return s.spec.Query, nil
	}
	from, to, ok := strings.Cut(id, "..")
	column := quoteName(s.spec.Partition)
	var conditions []string
	for _, end := range []struct{ number, condition string }{{from, column + " >= "}, {to, column + " < "}} {
		if end.number == "" {
			continue
		}
		if _, err := strconv.ParseInt(end.number, 10, 64); err != nil {
			ok = false
		}
		conditions = append(conditions, end.condition+end.number)
	}
	if !ok {
		return "", &beam.Error{Code: beam.Internal, Where: s.name, What: fmt.Sprintf("%q is no split of this source", id)}
	}
	if len(conditions) == 0 {
		return s.spec.Query, nil
	}
	where := strings.Join(conditions, " AND ")
	if from == "" {
		where = "(" + where + " OR " + column + " IS NULL)"
	}
	return fmt.Sprintf("SELECT * FROM (%s) AS fresnel WHERE %s", s.spec.Query, where), nil
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// A position is the number of rows that were returned.
func rowPosition(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// Open implements connectors.Source. A query has no offsets: to go on, it is
// run again and the rows that were returned are passed over. That is right as
// long as the server returns them in the same order, which InnoDB does while
// the table does not change, and ORDER BY makes it do.
func (s *source) Open(_ context.Context, split connectors.Split, position []byte) (connectors.Reader, error) {
	query, err := s.query(split.ID)
	if err != nil {
		return nil, err
	}
	if len(position) != 8 {
		return nil, &beam.Error{Code: beam.Internal, Where: s.name, What: fmt.Sprintf("a position of %d bytes", len(position))}
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &reader{source: s, query: query, rows: int64(binary.BigEndian.Uint64(position)), ctx: ctx, cancel: cancel}, nil
}
