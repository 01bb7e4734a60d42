"""Builds pipelines with external transforms of an unmodified Beam and prints their protos as JSON lines.

usage: expand.py HOST:PORT CASE [ARGUMENT...]
"""
import json
import sys
import typing

import apache_beam as beam
from apache_beam import coders
from apache_beam.io.jdbc import ReadFromJdbc, WriteToJdbc
from apache_beam.io.kafka import ReadFromKafka, WriteToKafka
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import portable_runner
from google.protobuf import json_format

service = sys.argv[1]


class Access(typing.NamedTuple):
  province: str
  count: int
  size: typing.Optional[float]


coders.registry.register_coder(Access, coders.RowCoder)


def kafka_read(p, **kwargs):
  kwargs.setdefault('topics', ['access_log'])
  kwargs.setdefault('consumer_config', {'bootstrap.servers': 'localhost:9092', 'auto.offset.reset': 'earliest'})
  return p | 'Read' >> ReadFromKafka(expansion_service=service, **kwargs)


def show(pc):
  fields = getattr(pc.element_type, '__annotations__', None)
  print(json.dumps({'type': str(fields or pc.element_type)}))
  return pc


def jdbc(p, **kwargs):
  kwargs.setdefault('jdbc_url', 'jdbc:mysql://localhost:3306/cdn')
  kwargs.setdefault('driver_class_name', 'com.mysql.cj.jdbc.Driver')
  kwargs.setdefault('statement', 'INSERT INTO access VALUES (?, ?, ?)')
  rows = p | beam.Create([Access('x', 1, None)]).with_output_types(Access)
  return rows | 'Write' >> WriteToJdbc('access', username='u', password='secret-word', expansion_service=service, **kwargs)


def text(p):
  lines = p | beam.Create(['a'])
  return lines | 'Write' >> WriteToJdbc(
      'access', 'com.mysql.cj.jdbc.Driver', 'jdbc:mysql://localhost/cdn', 'u', 'secret-word', expansion_service=service)


CASES = {
    'kafka_read': lambda p: show(kafka_read(p)) | beam.Map(print),
    'kafka_read_text': lambda p: show(kafka_read(
        p, key_deserializer='org.apache.kafka.common.serialization.LongDeserializer',
        value_deserializer='org.apache.kafka.common.serialization.StringDeserializer')) | beam.Map(print),
    'kafka_read_metadata': lambda p: show(kafka_read(p, with_metadata=True)) | beam.Map(print),
    'kafka_read_bounded': lambda p: show(kafka_read(p, max_num_records=10, redistribute=True)) | beam.Map(print),
    'kafka_read_twice': lambda p: (
        (kafka_read(p), p | 'Other' >> ReadFromKafka(
            {'bootstrap.servers': 'localhost:9092'}, ['b'], with_metadata=True, expansion_service=service)),
        )[0][0] | beam.Map(print),
    'kafka_read_avro': lambda p: kafka_read(p, value_deserializer='io.confluent.KafkaAvroDeserializer'),
    'kafka_read_nowhere': lambda p: kafka_read(p, consumer_config={}),
    'kafka_read_commit': lambda p: kafka_read(p, commit_offset_in_finalize=True),
    'kafka_write': lambda p: p | beam.Create([(b'k', b'v')]).with_output_types(typing.Tuple[bytes, bytes])
    | 'Write' >> WriteToKafka({'bootstrap.servers': 'localhost:9092'}, 'out', expansion_service=service),
    'kafka_write_headers': lambda p: p | beam.Create([1]) | beam.Map(
        lambda i: beam.Row(key=b'k', value=b'v', headers=[beam.Row(key='h', value=b'x')])).with_output_types(
            beam.typehints.row_type.RowTypeConstraint.from_fields([
                ('key', bytes), ('value', bytes),
                ('headers', typing.List[beam.typehints.row_type.RowTypeConstraint.from_fields(
                    [('key', str), ('value', bytes)])])]))
    | 'Write' >> WriteToKafka(
        {'bootstrap.servers': 'localhost:9092'}, 'out', with_headers=True, expansion_service=service),
    'kafka_write_untyped': lambda p: p | beam.Create(['x']) | 'Write' >> WriteToKafka(
        {'bootstrap.servers': 'localhost:9092'}, 'out', expansion_service=service),
    'jdbc_write': jdbc,
    'jdbc_write_postgres': lambda p: jdbc(
        p, jdbc_url='jdbc:postgresql://localhost/x', driver_class_name='org.postgresql.Driver'),
    'jdbc_write_text': text,
    'jdbc_read': lambda p: show(p | 'Read' >> ReadFromJdbc(
        sys.argv[4], 'com.mysql.cj.jdbc.Driver', sys.argv[3], '', '', expansion_service=service)) | beam.Map(print),
}

options = PipelineOptions(['--runner=PortableRunner', '--job_endpoint=localhost:1', '--environment_type=LOOPBACK'])
try:
  p = beam.Pipeline(options=options)
  CASES[sys.argv[2]](p)
  proto = portable_runner.PortableRunner.get_proto_pipeline(p, options)
  print(json.dumps(json_format.MessageToDict(proto)))
except Exception as e:  # the message is what a user sees
  print(json.dumps({'error': str(e)}))
