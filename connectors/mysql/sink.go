package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"fresnel/connectors"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

// connectSpec is how both natives reach their database; it holds a password.
type connectSpec struct {
	URL        string   `json:"url"`
	User       string   `json:"user,omitempty"`
	Password   string   `json:"password,omitempty"`
	Properties string   `json:"properties,omitempty"`
	Init       []string `json:"init,omitempty"`
}

func (c *connectSpec) database(name string) (*database, error) {
	t, err := parseURL(c.URL, c.User, c.Password, c.Properties)
	if err != nil {
		return nil, err
	}
	return &database{name: name, target: t, init: c.Init}, nil
}

// writeSpec is the payload of a native write.
type writeSpec struct {
	connectSpec
	// Statement has a placeholder for each field of the rows; without one, rows
	// are inserted into Table.
	Statement string `json:"statement,omitempty"`
	Table     string `json:"table,omitempty"`
	// Named lists the columns in the statement that is made for Table.
	Named bool `json:"named,omitempty"`
	// BatchRows bounds an entry; 0: the default.
	BatchRows int64 `json:"batchRows,omitempty"`
	// Connections bounds the number of shards; 0: the default.
	Connections int64 `json:"connections,omitempty"`
}

const (
	defaultRows   = 1000 // as JdbcIO's batches
	maxRows       = 100_000
	maxEntryBytes = 2 << 20
	defaultShards = 4
)

// sink implements connectors.Sink.
type sink struct {
	*database
	log     *slog.Logger
	spec    writeSpec
	job     string
	durable bool // progress is kept
	input   *coder.Windowed
	row     *coder.Coder // of the elements' values
	prefix  bool         // the rows are length-prefixed
	fields  []binding
	sql     string
	multi   *multiRow // nil: row by row
	// silence is ownerSilence, but in tests.
	silence time.Duration
	warned  sync.Once // that the table has no transactions
}

func newSink(t connectors.Transform, log *slog.Logger) (*sink, error) {
	s := &sink{log: log, job: t.Job, input: t.Input, silence: ownerSilence}
	if err := json.Unmarshal(t.Payload, &s.spec); err != nil {
		return nil, badPayload()
	}
	var err error
	if s.database, err = s.spec.database(t.Name); err != nil {
		return nil, err
	}
	s.durable = t.Durable && !s.target.atLeastOnce
	if len(s.target.ignored) > 0 {
		log.Warn("connection properties without effect", "transform", t.Name, "properties", s.target.ignored)
	}
	if t.Input == nil {
		return nil, &beam.Error{Code: beam.Internal, What: "a sink without the coder of its input"}
	}
	s.row = t.Input.Value()
	if s.row.Kind() == coder.KindLengthPrefix {
		s.row, s.prefix = s.row.Component(0), true
	}
	if s.fields, err = rowFields(s.row); err != nil {
		return nil, err
	}
	s.sql = s.spec.statement(s.fields)
	if m, ok := parseMultiRow(s.sql); ok && m.perRow == len(s.fields) {
		s.multi = &m
	}
	return s, nil
}

func badPayload() error {
	// The cause would quote the payload, which holds a password.
	return &beam.Error{Code: beam.InvalidPipeline, What: "the payload of the transform cannot be decoded",
		Cure: "expand the pipeline with the expansion service of this version of Fresnel"}
}

// rowFields returns how the fields of rows are bound; rows alone can be written.
func rowFields(c *coder.Coder) ([]binding, error) {
	if c == nil || c.Kind() != coder.KindRow || c.Schema() == nil {
		return nil, notRows("of another coder")
	}
	return bindings(c.Schema())
}

func notRows(what string) error {
	return &beam.Error{Code: beam.InvalidPipeline, What: "the elements to write are not rows, but " + what,
		Cure: "make them rows with beam.Select or beam.Map(lambda x: beam.Row(name=str(x))), or give the Map " +
			"with_output_types of a NamedTuple that is registered with coders.registry.register_coder(T, coders.RowCoder)"}
}

// statement returns what is run for each row.
func (s *writeSpec) statement(fields []binding) string {
	if s.Statement != "" {
		return s.Statement
	}
	marks := strings.TrimSuffix(strings.Repeat("?,", len(fields)), ",")
	if !s.Named {
		return fmt.Sprintf("INSERT INTO %s VALUES(%s)", s.Table, marks)
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = "`" + strings.ReplaceAll(f.name, "`", "``") + "`"
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES(%s)", s.Table, strings.Join(names, ", "), marks)
}

// Shards implements connectors.Sink.
func (s *sink) Shards() int {
	if s.spec.Connections > 0 {
		return int(min(s.spec.Connections, defaultShards))
	}
	return defaultShards
}

// MaxEntry implements connectors.Sink.
func (s *sink) MaxEntry() (rows, bytes int) {
	rows = defaultRows
	if s.spec.BatchRows > 0 {
		rows = int(min(s.spec.BatchRows, maxRows))
	}
	return rows, maxEntryBytes
}

// Open implements connectors.Sink.
func (s *sink) Open(ctx context.Context, shard int, epoch int64) (connectors.Writer, int64, error) {
	w := &writer{sink: s, shard: shard, epoch: epoch, multi: s.multi}
	if err := w.connect(ctx); err != nil {
		return nil, 0, err
	}
	if !s.durable {
		return w, connectors.NoProgress, nil
	}
	p, last, err := w.session.claim(ctx, progressKey{s.job, s.name, shard}, epoch)
	if err != nil {
		_ = w.Close()
		return nil, 0, err
	}
	s.warned.Do(func() { s.checkEngine(ctx, w.session) })
	w.progress = p
	return w, last, nil
}

// Probe implements connectors.Prober: it has the server check user, database
// and statement.
func (s *sink) Probe(ctx context.Context) error {
	w := &writer{sink: s}
	defer w.drop()
	return w.connect(ctx)
}

// checkEngine warns where rows and progress cannot be one transaction.
func (s *sink) checkEngine(ctx context.Context, in *session) {
	if s.multi == nil || len(s.multi.table) == 0 {
		return // not known
	}
	schema, table := "", s.multi.table[len(s.multi.table)-1]
	if len(s.multi.table) > 1 {
		schema = s.multi.table[0]
	}
	row, err := in.row(ctx, "SELECT t.ENGINE, e.TRANSACTIONS FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE "+
		"WHERE t.TABLE_SCHEMA = IF(? = '', DATABASE(), ?) AND t.TABLE_NAME = ?", schema, schema, table)
	if err == nil && text(row[1]) != "YES" {
		s.log.Warn("the table has no transactions: rows can be written twice after a failure", "transform", s.name, "table", table,
			"engine", text(row[0]), "cure", "ALTER TABLE "+table+" ENGINE=InnoDB")
	}
}

// Close implements connectors.Sink: the writers own the connections.
func (s *sink) Close() error { return nil }
