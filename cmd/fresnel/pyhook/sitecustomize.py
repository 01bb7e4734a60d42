"""Leads Beam's external transforms to Fresnel. `fresnel run` puts this file's directory first on PYTHONPATH.

Beam has a redirection of its own, BEAM_SERVICE_OVERRIDES, but it works only inside `with beam.Pipeline(...)`, and not for
io.jdbc: its transforms always have a classpath, for which Beam downloads jars from Maven, puts them into the user's
cache, and builds a jar of jars, before it looks whether there is an endpoint (2.77.0). So two methods are wrapped here
when their modules are imported:

- JavaJarServer.path_to_beam_jar knows the redirections at any time;
- JavaJarExpansionService does without its classpath where an endpoint takes the jar's place.

This is sitecustomize, which Python imports first of all. Another one on the path is imported afterwards.
"""

import functools
import importlib.machinery
import json
import os
import sys

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


PATCHES = {
    'apache_beam.utils.subprocess_server': patch_servers,
    'apache_beam.transforms.external': patch_services,
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
  here = os.path.dirname(os.path.abspath(__file__))
  this, path = sys.modules.pop('sitecustomize', None), list(sys.path)
  sys.path[:] = [p for p in path if os.path.abspath(p or os.curdir) != here]
  try:
    import sitecustomize  # pylint: disable=unused-import
  except ModuleNotFoundError as e:
    if e.name != 'sitecustomize':
      raise
    if this is not None:
      sys.modules['sitecustomize'] = this


sys.meta_path.insert(0, Finder)
import_next()
