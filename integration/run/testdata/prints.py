"""A pipeline whose function prints, as it ends too."""

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


class Show(beam.DoFn):
  def process(self, x):
    print('printed by a function:', x)
    yield x

  def teardown(self):
    print('torn down', flush=True)


with beam.Pipeline(options=PipelineOptions(sys.argv[1:])) as p:
  p | beam.Create([7]) | beam.ParDo(Show())
