"""Raises for one element of two, behind a grouping, and does not wait for its job."""
import apache_beam as beam


def parse(group):
  return int(group[0])


if __name__ == '__main__':
  p = beam.Pipeline()
  p | beam.Create([('x17', 1), ('4', 2)]) | beam.GroupByKey() | 'Parse' >> beam.Map(parse)
  p.run()
  print('the end of the program')
