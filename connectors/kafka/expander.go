package kafka

import (
	"context"
	"encoding/json"
	"fmt"

	"fresnel/connectors/expansion"
	"fresnel/internal/beam"
)

const urnPrefix = "beam:transform:org.apache.beam:"

// Transforms implements expansion.Expander.
func (c *Connector) Transforms() []expansion.Transform {
	return append(schemaTransforms(),
		expansion.Transform{URN: urnPrefix + "kafka_read_without_metadata:v1", Expand: c.expandRead(false)},
		expansion.Transform{URN: urnPrefix + "kafka_read_with_metadata:v1", Expand: c.expandRead(true)},
		expansion.Transform{URN: urnPrefix + "kafka_write:v1", Expand: expandWrite(false)},
		expansion.Transform{URN: urnPrefix + "kafka_write_with_headers:v1", Expand: expandWrite(true)},
	)
}

// expandRead expands ReadFromKafka.
func (c *Connector) expandRead(withMetadata bool) func(context.Context, *expansion.Request) (*expansion.Expansion, error) {
	return func(_ context.Context, r *expansion.Request) (*expansion.Expansion, error) {
		spec, redistribute, err := c.readConfig(r.Config, withMetadata)
		if err != nil {
			return nil, err
		}
		return expandSource(spec, redistribute)
	}
}

// readConfig reads the configuration of ReadFromKafka.
func (c *Connector) readConfig(config *expansion.Config, withMetadata bool) (*readSpec, bool, error) {
	spec := &readSpec{
		Consumer: config.StringMap("consumer_config"),
		Topics:   config.Strings("topics"),
		Policy:   policy(config.String("timestamp_policy")),
		Commit:   config.Bool("commit_offset_in_finalize"),
	}
	if spec.Policy == "" {
		spec.Policy = processingTime
	}
	var err error
	if spec.Format, err = readFormat(config, withMetadata); err != nil {
		return nil, false, err
	}
	if at, ok := config.Int("start_read_time"); ok {
		spec.StartTime = &at
	}
	spec.MaxRecords, _ = config.Int("max_num_records")
	spec.MaxSeconds, _ = config.Int("max_read_time")
	redistribute := config.Bool("redistribute")
	// How Java polls, how Dataflow deduplicates: nothing that shows here.
	config.Ignore("consumer_polling_timeout", "redistribute_num_keys", "allow_duplicates",
		"offset_deduplication", "redistribute_by_record_key")
	spec.PollSeconds, _ = config.Int("dynamic_read_poll_interval_seconds")
	return spec, redistribute, config.Err()
}

func readFormat(config *expansion.Config, withMetadata bool) (format, error) {
	key, err := parseSerde(config.String("key_deserializer"), "Deserializer")
	if err != nil {
		return format{}, err
	}
	value, err := parseSerde(config.String("value_deserializer"), "Deserializer")
	if err != nil {
		return format{}, err
	}
	if withMetadata && (key != byteArray || value != byteArray) {
		return format{}, &beam.Error{Code: beam.Unsupported, Where: "with_metadata",
			What: "keys and values can only be read as bytes together with the metadata", Cure: "use ByteArrayDeserializer for both"}
	}
	return format{Key: key, Value: value, Metadata: withMetadata}, nil
}

// expandSource checks a read and describes its native transform.
func expandSource(spec *readSpec, redistribute bool) (*expansion.Expansion, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	if _, err := parseConsumer(spec.Consumer); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return &expansion.Expansion{
		URN:          ReadURN,
		Payload:      payload,
		Outputs:      []expansion.Output{{Tag: "output", Coder: spec.Format.coder()}},
		Bounded:      spec.bounded(),
		Redistribute: redistribute,
	}, nil
}

// expandWrite expands WriteToKafka.
func expandWrite(withHeaders bool) func(context.Context, *expansion.Request) (*expansion.Expansion, error) {
	return func(_ context.Context, r *expansion.Request) (*expansion.Expansion, error) {
		spec := &writeSpec{
			Producer: r.Config.StringMap("producer_config"),
			Topic:    r.Config.String("topic"),
			Headers:  withHeaders,
		}
		var err error
		if spec.Key, err = parseSerde(r.Config.String("key_serializer"), "Serializer"); err != nil {
			return nil, err
		}
		if spec.Value, err = parseSerde(r.Config.String("value_serializer"), "Serializer"); err != nil {
			return nil, err
		}
		if err := r.Config.Err(); err != nil {
			return nil, err
		}
		return expandSink(r, spec)
	}
}

// expandSink checks a write against its input and describes the native.
func expandSink(r *expansion.Request, spec *writeSpec) (*expansion.Expansion, error) {
	if len(r.Inputs) != 1 {
		return nil, &beam.Error{Code: beam.InvalidPipeline, What: fmt.Sprintf("a write has one input, not %d", len(r.Inputs))}
	}
	if spec.Topic == "" && !spec.Headers {
		return nil, &beam.Error{Code: beam.InvalidPipeline, Where: "topic", What: "the setting is missing"}
	}
	if _, err := parseProducer(spec.Producer); err != nil {
		return nil, err
	}
	if _, err := newInput(r.Inputs[0].Coder, spec); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return &expansion.Expansion{URN: WriteURN, Payload: payload}, nil
}
