"""Numbers the words of each letter, with state and a timer, and checks the result."""

import apache_beam as beam
from apache_beam.coders import StrUtf8Coder, VarIntCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, CombiningValueStateSpec, TimerSpec, on_timer

COUNT = CombiningValueStateSpec('count', VarIntCoder(), beam.combiners.CountCombineFn())
WORDS = BagStateSpec('words', StrUtf8Coder())
END = TimerSpec('end', TimeDomain.WATERMARK)


class Number(beam.DoFn):
  def process(self, kv, count=beam.DoFn.StateParam(COUNT), words=beam.DoFn.StateParam(WORDS), end=beam.DoFn.TimerParam(END)):
    count.add(1)
    words.add(kv[1])
    end.set(10)

  @on_timer(END)
  def told(self, key=beam.DoFn.KeyParam, count=beam.DoFn.StateParam(COUNT), words=beam.DoFn.StateParam(WORDS)):
    yield key, count.read(), sorted(words.read())


if __name__ == '__main__':
  print('apache-beam', beam.__version__)
  with beam.Pipeline(options=PipelineOptions()) as p:
    words = p | beam.Create('lamp light lens beam'.split()) | beam.Map(lambda w: beam.window.TimestampedValue(w, 1))
    counted = words | 'Pair' >> beam.Map(lambda w: (w[0], w)) | beam.ParDo(Number())
    assert_that(counted, equal_to([('l', 3, ['lamp', 'lens', 'light']), ('b', 1, ['beam'])]))
