"""Counts, batches and groups in sessions what is in a topic, and tells another topic.

    topic in, "key,number" ──┬─▶ state: the number of elements of the key so far ──▶ "count,key,n"
                             ├─▶ state and timers: batches of a key              ──▶ "batch,key,number number ..."
                             └─▶ sessions by event time, a second apart          ──▶ "session,key,number number ..."
"""

import argparse

import apache_beam as beam
from apache_beam.coders import StrUtf8Coder
from apache_beam.coders import VarIntCoder
from apache_beam.io.kafka import ReadFromKafka
from apache_beam.io.kafka import WriteToKafka
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec
from apache_beam.transforms.userstate import TimerSpec
from apache_beam.transforms.userstate import on_timer
from apache_beam.transforms.window import GlobalWindows
from apache_beam.transforms.window import Sessions
from apache_beam.utils.timestamp import Timestamp


class Count(beam.DoFn):
  """Counts the elements of a key."""
  COUNT = ReadModifyWriteStateSpec('count', VarIntCoder())

  def process(self, element, count=beam.DoFn.StateParam(COUNT)):
    n = (count.read() or 0) + 1
    count.write(n)
    yield f'count,{element[0]},{n}'


class Batch(beam.DoFn):
  """Emits what came of a key when nothing has been emitted for a while."""
  BAG = BagStateSpec('bag', StrUtf8Coder())
  SET = ReadModifyWriteStateSpec('set', VarIntCoder())
  FLUSH = TimerSpec('flush', TimeDomain.REAL_TIME)

  def process(self, element, bag=beam.DoFn.StateParam(BAG), flag=beam.DoFn.StateParam(SET), flush=beam.DoFn.TimerParam(FLUSH)):
    bag.add(element[1])
    if not flag.read():
      flag.write(1)
      flush.set(Timestamp.now() + 0.2)

  @on_timer(FLUSH)
  def emit(self, key=beam.DoFn.KeyParam, bag=beam.DoFn.StateParam(BAG), flag=beam.DoFn.StateParam(SET)):
    flag.clear()
    numbers = ' '.join(bag.read())
    bag.clear()
    yield f'batch,{key},{numbers}'


def run(argv=None):
  parser = argparse.ArgumentParser()
  parser.add_argument('--bootstrap_servers', required=True)
  parser.add_argument('--topic', required=True)
  parser.add_argument('--out', required=True)
  parser.add_argument('--expansion_service', required=True)
  args, rest = parser.parse_known_args(argv)
  with beam.Pipeline(options=PipelineOptions(rest, streaming=True, save_main_session=True)) as p:
    pairs = (
        p
        | ReadFromKafka(
            {'bootstrap.servers': args.bootstrap_servers, 'auto.offset.reset': 'earliest', 'group.id': 'stateful'},
            [args.topic],
            timestamp_policy=ReadFromKafka.create_time_policy,
            expansion_service=args.expansion_service)
        | beam.Map(lambda kv: tuple(kv[1].decode().split(','))).with_output_types(tuple[str, str]))
    sessions = (
        pairs
        | beam.WindowInto(Sessions(1))
        | beam.GroupByKey()
        | beam.MapTuple(lambda key, numbers: f"session,{key},{' '.join(sorted(numbers, key=int))}")
        | 'whole' >> beam.WindowInto(GlobalWindows()))
    ((pairs | beam.ParDo(Count()), pairs | beam.ParDo(Batch()), sessions)
     | beam.Flatten()
     | beam.Map(lambda line: (b'', line.encode())).with_output_types(tuple[bytes, bytes])
     | WriteToKafka({'bootstrap.servers': args.bootstrap_servers}, args.out, expansion_service=args.expansion_service))


if __name__ == '__main__':
  run()
