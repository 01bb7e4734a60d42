"""Builds pipelines with external transforms of an unmodified Beam and prints their protos as JSON lines.

usage: expand.py HOST:PORT [JDBC_URL USER PASSWORD TABLE]

Without a database, the cases that need none are run.
"""
import json
import sys
import typing

import apache_beam as beam
from apache_beam import coders
from apache_beam import managed
from apache_beam.io.jdbc import ReadFromJdbc, WriteToJdbc
from apache_beam.io.kafka import ReadFromKafka, WriteToKafka
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import portable_runner
from apache_beam.transforms.external import SchemaAwareExternalTransform
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


shown = []


def show(pc):
  fields = getattr(pc.element_type, '__annotations__', None)
  shown.append(str(fields or pc.element_type))
  return pc


def schema_transform(name, **kwargs):
  return SchemaAwareExternalTransform(
      f'beam:schematransform:org.apache.beam:{name}:v1', service, rearrange_based_on_discovery=True, **kwargs)


def rows(p):
  return p | beam.Create([Access('x', 1, None)]).with_output_types(Access)


def jdbc_config(**kwargs):
  url, user, password, _ = sys.argv[2:6]
  return dict(jdbc_url=url, username=user, password=password, **kwargs)


def jdbc_read(p):
  url, user, password, table = sys.argv[2:6]
  return p | 'Read' >> ReadFromJdbc(table, 'com.mysql.cj.jdbc.Driver', url, user, password, expansion_service=service)


def jdbc(p, **kwargs):
  kwargs.setdefault('jdbc_url', 'jdbc:mysql://localhost:3306/cdn')
  kwargs.setdefault('driver_class_name', 'com.mysql.cj.jdbc.Driver')
  kwargs.setdefault('statement', 'INSERT INTO access VALUES (?, ?, ?)')
  return rows(p) | 'Write' >> WriteToJdbc('access', username='u', password='secret-word', expansion_service=service, **kwargs)


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
    'schema_kafka_read': lambda p: show(p | schema_transform(
        'kafka_read', topic='t', bootstrap_servers='localhost:9092', format='STRING')) | beam.Map(print),
    'schema_kafka_read_errors': lambda p: [show(pc) | tag >> beam.Map(print) for tag, pc in sorted((p | schema_transform(
        'kafka_read', topic='t', bootstrap_servers='localhost:9092', format='RAW', error_handling={'output': 'bad'},
        max_read_time_seconds=1)).items())],
    'schema_kafka_read_json': lambda p: p | schema_transform(
        'kafka_read', topic='t', bootstrap_servers='localhost:9092', format='JSON', schema='{}'),
    'schema_kafka_write': lambda p: show(rows(p) | schema_transform(
        'kafka_write', topic='t', bootstrap_servers='localhost:9092', format='JSON')),
    'schema_kafka_write_raw': lambda p: rows(p) | schema_transform(
        'kafka_write', topic='t', bootstrap_servers='localhost:9092', format='RAW'),
    'schema_mysql_write': lambda p: show(rows(p) | schema_transform(
        'mysql_write', jdbc_url='jdbc:mysql://localhost/x', location='t')),
    'schema_unknown': lambda p: rows(p) | SchemaAwareExternalTransform(
        'beam:schematransform:org.apache.beam:postgres_write:v1', service, jdbc_url='jdbc:postgresql://localhost/x'),
    'managed_kafka_read': lambda p: show(p | managed.Read(
        managed.KAFKA, expansion_service=service, config={
            'topic': 't', 'bootstrap_servers': 'localhost:9092', 'format': 'RAW',
            'consumer_config_updates': {'fetch.min.bytes': '1'}})) | beam.Map(print),
    'managed_mysql_write': lambda p: rows(p) | managed.Write(
        managed.MYSQL, expansion_service=service, config={
            'jdbc_url': 'jdbc:mysql://localhost/x', 'location': 't', 'driver_class_name': '', 'jdbc_type': '',
            'password': 'secret-word', 'connection_init_sql': []}),
    'managed_broken': lambda p: rows(p) | managed.Write(
        managed.MYSQL, expansion_service=service, config={
            'jdbc_url': 'jdbc:mysql://localhost/x', 'location': 't', 'password': 'secret-word', 'colour': 'red'}),
}

DATABASE_CASES = {
    'jdbc_read': lambda p: show(jdbc_read(p)) | beam.Map(print),
    'schema_jdbc_read': lambda p: show(p | schema_transform(
        'jdbc_read', **jdbc_config(read_query='SELECT s, n FROM ' + sys.argv[5], output_parallelization=False))) | beam.Map(print),
    'managed_mysql_read': lambda p: show(p | managed.Read(
        managed.MYSQL, expansion_service=service, config=jdbc_config(location=sys.argv[5]))) | beam.Map(print),
}


def run(name, build):
  options = PipelineOptions(['--runner=PortableRunner', '--job_endpoint=localhost:1', '--environment_type=LOOPBACK'])
  shown.clear()
  result = {'case': name}
  try:
    p = beam.Pipeline(options=options)
    build(p)
    result['pipeline'] = json_format.MessageToDict(portable_runner.PortableRunner.get_proto_pipeline(p, options))
  except Exception as e:  # the message is what a user sees
    result['error'] = str(e)
  result['type'] = '; '.join(shown)
  print(json.dumps(result))


for name, build in (DATABASE_CASES if len(sys.argv) > 2 else CASES).items():
  run(name, build)
