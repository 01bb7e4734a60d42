package mysql

import (
	"context"

	"fresnel/connectors/expansion"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

const schemaPrefix = "beam:schematransform:org.apache.beam:"

// schemaTransforms are what Beam YAML and Managed use. Their fields are those
// of the Java transforms, by name.
func (c *Connector) schemaTransforms() []expansion.Transform {
	var out []expansion.Transform
	for _, kind := range []string{"jdbc", "mysql"} {
		read, write := schemaPrefix+kind+"_read:v1", schemaPrefix+kind+"_write:v1"
		out = append(out, expansion.Transform{
			URN:         read,
			Managed:     []string{read},
			Description: "Reads the rows of a table, or of a query, from MySQL or MariaDB.",
			Outputs:     []string{"output"},
			Expand:      expandReadRows,
			Schema:      readFields(),
		}, expansion.Transform{
			URN:         write,
			Managed:     []string{write},
			Description: "Writes rows to a table of MySQL or MariaDB, or runs a statement for each.",
			Inputs:      []string{"input"},
			Outputs:     []string{"post_write"},
			Expand:      expandWriteRows,
			Schema:      writeFields(),
		})
	}
	return out
}

// The types of configuration fields.
var (
	required   = coder.Atomic(coder.TypeString)
	optional   = required.OrNull()
	optBool    = coder.Atomic(coder.TypeBoolean).OrNull()
	optInt32   = coder.Atomic(coder.TypeInt32).OrNull()
	optStrings = coder.ArrayOf(required).OrNull()
)

func readFields() []coder.Field {
	return []coder.Field{
		{Name: "connection_init_sql", Type: optStrings},
		{Name: "connection_properties", Type: optional},
		{Name: "disable_auto_commit", Type: optBool},
		{Name: "driver_class_name", Type: optional},
		{Name: "driver_jars", Type: optional},
		{Name: "fetch_size", Type: optInt32},
		{Name: "jdbc_type", Type: optional},
		{Name: "jdbc_url", Type: required},
		{Name: "location", Type: optional},
		{Name: "num_partitions", Type: optInt32},
		{Name: "output_parallelization", Type: optBool},
		{Name: "partition_column", Type: optional},
		{Name: "password", Type: optional},
		{Name: "read_query", Type: optional},
		{Name: "secret_manager", Type: optional},
		{Name: "username", Type: optional},
	}
}

func writeFields() []coder.Field {
	return []coder.Field{
		{Name: "autosharding", Type: optBool},
		{Name: "batch_size", Type: coder.Atomic(coder.TypeInt64).OrNull()},
		{Name: "connection_init_sql", Type: optStrings},
		{Name: "connection_properties", Type: optional},
		{Name: "driver_class_name", Type: optional},
		{Name: "driver_jars", Type: optional},
		{Name: "jdbc_type", Type: optional},
		{Name: "jdbc_url", Type: required},
		{Name: "location", Type: optional},
		{Name: "password", Type: optional},
		{Name: "secret_manager", Type: optional},
		{Name: "username", Type: optional},
		{Name: "write_statement", Type: optional},
	}
}

// expandReadRows expands jdbc_read and mysql_read.
func expandReadRows(ctx context.Context, r *expansion.Request) (*expansion.Expansion, error) {
	c := r.Config
	c.Require("jdbc_url")
	connect, err := connectConfig(c)
	if err != nil {
		return nil, err
	}
	c.Ignore("jdbc_type") // the URL tells
	query, table := c.String("read_query"), c.String("location")
	if query != "" && table != "" {
		return nil, &beam.Error{Code: beam.InvalidPipeline, Where: "read_query", What: "a table and a query are given", Cure: "give one of them"}
	}
	spec := readSpec{connectSpec: connect, Query: readQuery(query, table), Partition: c.String("partition_column")}
	spec.Parts, _ = c.Int("num_partitions")
	spread := !c.Has("output_parallelization") || c.Bool("output_parallelization")
	c.Ignore("output_parallelization")
	if err := c.Err(); err != nil {
		return nil, err
	}
	return expandSource(ctx, r.Name, &spec, spread)
}

// expandWriteRows expands jdbc_write and mysql_write.
func expandWriteRows(_ context.Context, r *expansion.Request) (*expansion.Expansion, error) {
	c := r.Config
	c.Require("jdbc_url")
	connect, err := connectConfig(c)
	if err != nil {
		return nil, err
	}
	c.Ignore("jdbc_type") // the URL tells
	spec := writeSpec{connectSpec: connect, Statement: c.String("write_statement"), Table: c.String("location"), Named: true}
	if spec.Statement != "" && spec.Table != "" {
		return nil, &beam.Error{Code: beam.InvalidPipeline, Where: "write_statement", What: "a table and a statement are given", Cure: "give one of them"}
	}
	spec.BatchRows, _ = c.Int("batch_size")
	if err := c.Err(); err != nil {
		return nil, err
	}
	e, err := expandSink(r, &spec)
	if err == nil {
		e.Outputs = []expansion.Output{{Tag: "post_write", Coder: coder.RowCoder(expansion.NewSchema())}}
	}
	return e, err
}
