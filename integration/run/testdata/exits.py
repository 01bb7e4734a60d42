"""A pipeline whose function ends its process."""

import os
import sys

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

with beam.Pipeline(options=PipelineOptions(sys.argv[1:])) as p:
  p | beam.Create([7]) | beam.Reshuffle() | 'Leave' >> beam.Map(lambda x: os._exit(3))
