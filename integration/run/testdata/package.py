"""Says which numpy the worker has."""

import logging

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


class Version(beam.DoFn):
  def process(self, _):
    import numpy
    logging.getLogger('test').warning('worker has numpy %s', numpy.__version__)


if __name__ == '__main__':
  import numpy
  print('client has numpy', numpy.__version__)
  with beam.Pipeline(options=PipelineOptions(save_main_session=True)) as p:
    p | beam.Create([None]) | beam.ParDo(Version())
