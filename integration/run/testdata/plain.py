"""Reads its words strictly, and hands none of them to its pipelines."""

import argparse

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import statesampler

parser = argparse.ArgumentParser()
parser.add_argument('--name')
name = parser.parse_args().name

if __name__ == '__main__':
  with beam.Pipeline() as p:
    p | beam.Create([name]) | beam.Map(lambda x: print('hello', x))
  p = beam.Pipeline(options=PipelineOptions([]))
  p | beam.Create([name]) | beam.Map(lambda x: print('again', x))
  p.run().wait_until_finish()
  with beam.Pipeline('DirectRunner') as p:
    p | beam.Create([name]) | beam.Map(lambda x: print('elsewhere', x))
  print('sampled often:', getattr(statesampler.StateSampler.__init__, '_samples_often', False))
