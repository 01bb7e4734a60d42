"""The workloads of the benchmark, for any runner.

Runs one workload once and prints what it took as a line "RESULT {...}":

    workloads.py --workload=gbk [--endpoint=localhost:8073] [--scale=1.0] [--data=DIR]

Without an endpoint, Beam's in-process FnApiRunner runs it. User code runs in
this process (LOOPBACK), so that what it saw can be counted here: a runner that
loses elements is not fast but wrong, and the program fails.

Times are taken around building and running the pipeline: not for starting
Python and importing Beam, which are the same for every runner.
"""

import argparse
import json
import os
import random
import statistics
import time

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import portable_runner
from apache_beam.transforms import userstate
from apache_beam.transforms import window

PARTS = 20  # elements from which a workload's input grows, so that there is something to split

seen = []  # counts, one for each bundle that arrived at the end of a pipeline
moments = []  # when each element of the sleeping workload was done
prepared = []  # when each job was submitted, by the clock of time.perf_counter


class Count(beam.DoFn):
  """Ends a pipeline: counts what arrives."""

  def start_bundle(self):
    self.n = 0

  def process(self, element):
    self.n += 1

  def finish_bundle(self):
    seen.append(self.n)


class CountValues(Count):
  """Ends a pipeline in which values were grouped."""

  def process(self, element):
    for _ in element[1]:
      self.n += 1


def numbers(n):
  """0 to n-1, made in PARTS parts."""
  each = -(-n // PARTS)
  return (
      beam.Create([(i * each, min(n, (i + 1) * each)) for i in range(PARTS)])
      | 'Numbers' >> beam.FlatMap(lambda part: range(*part)))


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


def gbk_distinct(p, n):
  return gbk(p, n, keys=n)


def combine(p, n, keys=10_000):
  p | numbers(n) | beam.Map(lambda i: (i % keys, i)) | beam.CombinePerKey(sum) | beam.ParDo(Count())
  return min(n, keys)


def reshuffle(p, n):
  p | numbers(n) | beam.Reshuffle() | beam.ParDo(Count())
  return n


def side_input(p, n):
  table = p | 'Table' >> numbers(n) | beam.Map(lambda i: (i, i))
  out = p | 'Main' >> numbers(n)
  out | beam.Map(lambda i, d: d[i], beam.pvalue.AsDict(table)) | beam.ParDo(Count())
  return n


def windows(p, n, keys=1_000):
  (
      p | numbers(n)
      | beam.Map(lambda i: window.TimestampedValue((i % keys, i), i // 100))
      | beam.WindowInto(window.FixedWindows(60))
      | beam.GroupByKey() | beam.ParDo(CountValues()))
  return n


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


def wordcount(p, path):
  (
      p | beam.io.ReadFromText(path)
      | beam.FlatMap(str.split)
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


# The workloads and their sizes at scale 1.
WORKLOADS = {
    'map': (map_chain, 1_000_000),
    'gbk': (gbk, 1_000_000),
    'gbk-hot': (gbk_hot, 1_000_000),
    'gbk-distinct': (gbk_distinct, 300_000),
    'combine': (combine, 1_000_000),
    'reshuffle': (reshuffle, 1_000_000),
    'side-input': (side_input, 100_000),
    'windows': (windows, 300_000),
    'stateful': (stateful, 100_000),
    'large-values': (large, 1_000),
    'wordcount': (wordcount, 100_000_000),  # bytes
    'trivial': (trivial, 20),  # jobs
    'sleeping': (sleeping, 200),
}

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


def options(endpoint):
  common = ['--experiments=disable_logging_submission_environment']
  if not endpoint:
    return PipelineOptions(common + ['--runner=FnApiRunner'])
  return PipelineOptions(
      common + ['--runner=PortableRunner', f'--job_endpoint={endpoint}', '--environment_type=LOOPBACK'])


def run(build, size, endpoint):
  """One job. Returns when it was done, by the clock of time.perf_counter."""
  seen.clear()
  p = beam.Pipeline(options=options(endpoint))
  want = build(p, size)
  p.run().wait_until_finish()
  done = time.perf_counter()
  if sum(seen) != want:
    raise RuntimeError(f'{sum(seen)} arrived of {want}')
  return done


def run_many(build, jobs, endpoint):
  """Jobs in a row. Returns what is measured besides: medians in milliseconds."""
  whole, served = [], []
  for _ in range(jobs):
    start = time.perf_counter()
    done = run(build, 0, endpoint)
    whole.append((done - start) * 1e3)
    if endpoint:
      served.append((done - prepared[-1]) * 1e3)
  measures = {'whole job, median ms': statistics.median(whole)}
  if served:
    measures['Prepare to the terminal state, median ms'] = statistics.median(served)
  return measures


def peak_mb():
  with open('/proc/self/status') as f:
    return next(int(line.split()[1]) / 1024 for line in f if line.startswith('VmHWM:'))


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--list', action='store_true', help='print the names of the workloads')
  parser.add_argument('--workload', choices=WORKLOADS)
  parser.add_argument('--endpoint', help='of the job service; without one the job runs in this process')
  parser.add_argument('--scale', type=float, default=1.0)
  parser.add_argument('--data', default='.', help='directory of generated input')
  args = parser.parse_args()
  if args.list:
    print(*WORKLOADS)
    return
  build, size = WORKLOADS[args.workload]
  if build is not trivial:  # a job takes what it takes
    size = max(1, int(size * args.scale))
  if build is wordcount:
    size = text(args.data, size)
  watch_prepare()
  start, cpu = time.perf_counter(), time.process_time()
  measures = {}
  if build is trivial:
    measures = run_many(build, size, args.endpoint)
  else:
    run(build, size, args.endpoint)
  result = {
      'wall': time.perf_counter() - start,
      'cpu': time.process_time() - cpu,
      'peak_mb': peak_mb(),
  }
  if build is sleeping:
    measures['first to last element, s'] = max(moments) - min(moments)
  print('RESULT ' + json.dumps({**result, 'measures': measures}), flush=True)


if __name__ == '__main__':
  # What user code refers to must be this module's, not a pickled copy's.
  import workloads
  workloads.main()
