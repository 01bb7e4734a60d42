"""Writes the pipelines of the golden tests, as the Python SDK submits them.

Run by hand, in this directory, with a Python that has apache-beam 2.77.0:

    python gen.py

Every pipeline is built as a portable runner gets it: combiners are packed and
lifted on the client's side, but for the pipelines in STREAMING. Pickled functions
are taken out.
"""
import logging
import os
import typing

import apache_beam as beam
from apache_beam import coders
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability import portable_runner
from apache_beam.testing.test_stream import TestStream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import trigger, userstate, window
from apache_beam.transforms.timeutil import TimeDomain

PIPELINES = {}
STREAMING = set()


def pipeline(f):
  PIPELINES[f.__name__] = f
  return f


def streaming(f):
  STREAMING.add(f.__name__)
  return pipeline(f)


def keyed(p, name='Create'):
  return p | name >> beam.Create([('a', 1), ('b', 2), ('a', 3)])


@pipeline
def groupbykey(p):
  keyed(p) | beam.GroupByKey() | beam.MapTuple(lambda k, vs: (k, sum(vs)))


@pipeline
def wordcount(p):
  (p
   | beam.Create(['to be', 'or not'])
   | 'Split' >> beam.FlatMap(str.split)
   | 'Pair' >> beam.Map(lambda w: (w, 1))
   | beam.CombinePerKey(sum)
   | 'Format' >> beam.MapTuple(lambda k, n: f'{k}: {n}'))


@pipeline
def assertthat(p):
  assert_that(p | beam.Create([1, 2]) | beam.Map(lambda x: x * x), equal_to([1, 4]))


@streaming
def combine_streaming(p):
  (keyed(p)
   | beam.WindowInto(window.GlobalWindows(),
                     trigger=trigger.Repeatedly(trigger.AfterProcessingTime(1)),
                     accumulation_mode=trigger.AccumulationMode.ACCUMULATING)
   | beam.CombinePerKey(beam.combiners.MeanCombineFn())
   | beam.Map(print))


@streaming
def combine_counting_trigger(p):
  (keyed(p)
   | beam.WindowInto(window.GlobalWindows(),
                     trigger=trigger.Repeatedly(trigger.AfterCount(2)),
                     accumulation_mode=trigger.AccumulationMode.DISCARDING)
   | beam.CombinePerKey(sum)
   | beam.Map(print))


class Packable(beam.PTransform):
  def expand(self, pcoll):
    for fn in (sum, min, max):
      pcoll | fn.__name__ >> beam.CombinePerKey(fn) | 'Print ' + fn.__name__ >> beam.Map(print)

  def annotations(self):
    return {python_urns.APPLY_COMBINER_PACKING: b''}


@pipeline
def combine_packed(p):
  keyed(p) | Packable()


@pipeline
def combine_globally(p):
  p | beam.Create([1, 2, 3]) | beam.CombineGlobally(sum) | beam.Map(print)


@pipeline
def flatten(p):
  ints = p | 'Ints' >> beam.Create([1, 2])
  words = p | 'Words' >> beam.Create(['a'])
  (ints, words, words) | beam.Flatten() | beam.Map(print)
  [] | 'Nothing' >> beam.Flatten(pipeline=p) | 'PrintNothing' >> beam.Map(print)
  (ints,) | 'Single' >> beam.Flatten() | 'PrintSingle' >> beam.Map(print)


@pipeline
def flatten_in_stage(p):
  ints = p | beam.Create([1, 2])
  ((ints | 'Odd' >> beam.Filter(lambda x: x % 2), ints | 'Even' >> beam.Filter(lambda x: x % 2 == 0))
   | beam.Flatten()
   | beam.Map(print))


@pipeline
def flatten_side(p):
  both = (p | 'A' >> beam.Create([1]), p | 'B' >> beam.Create([2])) | beam.Flatten()
  p | 'Main' >> beam.Create([0]) | beam.Map(lambda x, side: x + sum(side), beam.pvalue.AsIter(both))


@pipeline
def sideinputs(p):
  main = p | 'Main' >> beam.Create([1, 2])
  ks = keyed(p)
  one = p | 'One' >> beam.Create([7])
  (main
   | 'Iter' >> beam.Map(lambda x, s: (x, list(s)), beam.pvalue.AsIter(one))
   | 'Singleton' >> beam.Map(lambda x, s: x, beam.pvalue.AsSingleton(one))
   | 'Dict' >> beam.Map(lambda x, s: x, beam.pvalue.AsDict(ks))
   | 'MultiMap' >> beam.Map(lambda x, s: x, beam.pvalue.AsMultiMap(ks))
   # On what the same stage made.
   | 'Self' >> beam.Map(lambda x, s: x, beam.pvalue.AsList(main)))


@pipeline
def sideinput_windowed(p):
  side = (p | 'Side' >> beam.Create([1])
          | 'Stamp' >> beam.Map(lambda x: window.TimestampedValue(x, x))
          | 'SideWindows' >> beam.WindowInto(window.SlidingWindows(20, 10)))
  (p | 'Main' >> beam.Create([1])
   | 'MainWindows' >> beam.WindowInto(window.FixedWindows(10))
   | beam.Map(lambda x, s: x, beam.pvalue.AsIter(side)))


class Stateful(beam.DoFn):
  VALUE = userstate.ReadModifyWriteStateSpec('value', coders.VarIntCoder())
  BAG = userstate.BagStateSpec('bag', coders.PickleCoder())
  SUM = userstate.CombiningValueStateSpec('sum', coders.VarIntCoder(), sum)
  SET = userstate.SetStateSpec('set', coders.StrUtf8Coder())
  END = userstate.TimerSpec('end', TimeDomain.WATERMARK)
  SOON = userstate.TimerSpec('soon', TimeDomain.REAL_TIME)

  def process(self, kv, v=beam.DoFn.StateParam(VALUE), b=beam.DoFn.StateParam(BAG),
              s=beam.DoFn.StateParam(SUM), t=beam.DoFn.StateParam(SET),
              end=beam.DoFn.TimerParam(END), soon=beam.DoFn.TimerParam(SOON)):
    end.set(10)
    yield kv

  @userstate.on_timer(END)
  def on_end(self):
    yield 'end'

  @userstate.on_timer(SOON)
  def on_soon(self):
    yield 'soon'


@pipeline
def stateful(p):
  (keyed(p)
   | beam.WindowInto(window.FixedWindows(10))
   | beam.ParDo(Stateful())
   | beam.Map(print))


@pipeline
def sdf_read(p):
  p | beam.io.ReadFromText('/dev/null') | beam.Map(print)


@streaming
def sdf_unbounded(p):
  from apache_beam.transforms.periodicsequence import PeriodicImpulse
  p | PeriodicImpulse(fire_interval=1) | beam.Map(print)


@pipeline
def reshuffle(p):
  (keyed(p)
   | beam.Reshuffle()
   | 'Again' >> beam.Reshuffle()
   | beam.GroupByKey()
   | 'After' >> beam.Reshuffle()
   | beam.Map(print))


@pipeline
def windows(p):
  (keyed(p)
   | beam.Map(lambda kv: window.TimestampedValue(kv, kv[1]))
   | beam.WindowInto(window.FixedWindows(60),
                     trigger=trigger.AfterWatermark(early=trigger.AfterProcessingTime(1), late=trigger.AfterCount(1)),
                     accumulation_mode=trigger.AccumulationMode.ACCUMULATING,
                     allowed_lateness=60)
   | beam.GroupByKey()
   | 'Global' >> beam.WindowInto(window.GlobalWindows())
   | 'Print' >> beam.Map(print)
   | 'Sessions' >> beam.WindowInto(window.Sessions(10))
   | beam.Map(lambda x: (x, x))
   | 'Group' >> beam.GroupByKey()
   | 'Last' >> beam.Map(print))


@streaming
def teststream(p):
  (p
   | TestStream(coder=coders.FastPrimitivesCoder())
   .add_elements([('k', 1)]).advance_watermark_to(10).add_elements([('k', 2)])
   | beam.Map(lambda x: x).with_output_types(typing.Tuple[str, int])
   | beam.WindowInto(window.FixedWindows(5))
   | beam.GroupByKey()
   | beam.Map(print))


@streaming
def teststream_grouped(p):
  (p
   | TestStream(coder=coders.FastPrimitivesCoder()).with_output_types(typing.Tuple[str, int])
   .add_elements([('k', 1)]).advance_watermark_to_infinity()
   | beam.WindowInto(window.FixedWindows(5))
   | beam.GroupByKey()
   | beam.Map(print))


@pipeline
def cogroupbykey(p):
  {'a': keyed(p, 'A'), 'b': keyed(p, 'B')} | beam.CoGroupByKey() | beam.Map(print)


@pipeline
def cdn(p):
  """The aggregation of the main job, from a source that stands for Kafka."""
  (p
   | beam.Create([b'id,1.1.1.1,10,20'])
   | 'Parse' >> beam.Map(lambda line: ('p', (1, 2, 3)))
   | beam.WindowInto(window.GlobalWindows(),
                     trigger=trigger.Repeatedly(trigger.AfterProcessingTime(1)),
                     accumulation_mode=trigger.AccumulationMode.ACCUMULATING)
   | beam.CombinePerKey(beam.combiners.TupleCombineFn(sum, sum, sum))
   | 'Row' >> beam.Map(lambda kv: beam.Row(province=kv[0], n=kv[1][0]))
   | 'Sink' >> beam.Map(print))


def submitted(p, name):
  args = ['--environment_type=EXTERNAL', '--environment_config=pool']
  if name in STREAMING:
    args.append('--streaming')
  return portable_runner.PortableRunner.get_proto_pipeline(p, PipelineOptions(args))


def without_functions(t):
  """Takes out pickled code: it holds paths of the machine that pickled it."""
  if t.spec.urn == common_urns.primitives.PAR_DO.urn:
    pardo = beam_runner_api_pb2.ParDoPayload.FromString(t.spec.payload)
    pardo.do_fn.payload = b''
    for side in pardo.side_inputs.values():
      side.view_fn.payload = side.window_mapping_fn.payload = b''
    for state in pardo.state_specs.values():
      if state.HasField('combining_spec'):
        state.combining_spec.combine_fn.payload = b''
    t.spec.payload = pardo.SerializeToString(deterministic=True)
  elif t.spec.urn.startswith('beam:transform:combine_'):
    combine = beam_runner_api_pb2.CombinePayload.FromString(t.spec.payload)
    combine.combine_fn.payload = b''
    t.spec.payload = combine.SerializeToString(deterministic=True)
  elif t.spec.urn not in (common_urns.primitives.ASSIGN_WINDOWS.urn, common_urns.primitives.TEST_STREAM.urn):
    t.spec.payload = b''


def main():
  logging.getLogger().setLevel(logging.ERROR)
  for name, build in PIPELINES.items():
    p = beam.Pipeline(options=PipelineOptions(['--runner=DirectRunner']))
    build(p)
    proto = submitted(p, name)
    for env in proto.components.environments.values():
      del env.dependencies[:]
    for t in proto.components.transforms.values():
      del t.display_data[:]
      without_functions(t)
    with open(f'{name}.pb', 'wb') as f:
      f.write(proto.SerializeToString(deterministic=True))
    print(name, os.path.getsize(f'{name}.pb'))


if __name__ == '__main__':
  main()
