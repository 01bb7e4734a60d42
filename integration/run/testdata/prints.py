"""A pipeline whose function prints."""

import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def show(x):
  print('printed by a function:', x)
  return x


with beam.Pipeline(options=PipelineOptions(sys.argv[1:])) as p:
  p | beam.Create([7]) | beam.Map(show)
