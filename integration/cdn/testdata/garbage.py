"""Sends what is no pipeline, and then a pipeline in an environment that nobody knows.

What the server says of the first is printed.
"""

import sys

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import environments


@environments.Environment.register_urn('beam:env:moon:v1', None)
class Moon(environments.Environment):

  def to_runner_api_parameter(self, context):
    return 'beam:env:moon:v1', b''

  @staticmethod
  def from_runner_api_parameter(payload, capabilities, context):
    return Moon(capabilities)

  @classmethod
  def from_options(cls, options):
    return cls(environments.python_sdk_capabilities())


def send_garbage(endpoint):
  with grpc.insecure_channel(endpoint) as channel:
    prepare = channel.unary_unary('/org.apache.beam.model.job_management.v1.JobService/Prepare')
    try:
      prepare(b'\xff\xff\xff\x00garbage', timeout=60)
    except grpc.RpcError as e:
      print(e.code(), e.details())


if __name__ == '__main__':
  options = PipelineOptions([a for a in sys.argv[1:] if not a.startswith('--environment_type')] + ['--environment_type=beam:env:moon:v1'])
  send_garbage(options.view_as(beam.options.pipeline_options.PortableOptions).job_endpoint)
  with beam.Pipeline(options=options) as p:
    _ = p | 'Make' >> beam.Create([1]) | 'Look' >> beam.Map(print)
