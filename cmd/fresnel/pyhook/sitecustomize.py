"""Leads a Beam program to Fresnel. `fresnel run` puts this file's directory first on PYTHONPATH.

First, external transforms:

Beam has a redirection of its own, BEAM_SERVICE_OVERRIDES, but it works only inside `with beam.Pipeline(...)`, and not for
io.jdbc: its transforms always have a classpath, for which Beam downloads jars from Maven, puts them into the user's
cache, and builds a jar of jars, before it looks whether there is an endpoint (2.77.0). So two methods are wrapped here
when their modules are imported:

- JavaJarServer.path_to_beam_jar knows the redirections at any time;
- JavaJarExpansionService does without its classpath where an endpoint takes the jar's place.

Second, pipelines: where a program does not say on what its pipeline runs, it gets the options that lead it here. That is done
when the pipeline is made, as `beam.Pipeline()` does not read the command line, and a program may not take words it does not know.

Third, jobs: their ids are written down, in the file `jobs` beside this one, so that `fresnel run` can follow them. From then
on an interrupt is its matter: it asks the user what to do. A drained job is no failure, and where the file `detach` is,
nobody waits for a job. Else the program's end waits for those that it has not waited for itself.

Fourth, the harness of a LOOPBACK job, a thread of this program, reports its status: it is given no endpoint for that. Its
exceptions tell the element that they were raised for, and its bundles do not wait for what samples them.

And a program that ends for want of a module gets advice, as does one that makes pipelines and runs none.

This is sitecustomize, which Python imports first of all. Another one on the path is imported afterwards.
"""

import atexit
import functools
import importlib.machinery
import json
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OVERRIDES = json.loads(os.environ.get('BEAM_SERVICE_OVERRIDES') or '{}')
OPTIONS = json.loads(os.environ.get('FRESNEL_PIPELINE_OPTIONS') or '{}')


@functools.lru_cache(maxsize=None)
def beside(name):
  """The module in a file beside this one: their directory does not stay on the path."""
  import importlib.util
  spec = importlib.util.spec_from_file_location('fresnel_' + name, os.path.join(HERE, f'fresnel_{name}.py'))
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


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


def patch_pipelines(module):
  original = module.Pipeline.__init__

  @functools.wraps(original)
  def init(self, runner=None, options=None, argv=None, *args, **kwargs):
    if options is None and (argv is None or isinstance(argv, list)):
      options = module.PipelineOptions(argv or [])
    if isinstance(options, module.PipelineOptions):
      lead_here(options, runner)
    original(self, runner, options, argv, *args, **kwargs)

  module.Pipeline.__init__ = init


def lead_here(options, runner):
  from apache_beam.options import pipeline_options as views
  chosen = runner or options.view_as(views.StandardOptions).runner
  if chosen and not takes_jobs_here(chosen):
    tell_of(chosen)
    return
  made.append(None)
  portable = options.view_as(views.PortableOptions)
  fill(portable, 'job_endpoint', 'environment_type')
  if portable.environment_type == OPTIONS.get('environment_type'):
    fill(portable, 'environment_config')
  fill(options.view_as(views.StandardOptions), 'runner')
  fill(options.view_as(views.GoogleCloudOptions), 'job_name')
  if options.view_as(views.SetupOptions).requirements_file:
    fill(options.view_as(views.SetupOptions), 'requirements_cache')
  if OPTIONS.get('restore_from'):
    fill(options.view_as(own_options(views.PipelineOptions)), 'restore_from')
  # Listing what is installed takes a second, for logs of Dataflow's.
  options.view_as(views.DebugOptions).add_experiment('disable_logging_submission_environment')


@functools.lru_cache(maxsize=None)
def own_options(base):
  class FresnelOptions(base):
    """Makes our options known to Beam."""

    @classmethod
    def _add_argparse_args(cls, parser):
      parser.add_argument('--restore_from')

  return FresnelOptions


def fill(view, *names):
  for name in names:
    if OPTIONS.get(name) and getattr(view, name) is None:
      setattr(view, name, OPTIONS[name])


def name_of(runner):
  return runner.rsplit('.', 1)[-1] if isinstance(runner, str) else type(runner).__name__


made = []  # pipelines that were led here


def takes_jobs_here(runner):
  return name_of(runner).lower() in ('portablerunner', 'fresnelrunner')


def tell_of(runner, told=set()):  # pylint: disable=dangerous-default-value
  if name_of(runner) not in told:
    told.add(name_of(runner))
    print(f'fresnel: a pipeline of this program asks for {name_of(runner)}, and does not run here', file=sys.stderr)


def advise(kind, error, trace, original=sys.excepthook):
  original(kind, error, trace)
  made.clear()
  if issubclass(kind, ModuleNotFoundError):
    print(f'fresnel: {sys.executable} has no {error.name}: list what the program imports in a requirements.txt beside it, '
          'or name another Python with --python', file=sys.stderr)


def asked(what):
  return os.path.exists(os.path.join(HERE, what))


def mark(what):
  with open(os.path.join(HERE, what), 'w', encoding='utf-8'):
    pass


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


def tell_of_waiting():
  if not asked('detach') and not asked('left'):
    mark('left')
    print('fresnel: the program is at its end; its job goes on, and is waited for', file=sys.stderr)


def tell_of_none():
  if made and not asked('jobs'):
    print('fresnel: the program made a pipeline and did not run it: call its run(), or make it with `with beam.Pipeline() as p:`', file=sys.stderr)


def patch_results(module):
  result = module.PipelineResult
  original = result.__init__

  @functools.wraps(original)
  def init(self, *args, **kwargs):
    original(self, *args, **kwargs)
    beside('leaving').wait_for(self, tell_of_waiting)

  result.__init__ = init


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
  patch_results(module)


def patch_harness(module):
  """Has harnesses that are threads here report their status, as others do."""

  class Status(module.FnApiWorkerStatusHandler):
    def _serve(self):
      try:
        super()._serve()
      except Exception:  # pylint: disable=broad-except
        pass  # the server is gone

  harness = module.SdkHarness
  original = harness.__init__

  @functools.wraps(original)
  def init(self, control_address, *args, **kwargs):
    original(self, control_address, *args, **kwargs)
    if self._status_handler is None:
      try:
        self._status_handler = Status(control_address, self._bundle_processor_cache, self._state_cache, worker_id=self._worker_id)
      except Exception:  # pylint: disable=broad-except
        pass  # then there is none

  harness.__init__ = init
  beside('elements').install()
  beside('sampling').install()


PATCHES = {
    'apache_beam.runners.worker.sdk_worker': patch_harness,
    'apache_beam.utils.subprocess_server': patch_servers,
    'apache_beam.transforms.external': patch_services,
    'apache_beam.pipeline': patch_pipelines,
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
sys.excepthook = advise
atexit.register(tell_of_none)
import_next()
