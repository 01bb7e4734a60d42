"""Jobs that have more data than a server may have in memory.

Runs one of them and fails if what comes out is not what it must be:

    jobs.py --job=timers --size=1.0 --endpoint=localhost:8073

The size is a factor: 1 is what the runner's promise is measured at. User code
runs in this process (LOOPBACK).
"""

import argparse
import sys
import threading
import time

import apache_beam as beam
from apache_beam import coders
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import userstate
from apache_beam.transforms import window

counts = {}
lock = threading.Lock()


def count(name, n=1):
  with lock:
    counts[name] = counts.get(name, 0) + n


class Count(beam.DoFn):
  """Ends a pipeline: counts what arrives, and its bytes."""
  def process(self, element):
    count('elements')
    if isinstance(element, bytes):
      count('bytes', len(element))


class CountValues(beam.DoFn):
  """Ends a pipeline in which values were grouped."""
  def process(self, element):
    n = size = 0
    for value in element[1]:
      n += 1
      size += len(value)
    count('keys')
    count('elements', n)
    count('bytes', size)


def numbers(n, parts=50):
  each = -(-n // parts)
  return (
      beam.Create([(i * each, min(n, (i + 1) * each)) for i in range(parts)])
      | 'Numbers' >> beam.FlatMap(lambda part: range(*part)))


def gbk(p, size, keys=10_000):
  n = int(10_000_000 * size)
  p | numbers(n) | beam.Map(lambda i: (i % keys, b'%0100d' % i)) | beam.GroupByKey() | beam.ParDo(CountValues())
  return {'elements': n, 'keys': min(n, keys), 'bytes': 100 * n}


def small_gbk(p, size):
  return gbk(p, size / 10)


def distinct(p, size):
  """A grouping of as many keys as elements."""
  return gbk(p, size, keys=1 << 40)


def large_values(p, size):
  n = int(1000 * size)
  p | numbers(n) | beam.Map(lambda i: (i % 10, b'%01000000d' % i)) | beam.GroupByKey() | beam.ParDo(CountValues())
  return {'elements': n, 'keys': 10, 'bytes': n * 1_000_000}


def hot_key(p, size):
  """One key has all values: 2 GB."""
  n = int(20_000 * size)
  p | numbers(n) | beam.Map(lambda i: (0, b'%0100000d' % i)) | beam.GroupByKey() | beam.ParDo(CountValues())
  return {'elements': n, 'keys': 1, 'bytes': n * 100_000}


def large_bundle(p, size):
  """One bundle puts out 2.3 GB."""
  n = int(23_000 * size)
  out = p | beam.Create([n]) | beam.FlatMap(lambda n: (b'%0100000d' % i for i in range(n)))
  out | beam.Reshuffle() | beam.ParDo(Count())
  return {'elements': n, 'bytes': n * 100_000}


class SetTimer(beam.DoFn):
  """Each key has a cell and a timer."""
  TIMER = userstate.TimerSpec('timer', beam.TimeDomain.WATERMARK)

  def process(self, element, timer=beam.DoFn.TimerParam(TIMER)):
    timer.set(1000)

  @userstate.on_timer(TIMER)
  def fire(self):
    count('timers')


def timers(p, size):
  n = int(5_000_000 * size)
  p | numbers(n) | beam.Map(lambda i: (b'key %08d' % i, b'')) | beam.ParDo(SetTimer())
  return {'timers': n}


class Remember(beam.DoFn):
  """Each key has a cell and a timer; the cells of some are read when it fires."""
  CELL = userstate.BagStateSpec('cell', coders.BytesCoder())
  TIMER = userstate.TimerSpec('timer', beam.TimeDomain.WATERMARK)

  def process(self, element, cell=beam.DoFn.StateParam(CELL), timer=beam.DoFn.TimerParam(TIMER)):
    cell.add(element[0])
    timer.set(1000)

  @userstate.on_timer(TIMER)
  def fire(self, key=beam.DoFn.KeyParam, cell=beam.DoFn.StateParam(CELL)):
    count('timers')
    if int(key[4:]) % 1000 == 0 and list(cell.read()) == [key]:
      count('cells')


def keys(p, size):
  """Each key has its cell and its timer; of a durable job all are on disk."""
  n = int(5_000_000 * size)
  p | numbers(n) | beam.Map(lambda i: (b'key %08d' % i, b'')) | beam.ParDo(Remember())
  return {'timers': n, 'cells': -(-n // 1000)}


class FillBag(beam.DoFn):
  """All values of a key are in a bag, which is read when all are there."""
  BAG = userstate.BagStateSpec('bag', coders.BytesCoder())
  TIMER = userstate.TimerSpec('timer', beam.TimeDomain.WATERMARK)

  def process(self, element, bag=beam.DoFn.StateParam(BAG), timer=beam.DoFn.TimerParam(TIMER)):
    bag.add(element[1])
    timer.set(1000)

  @userstate.on_timer(TIMER)
  def fire(self, bag=beam.DoFn.StateParam(BAG)):
    for value in bag.read():
      count('elements')
      count('bytes', len(value))


def bag(p, size):
  """A bag of 1 GB."""
  n = int(10_000 * size)
  p | numbers(n) | beam.Map(lambda i: (0, b'%0100000d' % i)) | beam.ParDo(FillBag())
  return {'elements': n, 'bytes': n * 100_000}


class Cells(beam.DoFn):
  """Each key has a value, which each element of it replaces."""
  VALUE = userstate.ReadModifyWriteStateSpec('value', coders.BytesCoder())

  def process(self, element, value=beam.DoFn.StateParam(VALUE)):
    seen = value.read()
    value.write(b'%0200d' % element[0])
    if seen is not None:
      count('elements')


def cells(p, size):
  n = int(400_000 * size)
  twice = (p | 'Once' >> numbers(n), p | 'Again' >> numbers(n)) | beam.Flatten()
  twice | beam.Map(lambda i: (i, b'')) | beam.ParDo(Cells())
  return {'elements': n}


def sessions(p, size):
  """Each key has sessions, of which the runner holds the cells."""
  n = int(3_000_000 * size)
  (
      p | numbers(n)
      | beam.Map(lambda i: window.TimestampedValue((i // 2, b'%0100d' % i), i % 2 * 5))
      | beam.WindowInto(window.Sessions(10)) | beam.GroupByKey() | beam.ParDo(CountValues()))
  return {'elements': n, 'keys': (n + 1) // 2, 'bytes': n * 100}


class Longest(beam.CombineFn):
  """Has accumulators of 1 MB."""
  def create_accumulator(self):
    return b''

  def add_input(self, accumulator, element):
    return max(accumulator, b'%01000000d' % element)

  def merge_accumulators(self, accumulators):
    return max(accumulators)

  def extract_output(self, accumulator):
    return accumulator


def accumulators(p, size):
  """1,000 keys have accumulators of 1 MB in each of many bundles."""
  keys = int(1000 * size)
  p | numbers(10 * keys) | beam.Map(lambda i: (i % keys, i)) | beam.CombinePerKey(Longest()) | beam.Values() | beam.ParDo(Count())
  return {'elements': keys, 'bytes': keys * 1_000_000}


class Iterate(beam.DoFn):
  """Reads all of a side input."""
  def process(self, _, side):
    for value in side:
      count('elements')
      count('bytes', len(value))


def side_input(p, size):
  """A side input of 1 GB."""
  n = int(10_000 * size)
  side = p | numbers(n) | beam.Map(lambda i: b'%0100000d' % i)
  p | beam.Create([0]) | beam.ParDo(Iterate(), beam.pvalue.AsIter(side))
  return {'elements': n, 'bytes': n * 100_000}


JOBS = {
    f.__name__: f
    for f in (gbk, small_gbk, distinct, large_values, hot_key, large_bundle, timers, keys, bag, cells, sessions, accumulators, side_input)
}


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--job', required=True, choices=JOBS)
  parser.add_argument('--size', type=float, default=1)
  parser.add_argument('--endpoint', required=True)
  args = parser.parse_args()
  p = beam.Pipeline(
      options=PipelineOptions([
          '--runner=PortableRunner', f'--job_endpoint={args.endpoint}', '--environment_type=LOOPBACK',
          '--experiments=disable_logging_submission_environment', f'--job_name={args.job}'
      ]))
  want = JOBS[args.job](p, args.size)
  began = time.monotonic()
  p.run().wait_until_finish()
  print(f'SECONDS {time.monotonic() - began:.1f}')
  if counts != want:
    sys.exit(f'{args.job}: {counts}, not {want}')


if __name__ == '__main__':
  import jobs  # so that the counts are not those of a copy of this module, as which functions are sent

  jobs.main()
