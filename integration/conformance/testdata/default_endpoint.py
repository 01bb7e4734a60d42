"""A plugin of pytest: pipelines that name no runner, or Prism, run where TestPipeline's do."""

import shlex

from apache_beam.options.pipeline_options import DebugOptions
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.pipeline import Pipeline
from apache_beam.testing.test_pipeline import TestPipeline

init = Pipeline.__init__


def init_with_endpoint(
    self, runner=None, options=None, argv=None, display_data=None):
  if options is None:
    options = PipelineOptions([] if argv is None else argv)
  standard = options.view_as(StandardOptions)
  if runner is None and standard.runner in (None, 'PrismRunner'):
    given = PipelineOptions(
        shlex.split(TestPipeline.pytest_test_pipeline_options))
    standard.runner = given.view_as(StandardOptions).runner
    to, of = options.view_as(PortableOptions), given.view_as(PortableOptions)
    to.job_endpoint, to.environment_type = of.job_endpoint, of.environment_type
    for experiment in given.view_as(DebugOptions).experiments:
      options.view_as(DebugOptions).add_experiment(experiment)
  init(self, runner, options, None, display_data)


Pipeline.__init__ = init_with_endpoint
