package kafka

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"fresnel/connectors/expansion"
	"fresnel/internal/beam"
	"fresnel/internal/coder"
)

const schemaPrefix = "beam:schematransform:org.apache.beam:"

// schemaTransforms are what Beam YAML and Managed use. Their fields are those
// of the Java transforms, by name.
func schemaTransforms() []expansion.Transform {
	str := coder.Atomic(coder.TypeString)
	boolean, i32 := coder.Atomic(coder.TypeBoolean).OrNull(), coder.Atomic(coder.TypeInt32).OrNull()
	updates := coder.MapOf(str, str).OrNull()
	errorHandling := coder.RowOf(expansion.NewSchema(coder.Field{Name: "output", Type: str})).OrNull()
	return []expansion.Transform{{
		URN:         schemaPrefix + "kafka_read:v1",
		Managed:     []string{schemaPrefix + "kafka_read:v1"},
		Rename:      map[string]string{"consumer_config": "consumer_config_updates"},
		Description: "Reads a Kafka topic into rows with one field, payload: bytes (format RAW) or text (format STRING).",
		Outputs:     []string{"output", "errors"},
		Expand:      expandReadRows,
		Schema: []coder.Field{
			{Name: "allow_duplicates", Type: boolean},
			{Name: "auto_offset_reset_config", Type: str.OrNull()},
			{Name: "bootstrap_servers", Type: str},
			{Name: "confluent_schema_registry_subject", Type: str.OrNull()},
			{Name: "confluent_schema_registry_url", Type: str.OrNull()},
			{Name: "consumer_config_updates", Type: updates},
			{Name: "error_handling", Type: errorHandling},
			{Name: "file_descriptor_path", Type: str.OrNull()},
			{Name: "format", Type: str.OrNull()},
			{Name: "max_read_time_seconds", Type: i32},
			{Name: "message_name", Type: str.OrNull()},
			{Name: "offset_deduplication", Type: boolean},
			{Name: "redistribute_by_record_key", Type: boolean},
			{Name: "redistribute_num_keys", Type: i32},
			{Name: "redistributed", Type: boolean},
			{Name: "schema", Type: str.OrNull()},
			{Name: "topic", Type: str},
		},
	}, {
		URN:         schemaPrefix + "kafka_write:v1",
		Managed:     []string{schemaPrefix + "kafka_write:v1"},
		Description: "Writes rows to a Kafka topic: their one field of bytes (format RAW), or the row as JSON.",
		Inputs:      []string{"input"},
		Outputs:     []string{"errors"},
		Expand:      expandWriteRows,
		Schema: []coder.Field{
			{Name: "bootstrap_servers", Type: str},
			{Name: "error_handling", Type: errorHandling},
			{Name: "file_descriptor_path", Type: str.OrNull()},
			{Name: "format", Type: str},
			{Name: "message_name", Type: str.OrNull()},
			{Name: "producer_config_updates", Type: updates},
			{Name: "schema", Type: str.OrNull()},
			{Name: "topic", Type: str},
		},
	}}
}

// unsupportedFormat refuses the formats that need a schema.
func unsupportedFormat(name, has, cure string) error {
	if name == "" {
		name = "AVRO" // the default of the Java transforms
	}
	return &beam.Error{Code: beam.Unsupported, Where: "format", What: fmt.Sprintf("Fresnel does not have the format %s here, but %s", name, has), Cure: cure}
}

// expandReadRows expands kafka_read.
func expandReadRows(_ context.Context, r *expansion.Request) (*expansion.Expansion, error) {
	c := r.Config
	c.Require("bootstrap_servers", "topic")
	spec := &readSpec{
		Consumer: map[string]string{"auto.offset.reset": c.String("auto_offset_reset_config")},
		Topics:   []string{c.String("topic")},
		Policy:   processingTime,
	}
	maps.Copy(spec.Consumer, c.StringMap("consumer_config_updates"))
	spec.Consumer["bootstrap.servers"] = c.String("bootstrap_servers")
	spec.MaxSeconds, _ = c.Int("max_read_time_seconds")
	switch name := strings.ToUpper(c.String("format")); name {
	case "RAW":
		spec.Format = format{Key: byteArray, Value: byteArray, Payload: true}
	case "STRING":
		spec.Format = format{Key: byteArray, Value: text, Payload: true}
	default:
		return nil, unsupportedFormat(name, "RAW and STRING", "read STRING and parse it in a Map")
	}
	redistribute := c.Bool("redistributed")
	c.Ignore("allow_duplicates", "offset_deduplication", "redistribute_by_record_key", "redistribute_num_keys")
	errorsTag := errorOutput(c)
	if err := c.Err(); err != nil {
		return nil, err
	}
	e, err := expandSource(spec, redistribute)
	if err == nil && errorsTag != "" {
		e.Empty = append(e.Empty, failedRows(errorsTag, coder.Atomic(coder.TypeBytes)))
	}
	return e, err
}

// errorOutput returns the tag that error_handling asks for, "" for none.
func errorOutput(c *expansion.Config) string {
	handling := c.Row("error_handling")
	if handling == nil {
		return ""
	}
	return handling.String("output")
}

// failedRows is the output for rows that cannot be read or written; here, none
// ever is.
func failedRows(tag string, row coder.FieldType) expansion.Output {
	return expansion.Output{Tag: tag, Coder: coder.RowCoder(expansion.NewSchema(
		coder.Field{Name: "failed_row", Type: row},
		coder.Field{Name: "error_message", Type: coder.Atomic(coder.TypeString)}))}
}

// expandWriteRows expands kafka_write.
func expandWriteRows(_ context.Context, r *expansion.Request) (*expansion.Expansion, error) {
	c := r.Config
	c.Require("bootstrap_servers", "topic", "format")
	spec := &writeSpec{Producer: map[string]string{}, Topic: c.String("topic"), Key: byteArray, Value: byteArray}
	maps.Copy(spec.Producer, c.StringMap("producer_config_updates"))
	spec.Producer["bootstrap.servers"] = c.String("bootstrap_servers")
	switch name := strings.ToUpper(c.String("format")); name {
	case "RAW", "JSON":
		spec.Rows = name
	default:
		return nil, unsupportedFormat(name, "RAW and JSON", "write RAW rows that hold the encoded bytes")
	}
	errorsTag := errorOutput(c)
	if errorsTag == "" {
		errorsTag = "errors"
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	e, err := expandSink(r, spec)
	if err == nil {
		e.Empty = append(e.Empty, failedRows(errorsTag, coder.RowOf(r.Inputs[0].Coder.Schema())))
	}
	return e, err
}
