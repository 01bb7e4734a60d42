"""Runs until it is drained."""

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse

with beam.Pipeline(options=PipelineOptions(streaming=True)) as p:
  p | PeriodicImpulse(fire_interval=0.2) | 'See' >> beam.Map(lambda x: x)
