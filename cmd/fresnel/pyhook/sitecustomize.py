"""Leads a Beam program to Fresnel. `fresnel run` puts this file's directory first on PYTHONPATH.

First, external transforms:

Beam has a redirection of its own, BEAM_SERVICE_OVERRIDES, but it works only inside `with beam.Pipeline(...)`, and not for
io.jdbc: its transforms always have a classpath, for which Beam downloads jars from Maven, puts them into the user's
cache, and builds a jar of jars, before it looks whether there is an endpoint (2.77.0). So two methods are wrapped here
when their modules are imported:

- JavaJarServer.path_to_beam_jar knows the redirections at any time;
- JavaJarExpansionService does without its classpath where an endpoint takes the jar's place.

Second, jobs: their ids are written down, in the file `jobs` beside this one, so that `fresnel run` can follow them. From then
on an interrupt is its matter: it asks the user what to do. A drained job is no failure, and where the file `detach` is,
nobody waits for a job.

This is sitecustomize, which Python imports first of all. Another one on the path is imported afterwards.
"""

import functools
import importlib.machinery
import json
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OVERRIDES = json.loads(os.environ.get('BEAM_SERVICE_OVERRIDES') or '{}')


def patch_servers(module):
  server = module.JavaJarServer
  original = server.path_to_beam_jar.__func__

  @functools.wraps(original)
  def path_to_beam_jar(cls, gradle_target, *args, **kwargs):
    return OVERRIDES.get(gradle_target) or original(cls, gradle_target, *args, **kwargs)

  server.path_to_beam_jar = classmethod(path_to_beam_jar)


def patch_services(module):
  service = module.JavaJarExpansionService
  original = service.__enter__

  @functools.wraps(original)
  def enter(self):
    if self.is_existing_service():
      self._classpath = []
    return original(self)

  service.__enter__ = enter


def asked(what):
  return os.path.exists(os.path.join(HERE, what))


def write_down(job):
  with open(os.path.join(HERE, 'jobs'), 'a', encoding='utf-8') as f:
    f.write(job + '\n')


def ignore_interrupts():
  try:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
  except ValueError:
    pass  # this is not the main thread


def patch_submission(module):
  handle = module.JobServiceHandle
  original = handle.run

  @functools.wraps(original)
  def run(self, *args, **kwargs):
    submitted = original(self, *args, **kwargs)
    write_down(submitted[0])
    if asked('asks'):
      ignore_interrupts()
    return submitted

  handle.run = run


def patch_waiting(module):
  result = module.PipelineResult
  original = result.wait_until_finish

  @functools.wraps(original)
  def wait_until_finish(self, *args, **kwargs):
    if asked('detach'):
      return self.state
    try:
      return original(self, *args, **kwargs)
    except RuntimeError:
      if self.state == 'DRAINED':
        return self.state
      if asked('cancelled'):
        sys.exit(130)
      raise

  result.wait_until_finish = wait_until_finish


def patch_runner(module):
  patch_submission(module)
  patch_waiting(module)


PATCHES = {
    'apache_beam.utils.subprocess_server': patch_servers,
    'apache_beam.transforms.external': patch_services,
    'apache_beam.runners.portability.portable_runner': patch_runner,
}


class Finder:
  """Has modules patched right after they were executed."""

  @staticmethod
  def find_spec(name, path=None, target=None):
    if name not in PATCHES:
      return None
    spec = importlib.machinery.PathFinder.find_spec(name, path, target)
    if spec is None or spec.loader is None:
      return spec
    execute = spec.loader.exec_module

    def exec_module(module):
      execute(module)
      PATCHES[name](module)

    spec.loader.exec_module = exec_module
    return spec


def import_next():
  """Imports the sitecustomize that this one hides."""
  this, path = sys.modules.pop('sitecustomize', None), list(sys.path)
  sys.path[:] = [p for p in path if os.path.abspath(p or os.curdir) != HERE]
  try:
    import sitecustomize  # pylint: disable=unused-import
  except ModuleNotFoundError as e:
    if e.name != 'sitecustomize':
      raise
    if this is not None:
      sys.modules['sitecustomize'] = this


sys.meta_path.insert(0, Finder)
import_next()
