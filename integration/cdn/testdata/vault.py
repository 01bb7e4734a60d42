"""A pipeline with a password among its own options, which its workers print when
they start."""

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


class VaultOptions(PipelineOptions):
  @classmethod
  def _add_argparse_args(cls, parser):
    parser.add_argument('--vault_token')


with beam.Pipeline(options=PipelineOptions()) as p:
  _ = p | beam.Create([1]) | beam.Map(str)
