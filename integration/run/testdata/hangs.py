"""A pipeline whose function hangs for a while."""

import sys
import time

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def hang(x):
  # One line, for its number.
  time.sleep(8)
  return x


with beam.Pipeline(options=PipelineOptions(sys.argv[1:])) as p:
  p | beam.Create([7]) | beam.Reshuffle() | 'Hang' >> beam.Map(hang)
