"""Beam's portable_runner_test with a job endpoint that runs already.

The classes have the names of Beam's, which some tests ask for, and add what
Beam has no class for: workers of the client's own (LOOPBACK), of a worker pool,
and of a container image, for which processes stand in where there is no Docker.
"""

import os

from apache_beam.options.pipeline_options import DebugOptions
from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.portability import flink_runner_test as flink
from apache_beam.runners.portability import portable_runner_test as suite


class Endpoint:
  """Has the tests run on the endpoint, with the environment of the class."""
  environment_type = None
  environment_config = None

  @classmethod
  def _get_job_endpoint(cls):
    return os.environ['FRESNEL_ENDPOINT']

  def create_options(self):
    options = super().create_options()
    # The client need not run pip for every pipeline.
    options.view_as(DebugOptions).add_experiment(
        'disable_logging_submission_environment')
    if self.environment_type:
      portable = options.view_as(PortableOptions)
      portable.environment_type = self.environment_type
      portable.environment_config = self.environment_config
    return options


class PortableRunnerTest(Endpoint, suite.PortableRunnerTest):
  pass


class PortableRunnerOptimizedWithoutFusion(
    Endpoint, suite.PortableRunnerOptimizedWithoutFusion):
  pass


class PortableRunnerTestWithExternalEnv(
    Endpoint, suite.PortableRunnerTestWithExternalEnv):
  pass


class PortableRunnerTestWithSubprocesses(
    Endpoint, suite.PortableRunnerTestWithSubprocesses):
  pass


class PortableRunnerTestWithSubprocessesAndMultiWorkers(
    Endpoint, suite.PortableRunnerTestWithSubprocessesAndMultiWorkers):
  pass


class PortableRunnerTestWithLoopback(Endpoint, suite.PortableRunnerTest):
  environment_type = 'LOOPBACK'

  # What Beam has its Flink runner expand. test_expand_kafka_read needs a name server that denies names; test_sql needs Calcite.
  test_external_transform = flink.FlinkRunnerTest.test_external_transform
  test_expand_kafka_write = flink.FlinkRunnerTest.test_expand_kafka_write

  def get_expansion_service(self):
    return os.environ['FRESNEL_ENDPOINT']


class PortableRunnerTestWithWorkerPool(Endpoint, suite.PortableRunnerTest):
  environment_type = 'EXTERNAL'
  environment_config = os.environ['FRESNEL_WORKER_POOL']


class PortableRunnerTestWithDocker(Endpoint, suite.PortableRunnerTest):
  environment_type = 'DOCKER'


class PortableRunnerTestStreaming(Endpoint, suite.PortableRunnerTest):
  """As Beam's FlinkRunnerTestStreaming has it: every job is a streaming one."""
  environment_type = 'LOOPBACK'

  def create_options(self):
    options = super().create_options()
    options.view_as(StandardOptions).streaming = True
    return options


class PortableRunnerTestOptimized(Endpoint, suite.PortableRunnerTest):
  """As Beam's FlinkRunnerTestOptimized has it: the client fuses stages."""
  environment_type = 'LOOPBACK'

  def create_options(self):
    options = super().create_options()
    options.view_as(DebugOptions).add_experiment('pre_optimize=all')
    return options
