"""Counts without end, and tells each number in a file. Later versions of it go on where an earlier one was stopped."""

import argparse

import apache_beam as beam
from apache_beam.coders import StrUtf8Coder, VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.userstate import BagStateSpec, CombiningValueStateSpec


class Count(beam.DoFn):
  COUNT = CombiningValueStateSpec('count', VarIntCoder(), beam.combiners.CountCombineFn())

  def __init__(self, version):
    self.version = version

  def process(self, kv, count=beam.DoFn.StateParam(COUNT)):
    count.add(1)
    yield f'{kv[0]} {count.read()} version {self.version}'


class CountInWords(beam.DoFn):
  """Keeps under the same name what the one above cannot read."""
  COUNT = BagStateSpec('count', StrUtf8Coder())

  def process(self, kv, count=beam.DoFn.StateParam(COUNT)):
    count.add('one more')
    yield 'never'


def tell(line, path):
  with open(path, 'a') as f:
    f.write(line + '\n')
  return line


parser = argparse.ArgumentParser()
parser.add_argument('--version', type=int, required=True)
parser.add_argument('--out', required=True)
args, rest = parser.parse_known_args()

with beam.Pipeline(options=PipelineOptions(rest, streaming=True)) as p:
  ticks = p | PeriodicImpulse(fire_interval=0.02)
  if args.version > 1:
    ticks = ticks | 'See' >> beam.Map(lambda t: t)
  keyed = ticks | 'Key' >> beam.Map(lambda t: ('key', 1)).with_output_types(tuple[str, int])
  counted = keyed | 'Count' >> beam.ParDo(CountInWords() if args.version == 3 else Count(args.version))
  counted | 'Tell' >> beam.Map(tell, args.out)
  if args.version > 1:
    counted | 'Tell more' >> beam.Map(tell, args.out + '.more')
