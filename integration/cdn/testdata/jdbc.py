"""Writes rows with io.jdbc and reads them back, as users do who know nothing of Fresnel.

Arguments: the JDBC URL, the user, the password, then any of
  classpath   the transforms are given a classpath
  nowith      the pipelines are run without `with`
"""

import sys
import typing

import apache_beam as beam
from apache_beam.io.jdbc import ReadFromJdbc
from apache_beam.io.jdbc import WriteToJdbc


class Statistic(typing.NamedTuple):
  province: str
  access_count: int


beam.coders.registry.register_coder(Statistic, beam.coders.RowCoder)


def build(p, step, url, user, password, *how):
  database = dict(
      table_name='cdn_access_statistic', driver_class_name='com.mysql.cj.jdbc.Driver', jdbc_url=url, username=user,
      password=password)
  if 'classpath' in how:
    database['classpath'] = ['com.mysql:mysql-connector-j:8.4.0', 'no-such.jar']
  if step == 'write':
    rows = p | beam.Create([Statistic('Beijing', 1), Statistic('Tibet', 2)]).with_output_types(Statistic)
    statement = 'INSERT INTO cdn_access_statistic (province, access_count) VALUES (?, ?)'
    _ = rows | WriteToJdbc(statement=statement, **database)
  else:
    query = 'SELECT province, access_count FROM cdn_access_statistic'
    _ = p | ReadFromJdbc(query=query, **database) | beam.Map(lambda row: print('read', row.province, row.access_count))


def main(args, beam_args):
  for step in ['write', 'read']:
    options = beam.options.pipeline_options.PipelineOptions(beam_args)
    if 'nowith' in args:
      p = beam.Pipeline(options=options)
      build(p, step, *args)
      p.run().wait_until_finish()
    else:
      with beam.Pipeline(options=options) as p:
        build(p, step, *args)


if __name__ == '__main__':
  main([a for a in sys.argv[1:] if not a.startswith('--')], [a for a in sys.argv[1:] if a.startswith('--')])
