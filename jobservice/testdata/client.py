"""Submits pipelines through Beam's own client, as a user does.

Each line on stdin is a JSON object {"name": ..., "args": [...], "cancel": bool}
of one pipeline; for each, a JSON object on stdout tells how it ended.
"""

import json
import logging
import sys
import time

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import portable_runner


class Messages(logging.Handler):
  """Keeps what the client prints."""
  def __init__(self):
    super().__init__()
    self.lines = []

  def emit(self, record):
    self.lines.append('%s %s' % (record.levelname, record.getMessage()))


prepared_at = 0


def note_the_time(prepare):
  def wrapped(*args):
    global prepared_at
    prepared_at = time.monotonic()
    return prepare(*args)

  return wrapped


def submit(job, endpoint):
  options = PipelineOptions(
      ['--runner=PortableRunner', '--job_endpoint=' + endpoint] + job['args'],
      job_name=job['name'])
  pipeline = beam.Pipeline(options=options)
  # pylint: disable=expression-not-assigned
  pipeline | beam.Create(['a', 'b']) | beam.Map(lambda x: (x, 1)) | beam.combiners.Count.PerKey()
  try:
    result = pipeline.run()
    if job.get('cancel'):
      result.cancel()
    ended = result.wait_until_finish()
    result.metrics().query()
    return {'state': ended}
  except BaseException as e:  # pylint: disable=broad-except
    return {'error': '%s: %s' % (type(e).__name__, e)}


def main():
  portable_runner.JobServiceHandle.prepare = note_the_time(
      portable_runner.JobServiceHandle.prepare)
  logging.getLogger().setLevel(logging.INFO)
  for line in sys.stdin:
    messages = Messages()
    logging.getLogger().addHandler(messages)
    outcome = submit(json.loads(line), sys.argv[1])
    logging.getLogger().removeHandler(messages)
    outcome['seconds'] = time.monotonic() - prepared_at
    outcome['log'] = messages.lines
    print(json.dumps(outcome), flush=True)


if __name__ == '__main__':
  main()
