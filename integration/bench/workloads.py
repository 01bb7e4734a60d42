"""The workloads of the benchmark, for any runner.

Runs one workload once and prints what it took as a line "RESULT {...}":

    workloads.py --workload=gbk [--endpoint=localhost:8073] [--server_pid=N] [--scale=1.0] [--data=DIR]

With --many it runs it once for each line of its input, which has further
arguments: so runners take turns with one client, its interpreter and the memory
that it has.

Without an endpoint, Beam's in-process FnApiRunner runs it. User code runs in
this process (LOOPBACK) or, where the workload says so, in processes of its own.
What it saw is counted: a runner that loses elements is not fast but wrong, and
the program fails.

Times are taken around building and running the pipeline: not for starting
Python and importing Beam, which are the same for every runner.
"""

import argparse
import gc
import json
import os
import random
import statistics
import sys
import threading
import time
import traceback

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import portable_runner
from apache_beam.transforms import userstate
from apache_beam.transforms import window

import record
import streams

PARTS = 20  # elements from which a workload's input grows, so that there is something to split

seen = []  # counts, one for each bundle that arrived at the end of a pipeline
moments = []  # when each element of the sleeping workload was done
prepared = []  # when each job was submitted, by the clock of time.perf_counter


class Count(beam.DoFn):
  """Ends a pipeline: counts what arrives."""

  def __init__(self):
    self.book = record.book

  def start_bundle(self):
    self.n = 0

  def process(self, element):
    self.n += 1

  def finish_bundle(self):
    seen.append(self.n)
    if self.book:
      record.note(self.book, 'counted', self.n, time.monotonic())


class CountValues(Count):
  """Ends a pipeline in which values were grouped."""

  def process(self, element):
    for _ in element[1]:
      self.n += 1


class Range(beam.DoFn):
  """Numbers of a part."""
  def __init__(self):
    self.book = record.book

  def process(self, part):
    if self.book:
      record.note(self.book, 'began', time.monotonic())
    return range(*part)


def numbers(n):
  """0 to n-1, made in PARTS parts."""
  each = -(-n // PARTS)
  return (
      beam.Create([(i * each, min(n, (i + 1) * each)) for i in range(PARTS)])
      | 'Numbers' >> beam.ParDo(Range()))


PAD = b'x' * 92


def padded(i):
  return b'%08d' % i + PAD  # 100 bytes


# A workload is a function of a pipeline and a size that applies the transforms
# and returns how much Count must see.


def map_chain(p, n):
  out = p | numbers(n)
  for i in range(3):
    out |= f'Map{i}' >> beam.Map(lambda x: x + 1)
  out | beam.ParDo(Count())
  return n


def gbk(p, n, keys=10_000, hot=False):
  # With a hot key, every second element has it.
  key = (lambda i: -1 if i % 2 else i // 2 % keys) if hot else (lambda i: i % keys)
  p | numbers(n) | beam.Map(lambda i: (key(i), padded(i))) | beam.GroupByKey() | beam.ParDo(CountValues())
  return n


def gbk_hot(p, n):
  return gbk(p, n, hot=True)


def gbk_few(p, n):
  return gbk(p, n, keys=10)


def gbk_distinct(p, n):
  return gbk(p, n, keys=n)


def combine(p, n, keys=10_000):
  p | numbers(n) | beam.Map(lambda i: (i % keys, i)) | beam.CombinePerKey(sum) | beam.ParDo(Count())
  return min(n, keys)


def combine_unlifted(p, n, keys=10_000):
  # A runner lifts CombinePerKey; this is what it does not lift.
  pairs = p | numbers(n) | beam.Map(lambda i: (i % keys, i))
  pairs | beam.GroupByKey() | beam.CombineValues(sum) | beam.ParDo(Count())
  return min(n, keys)


def reshuffle(p, n):
  p | numbers(n) | beam.Reshuffle() | beam.ParDo(Count())
  return n


def side_input(p, n):
  table = p | 'Table' >> numbers(n) | beam.Map(lambda i: (i, i))
  out = p | 'Main' >> numbers(n)
  out | beam.Map(lambda i, d: d[i], beam.pvalue.AsDict(table)) | beam.ParDo(Count())
  return n


def side_iterable(p, n, readers=20):
  # Each of a few elements iterates over all of the side input.
  table = p | 'Table' >> numbers(n)
  out = p | 'Main' >> numbers(readers)
  out | beam.Map(lambda i, it: sum(1 for _ in it), beam.pvalue.AsIter(table)) | beam.FlatMap(lambda n: [0] * n) | beam.ParDo(Count())
  return n * readers


def windowed(p, n, fn, keys=1_000):
  (
      p | numbers(n)
      | beam.Map(lambda i: window.TimestampedValue((i % keys, i), i // 100))
      | beam.WindowInto(fn)
      | beam.GroupByKey() | beam.ParDo(CountValues()))
  return n


def windows(p, n):
  return windowed(p, n, window.FixedWindows(60))


def windows_sliding(p, n):
  return 3 * windowed(p, n, window.SlidingWindows(60, 20))


def windows_sessions(p, n):
  return windowed(p, n, window.Sessions(5))


class Stateful(beam.DoFn):
  """A value that counts, a bag that collects, and a timer that tells."""
  VALUE = userstate.ReadModifyWriteStateSpec('value', VarIntCoder())
  BAG = userstate.BagStateSpec('bag', VarIntCoder())
  TIMER = userstate.TimerSpec('timer', userstate.TimeDomain.WATERMARK)

  def process(
      self,
      element,
      value=beam.DoFn.StateParam(VALUE),
      bag=beam.DoFn.StateParam(BAG),
      timer=beam.DoFn.TimerParam(TIMER)):
    count = (value.read() or 0) + 1
    value.write(count)
    bag.add(element[1])
    timer.set(1)
    yield element[0], count

  @userstate.on_timer(TIMER)
  def tell(self, bag=beam.DoFn.StateParam(BAG)):
    for i in bag.read():
      yield 0, i


def stateful(p, n, keys=1_000):
  out = p | numbers(n) | beam.Map(lambda i: (i % keys, i))
  out | beam.ParDo(Stateful()) | beam.ParDo(Count())
  return 2 * n


def large(p, n):
  out = p | numbers(n) | beam.Map(lambda i: b'%08d' % i * (1_000_000 // 8))
  out | beam.Reshuffle() | beam.Map(len) | beam.ParDo(Count())
  return n


class Split(beam.DoFn):
  """Words of a line; its first bundle is about the first of the job."""
  def __init__(self):
    self.book = record.book

  def start_bundle(self):
    if self.book:
      record.note(self.book, 'began', time.monotonic())

  def process(self, line):
    return line.split()


def wordcount(p, path):
  (
      p | beam.io.ReadFromText(path)
      | beam.ParDo(Split())
      | beam.combiners.Count.PerElement()
      | beam.MapTuple(lambda word, n: f'{word}: {n}')
      | beam.ParDo(Count()))
  return WORDS


def trivial(p, n):
  p | beam.Create([1, 2, 3]) | beam.Map(lambda x: x + 1) | beam.ParDo(Count())
  return 3


def nap(i):
  time.sleep(0.02)
  moments.append(time.perf_counter())
  return i


def sleeping(p, n):
  p | numbers(n) | beam.Reshuffle() | beam.Map(nap) | beam.ParDo(Count())
  return n


def burn(i):
  """About 20 ms of a processor's time, none of it outside the interpreter."""
  x = i
  for _ in range(200_000):
    x = (x * 1103515245 + 12345) & 0x7fffffff
  return x


def burning(p, n):
  p | numbers(n) | beam.Reshuffle() | beam.Map(burn) | beam.ParDo(Count())
  return n


WORDS = 20_000  # different ones, in wordcount's text


def text(directory, size):
  """The path of a file of about size bytes, made when it is missing."""
  path = os.path.join(directory, f'words-{size}.txt')
  if not os.path.exists(path):
    words = [f'word{i:05d}' for i in range(WORDS)]
    rng = random.Random(1)
    with open(path + '.new', 'w') as f:
      f.write('\n'.join(words) + '\n')  # each is there
      while f.tell() < size:
        f.writelines(' '.join(rng.choices(words, k=10)) + '\n' for _ in range(1000))
    os.rename(path + '.new', path)
  return path


def watch_prepare():
  """Has prepared note when jobs are submitted."""
  prepare = portable_runner.JobServiceHandle.prepare

  def noting(self, *args, **kwargs):
    prepared.append(time.perf_counter())
    return prepare(self, *args, **kwargs)

  portable_runner.JobServiceHandle.prepare = noting


def options(args, *more):
  common = ['--experiments=disable_logging_submission_environment', *more]
  if not args.endpoint:
    return PipelineOptions(common + ['--runner=FnApiRunner'])
  if not any(o.startswith('--environment_type') for o in more):
    common.append('--environment_type=LOOPBACK')
  return PipelineOptions(common + ['--runner=PortableRunner', f'--job_endpoint={args.endpoint}'])


def processes(n):
  # A parallelism of 1 is Beam's default, which leaves the number to the server: the experiment is the wish for one.
  return [f'--experiments=sdk_workers={n}', '--environment_type=PROCESS', '--environment_config={"command": "fresnel boot"}', f'--sdk_worker_parallelism={n}']


def run(build, size, args, *more):
  """One job. Returns when it was done, by the clock of time.perf_counter."""
  seen.clear()
  p = beam.Pipeline(options=options(args, *more))
  want = build(p, size)
  p.run().wait_until_finish()
  done = time.perf_counter()
  got = sum(n for n, _ in record.read('counted')) if record.book else sum(seen)
  if got != want:
    raise RuntimeError(f'{got} arrived of {want}')
  return done


# A measurement runs a workload of a size, and returns what is measured besides
# wall, CPU and memory.


def batch(build):
  def measure(args, size):
    run(build, size, args)
    return {}

  return measure


def of_text(build):
  def measure(args, size):
    run(build, text(args.data, size), args)  # which is there already
    return {}

  return measure


def asleep(args, size):
  run(sleeping, size, args)
  return {'first to last element, s': max(moments) - min(moments)}


def jobs_in_a_row(args, jobs):
  whole, served = [], []
  for _ in range(jobs):
    start = time.perf_counter()
    done = run(trivial, 0, args)
    whole.append((done - start) * 1e3)
    if args.endpoint:
      served.append((done - prepared[-1]) * 1e3)
  measures = {'whole job, median ms': statistics.median(whole)}
  if served:
    measures['Prepare to the terminal state, median ms'] = statistics.median(served)
  return measures


WARM_UP = 100  # elements of burning


def workers(build):
  """The same with one worker process and with two, which are warm, from the first bundle to the last."""
  def measure(args, size):
    what = text(args.data, size) if build is wordcount else size
    span = {}
    for n in (1, 2):
      notes(args, f'{n}-workers-warm-up')
      run(burning, WARM_UP, args, *processes(n))  # long enough for all of them to come
      record.book = notes(args, f'{n}-workers')
      start = time.perf_counter()
      whole = run(build, what, args, *processes(n)) - start
      span[n] = bundles()
    return {
        'whole job, 2 workers, s': whole,
        'first to last bundle, 1 worker, s': span[1],
        'first to last bundle, 2 workers, s': span[2],
        '2 workers / 1 worker': span[2] / span[1],
    }

  return measure


def bundles():
  """Seconds from the first bundle of user code to the end of the last."""
  began = [t for (t,) in record.read('began')]
  ended = [t for _, t in record.read('counted')]
  return max(ended) - min(began or ended)


def notes(args, name):
  """A new book."""
  record.book = os.path.join(args.data, 'notes-' + name)
  os.makedirs(record.book, exist_ok=True)
  record.clear()
  return record.book


def latency(build, rate, *more):
  """How long elements take at a fixed rate."""
  def measure(args, seconds):
    seconds += streams.WARM_UP
    stream(args, build, rate, seconds, *more)
    return streams.latencies()

  return measure


def stream(args, build, rate, seconds, *more):
  notes(args, 'stream')
  p = beam.Pipeline(options=options(args, '--streaming', *more))
  build(p, rate, seconds)
  p.run().wait_until_finish()
  if len(record.read('latency')) != int(rate * seconds):
    raise RuntimeError(f"{len(record.read('latency'))} arrived of {int(rate * seconds)}")


def idle(args, seconds):
  """What a streaming job takes that waits for its second element."""
  usage = streams.Usage(args.server_pid, after=4, seconds=seconds)
  own = streams.Usage(os.getpid(), after=4, seconds=seconds)
  stream(args, streams.stateful, 1 / (seconds + 6), 2 * (seconds + 6))
  return {"runner's CPU while idle, % of a core": usage.percent, "harness's CPU while idle, % of a core": own.percent}


SOAK_PERIODS = 10


def soak(args, seconds):
  """A stateful job at full load, period by period."""
  watch = streams.Watch(args.server_pid, SOAK_PERIODS, seconds)
  p = beam.Pipeline(options=options(args, '--streaming'))
  streams.stateful_flood(p)
  p.run().wait_until_finish()
  watch.thread.join()
  if streams.flood.arrived != streams.flood.made:
    raise RuntimeError(f'{streams.flood.arrived} arrived of {streams.flood.made}')
  return watch.measures


ALL = ('fresnel', 'prism', 'fnapi', 'limit')
RUNNERS = ('fresnel', 'prism', 'fnapi')
SERVERS = ('fresnel', 'prism')
OURS = ('fresnel',)


class Workload:
  """A measurement, its size at scale 1 (fixed: at any scale), whether it reads a
  text of that size, and who can run it."""
  def __init__(self, measure, size, engines=ALL, fixed=False, long=False, reads=False, server=()):
    self.measure, self.size, self.fixed, self.reads = measure, size, fixed, reads
    self.about = {'engines': engines, 'long': long, 'fixed': fixed, 'server': list(server)}

  def once(self, args):
    """Measures it, and prints what it took."""
    size = self.size if self.fixed else max(1, int(self.size * args.scale))
    if self.reads:
      text(args.data, size)
    forget()
    start, cpu = time.perf_counter(), time.process_time()
    measures = self.measure(args, size)
    result = {
        'wall': time.perf_counter() - start,
        'cpu': time.process_time() - cpu,
        'peak_mb': peak_mb(),
        'measures': measures,
    }
    print('RESULT ' + json.dumps(result), flush=True)


def forget():
  """What the measurement before saw."""
  record.book = None
  moments.clear()
  prepared.clear()
  streams.flood.until, streams.flood.made, streams.flood.arrived = float('inf'), 0, 0
  gc.collect()


WORKLOADS = {
    'map': Workload(batch(map_chain), 1_000_000),
    'gbk': Workload(batch(gbk), 1_000_000),
    'gbk-hot': Workload(batch(gbk_hot), 1_000_000),
    'gbk-few': Workload(batch(gbk_few), 300_000),
    'gbk-distinct': Workload(batch(gbk_distinct), 300_000),
    'combine': Workload(batch(combine), 1_000_000),
    'combine-unlifted': Workload(batch(combine_unlifted), 1_000_000),
    'reshuffle': Workload(batch(reshuffle), 1_000_000),
    'side-input': Workload(batch(side_input), 100_000),
    'side-iterable': Workload(batch(side_iterable), 30_000),
    'windows': Workload(batch(windows), 1_000_000),
    'windows-sliding': Workload(batch(windows_sliding), 50_000),
    'windows-sessions': Workload(batch(windows_sessions), 50_000),
    'stateful': Workload(batch(stateful), 100_000),
    'large-values': Workload(batch(large), 1_000),
    'wordcount': Workload(of_text(wordcount), 100_000_000, reads=True),  # bytes
    'trivial': Workload(jobs_in_a_row, 20),  # jobs
    'sleeping': Workload(asleep, 200, RUNNERS),  # of what waits, the limit is what one bundle waits
    # Seconds, of which a server's start takes some.
    'latency': Workload(latency(streams.stateless, 100), 10, SERVERS, fixed=True),
    'latency-stateful': Workload(latency(streams.stateful, 100), 10, SERVERS, fixed=True),
    'latency-5000': Workload(latency(streams.stateless, 5_000, *processes(2)), 10, OURS, fixed=True),
    'latency-stateful-5000': Workload(latency(streams.stateful, 5_000, *processes(2)), 10, OURS, fixed=True),
    'idle': Workload(idle, 10, SERVERS, fixed=True),
    # Five times the sizes above where those are too short to see a second worker.
    'workers-map': Workload(workers(map_chain), 2_000_000, OURS),
    'workers-gbk': Workload(workers(gbk), 1_000_000, OURS),
    'workers-stateful': Workload(workers(stateful), 100_000, OURS),
    'workers-wordcount': Workload(workers(wordcount), 40_000_000, OURS, reads=True),
    'workers-burning': Workload(workers(burning), 500, OURS),
    # With -long.
    'gbk-10M': Workload(batch(gbk), 10_000_000, OURS, long=True, server=['--memory-limit=512MB']),
    'soak': Workload(soak, 600, OURS, long=True),
}


def peak_mb():
  with open('/proc/self/status') as f:
    return next(int(line.split()[1]) / 1024 for line in f if line.startswith('VmHWM:'))


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--list', action='store_true', help='print what the workloads are, as JSON')
  parser.add_argument('--workload', choices=WORKLOADS)
  parser.add_argument('--endpoint', help='of the job service; without one the job runs in this process')
  parser.add_argument('--server_pid', type=int, help='process of the job service')
  parser.add_argument('--scale', type=float, default=1.0)
  parser.add_argument('--data', default='.', help='directory of generated input')
  parser.add_argument('--many', action='store_true', help='take arguments from the input')
  args = parser.parse_args()
  if args.list:
    print(json.dumps([{'name': name, **w.about} for name, w in WORKLOADS.items()]))
    return
  watch_prepare()
  w = WORKLOADS[args.workload]
  if not args.many:
    w.once(args)
    return
  for line in sys.stdin:
    try:
      w.once(parser.parse_args(sys.argv[1:] + line.split()))
    except Exception:  # pylint: disable=broad-except
      print('FAILED ' + json.dumps(traceback.format_exc()), flush=True)  # the next may do better


if __name__ == '__main__':
  # What user code refers to must be this module's, not a pickled copy's.
  import workloads
  workloads.main()
