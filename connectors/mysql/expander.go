package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"fresnel/connectors/expansion"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

const urnPrefix = "beam:transform:org.apache.beam:"

// Transforms implements expansion.Expander.
func (c *Connector) Transforms() []expansion.Transform {
	return append(c.schemaTransforms(),
		expansion.Transform{URN: urnPrefix + "schemaio_jdbc_read:v1", Expand: c.expandRead},
		expansion.Transform{URN: urnPrefix + "schemaio_jdbc_write:v1", Expand: c.expandWrite},
	)
}

// configSchema is the layout of the configuration that io.jdbc sends as bytes
// without a schema, as of Beam 2.77.0.
var configSchema = func() []coder.Field {
	str, i16, boolean := coder.Atomic(coder.TypeString), coder.Atomic(coder.TypeInt16), coder.Atomic(coder.TypeBoolean)
	return []coder.Field{
		{Name: "driver_class_name", Type: str},
		{Name: "jdbc_url", Type: str},
		{Name: "username", Type: str},
		{Name: "password", Type: str},
		{Name: "secret_manager", Type: str.OrNull()},
		{Name: "connection_properties", Type: str.OrNull()},
		{Name: "connection_init_sqls", Type: coder.ArrayOf(str).OrNull()},
		{Name: "read_query", Type: str.OrNull()},
		{Name: "write_statement", Type: str.OrNull()},
		{Name: "fetch_size", Type: i16.OrNull()},
		{Name: "disable_autocommit", Type: boolean.OrNull()},
		{Name: "output_parallelization", Type: boolean.OrNull()},
		{Name: "autosharding", Type: boolean.OrNull()},
		{Name: "partition_column", Type: str.OrNull()},
		{Name: "partitions", Type: i16.OrNull()},
		{Name: "max_connections", Type: i16.OrNull()},
		{Name: "driver_jars", Type: str.OrNull()},
		{Name: "write_batch_size", Type: coder.Atomic(coder.TypeInt64).OrNull()},
	}
}()

// addedLater are fields that older releases do not send, newest first.
var addedLater = []string{"secret_manager", "disable_autocommit"}

// jdbcConfig decodes the configuration of io.jdbc: the row tells by its number
// of fields which release wrote it.
func jdbcConfig(b []byte) (*expansion.Config, error) {
	count, _, err := coder.DecodeVarInt(b)
	fields := configSchema
	for _, name := range addedLater {
		if err != nil || count >= int64(len(fields)) {
			break
		}
		fields = without(fields, name)
	}
	if err != nil || count != int64(len(fields)) {
		return nil, &beam.Error{Code: beam.Unsupported, What: fmt.Sprintf("the configuration of io.jdbc has %d fields", count),
			Cure: "use apache-beam 2.77.0"}
	}
	return expansion.DecodeRow(&coder.Schema{Fields: fields}, b)
}

func without(fields []coder.Field, name string) []coder.Field {
	var out []coder.Field
	for _, f := range fields {
		if f.Name != name {
			out = append(out, f)
		}
	}
	return out
}

// connectConfig reads what all transforms have in common and checks it.
func connectConfig(config *expansion.Config) (connectSpec, error) {
	c := connectSpec{
		URL:        config.String("jdbc_url"),
		User:       config.String("username"),
		Password:   config.String("password"),
		Properties: config.String("connection_properties"),
	}
	for _, name := range []string{"connection_init_sqls", "connection_init_sql"} {
		c.Init = append(c.Init, config.Strings(name)...)
	}
	class, manager := config.String("driver_class_name"), config.String("secret_manager")
	// How Java's driver and its pool work inside.
	config.Ignore("driver_jars", "max_connections", "autosharding", "disable_autocommit", "disable_auto_commit", "fetch_size")
	switch class {
	case "", "com.mysql.cj.jdbc.Driver", "com.mysql.jdbc.Driver", "org.mariadb.jdbc.Driver":
	default:
		return c, &beam.Error{Code: beam.Unsupported, Where: "driver_class_name", What: fmt.Sprintf("Fresnel has no driver %q", class),
			Cure: "it has MySQL and MariaDB: com.mysql.cj.jdbc.Driver or org.mariadb.jdbc.Driver"}
	}
	if manager != "" {
		return c, &beam.Error{Code: beam.Unsupported, Where: "secret_manager", What: "Fresnel knows no secret managers",
			Cure: "give the password itself"}
	}
	_, err := parseURL(c.URL, c.User, c.Password, c.Properties)
	return c, err
}

// expandWrite expands io.jdbc's WriteToJdbc.
func (c *Connector) expandWrite(_ context.Context, r *expansion.Request) (*expansion.Expansion, error) {
	inner, err := jdbcConfig(r.Config.Bytes("config"))
	if err != nil {
		return nil, err
	}
	spec := writeSpec{Table: r.Config.String("location")}
	r.Config.Ignore("dataSchema")
	if spec.connectSpec, err = connectConfig(inner); err != nil {
		return nil, err
	}
	spec.Statement = strings.TrimSpace(inner.String("write_statement"))
	spec.BatchRows, _ = inner.Int("write_batch_size")
	spec.Connections, _ = inner.Int("max_connections")
	inner.Ignore("read_query", "partition_column", "partitions", "output_parallelization")
	for _, config := range []*expansion.Config{r.Config, inner} {
		if err := config.Err(); err != nil {
			return nil, err
		}
	}
	return expandSink(r, &spec)
}

// expandSink checks a write against its input and describes the native.
func expandSink(r *expansion.Request, spec *writeSpec) (*expansion.Expansion, error) {
	if spec.Statement == "" && spec.Table == "" {
		return nil, &beam.Error{Code: beam.InvalidPipeline, What: "neither a table nor a statement is given"}
	}
	if len(r.Inputs) != 1 {
		return nil, &beam.Error{Code: beam.InvalidPipeline, What: fmt.Sprintf("a write has one input, not %d", len(r.Inputs))}
	}
	in := r.Inputs[0]
	if in.Coder == nil || in.Coder.Kind() != coder.KindRow {
		return nil, notRows("of the coder " + in.CoderURN)
	}
	if _, err := rowFields(in.Coder); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return &expansion.Expansion{URN: WriteURN, Payload: payload}, nil
}

// expandRead expands io.jdbc's ReadFromJdbc.
func (c *Connector) expandRead(ctx context.Context, r *expansion.Request) (*expansion.Expansion, error) {
	inner, err := jdbcConfig(r.Config.Bytes("config"))
	if err != nil {
		return nil, err
	}
	spec := readSpec{Partition: inner.String("partition_column"), Schema: r.Config.Bytes("dataSchema")}
	spec.Parts, _ = inner.Int("partitions")
	if spec.connectSpec, err = connectConfig(inner); err != nil {
		return nil, err
	}
	spec.Query = readQuery(inner.String("read_query"), r.Config.String("location"))
	spread := !inner.Has("output_parallelization") || inner.Bool("output_parallelization")
	inner.Ignore("write_statement", "write_batch_size", "output_parallelization")
	for _, config := range []*expansion.Config{r.Config, inner} {
		if err := config.Err(); err != nil {
			return nil, err
		}
	}
	return expandSource(ctx, r.Name, &spec, spread)
}

// readQuery returns what is read: a query, or a whole table.
func readQuery(query, table string) string {
	if query = strings.TrimRight(strings.TrimSpace(query), "; \t\r\n"); query != "" {
		return query
	}
	if table == "" {
		return ""
	}
	return "SELECT * FROM " + table
}

// expandSource finds the schema of a read, unless the user gave one, and
// describes the native.
func expandSource(ctx context.Context, name string, spec *readSpec, spread bool) (*expansion.Expansion, error) {
	if spec.Query == "" {
		return nil, &beam.Error{Code: beam.InvalidPipeline, What: "neither a table nor a query is given"}
	}
	if len(spec.Schema) == 0 {
		if err := spec.inferSchema(ctx, name); err != nil {
			return nil, err
		}
	}
	schema, err := decodeSchema(spec.Schema)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return &expansion.Expansion{
		URN:     ReadURN,
		Payload: payload,
		Outputs: []expansion.Output{{Tag: "output", Coder: coder.RowCoder(schema)}},
		Bounded: true,
		// One connection reads; what follows should run everywhere.
		Redistribute: spread,
	}, nil
}

// expansionTimeout bounds how long a client waits for a database.
const expansionTimeout = 30 * time.Second

func (s *readSpec) inferSchema(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, expansionTimeout)
	defer cancel()
	db, err := s.database(name)
	if err != nil {
		return err
	}
	session, err := db.open(ctx)
	if err != nil {
		return err
	}
	defer session.close()
	fields, err := session.inferSchema(ctx, s.Query)
	if err != nil {
		return err
	}
	s.Schema, err = proto.Marshal(expansion.NewSchema(fields...).Proto())
	return err
}
