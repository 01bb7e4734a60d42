"""Unbounded pipelines of the benchmark: how long an element takes from where it
is made to the sink, and what a job takes that has nothing to do."""

import os
import threading
import time

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.io.restriction_trackers import OffsetRange
from apache_beam.io.restriction_trackers import OffsetRestrictionTracker
from apache_beam.transforms import userstate
from apache_beam.utils.timestamp import Duration

import record


class Ticking(beam.RestrictionProvider):
  """The clock starts when there are workers: one second after the restriction is
  made. Offsets begin at that time, in milliseconds, so that what is given back
  has it too."""
  def initial_restriction(self, ticks):
    start = int((time.time() + 1) * 1e3)
    return OffsetRange(start, start + ticks[1])

  def create_tracker(self, restriction):
    return OffsetRestrictionTracker(restriction)

  def restriction_size(self, ticks, restriction):
    return restriction.size()

  def split(self, ticks, restriction):
    yield restriction


class Ticks(beam.DoFn):
  """Numbers at a fixed rate, each with the time at which it was made.

  Its input is (rate, count). What is due comes at once; then the rest is
  given back until the next is due, but not more often than a bundle is worth.
  """
  SHORTEST = 0.002

  @beam.DoFn.unbounded_per_element()
  def process(self, ticks, tracker=beam.DoFn.RestrictionParam(Ticking())):
    rate, count = ticks
    restriction = tracker.current_restriction()
    start = restriction.stop - count
    i = restriction.start - start
    while True:
      wait = start / 1e3 + i / rate - time.time()
      if wait > 0:
        tracker.defer_remainder(Duration(max(wait, self.SHORTEST)))
        return
      if not tracker.try_claim(start + i):
        return
      yield i, time.monotonic()
      i += 1


def ticks(p, rate, seconds):
  return p | beam.Create([(rate, int(rate * seconds))]) | beam.ParDo(Ticks())


class Flooding(beam.RestrictionProvider):
  def initial_restriction(self, _):
    return OffsetRange(0, 1 << 40)

  def create_tracker(self, restriction):
    return OffsetRestrictionTracker(restriction)

  def restriction_size(self, _, restriction):
    return 1  # that there is no end must not look like work to split

  def split(self, _, restriction):
    yield restriction


class Counting(beam.DoFn):
  """Counts the elements of each key."""
  VALUE = userstate.ReadModifyWriteStateSpec('value', VarIntCoder())

  def process(self, element, value=beam.DoFn.StateParam(VALUE)):
    value.write((value.read() or 0) + 1)
    yield element[1]


class Sink(beam.DoFn):
  """Notes when each element was made, and how long it took."""
  def __init__(self):
    self.book = record.book

  def start_bundle(self):
    self.took = []

  def process(self, element):
    self.took.append((element[1], time.monotonic() - element[1]))

  def finish_bundle(self):
    record.note_all(self.book, 'latency', self.took)


def stateless(p, rate, seconds):
  ticks(p, rate, seconds) | beam.Reshuffle() | beam.ParDo(Sink())


def stateful(p, rate, seconds, keys=100):
  keyed = ticks(p, rate, seconds) | beam.Map(lambda t: (t[0] % keys, t))
  keyed | beam.ParDo(Counting()) | beam.Reshuffle() | beam.ParDo(Sink())


class Flood(beam.DoFn):
  """Numbers as fast as the sink takes them: AHEAD of it at most."""
  AHEAD = 2_000

  @beam.DoFn.unbounded_per_element()
  def process(self, _, tracker=beam.DoFn.RestrictionParam(Flooding())):
    restriction = tracker.current_restriction()
    i = restriction.start
    while time.monotonic() < flood.until:
      if i - flood.arrived >= self.AHEAD:
        tracker.defer_remainder(Duration(Ticks.SHORTEST))
        return
      if not tracker.try_claim(i):
        return
      yield i, time.monotonic()
      flood.made = i = i + 1
    tracker.try_claim(restriction.stop)  # the rest is done


class Drain(beam.DoFn):
  """The sink of a flood."""
  def process(self, element):
    flood.took.append(time.monotonic() - element[1])
    flood.arrived += 1


class flood:
  """What source and sink, in one process (LOOPBACK), know of each other."""
  until = float('inf')
  made = arrived = 0
  took = []


def stateful_flood(p, keys=100):
  keyed = p | beam.Create([0]) | beam.ParDo(Flood()) | beam.Map(lambda t: (t[0] % keys, t))
  keyed | beam.ParDo(Counting()) | beam.Reshuffle() | beam.ParDo(Drain())


class Watch:
  """What a flood does in each of some periods, from its first element on."""
  def __init__(self, pid, periods, seconds):
    self.pid, self.periods, self.each = pid, periods, seconds / periods
    self.measures = {}
    self.thread = threading.Thread(target=self._watch, daemon=True)
    self.thread.start()

  def _watch(self):
    while not flood.arrived:
      time.sleep(0.01)
    flood.until = time.monotonic() + self.each * self.periods
    for n in range(self.periods):
      flood.took = []
      time.sleep(self.each)
      took = sorted(flood.took)
      self.measures[f'period {n + 1:02}, elements/s'] = len(took) / self.each
      self.measures[f'period {n + 1:02}, RSS of the runner, MB'] = resident_mb(self.pid)
      if took:
        self.measures[f'period {n + 1:02}, p50, ms'] = percentile(took, 0.5)
        self.measures[f'period {n + 1:02}, p99, ms'] = percentile(took, 0.99)


WARM_UP = 3  # seconds that do not count


def latencies():
  """Percentiles in milliseconds, of elements made after the start."""
  notes = sorted(record.read('latency'))
  took = sorted(t for made, t in notes if made >= notes[0][0] + WARM_UP)
  return {'p50, ms': percentile(took, 0.5), 'p99, ms': percentile(took, 0.99)}


def percentile(took, q):
  """Of sorted seconds, in milliseconds."""
  return took[int(q * (len(took) - 1))] * 1e3


class Usage:
  """CPU of a process from a moment on, over some seconds."""
  def __init__(self, pid, after, seconds):
    self.pid, self.after, self.seconds = pid, after, seconds
    self.percent = None
    self.thread = threading.Thread(target=self._measure, daemon=True)
    self.thread.start()

  def _measure(self):
    time.sleep(self.after)
    before = cpu_seconds(self.pid)
    time.sleep(self.seconds)
    self.percent = (cpu_seconds(self.pid) - before) / self.seconds * 100


def cpu_seconds(pid):
  with open(f'/proc/{pid}/stat') as f:
    fields = f.read().rpartition(')')[2].split()
  return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_mb(pid):
  with open(f'/proc/{pid}/status') as f:
    return next(int(line.split()[1]) / 1024 for line in f if line.startswith('VmRSS:'))
