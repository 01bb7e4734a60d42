"""Writes ProcessBundleDescriptors of small DoFns, for a test of the real harness.

Usage: descriptors.py DIR. Each file NAME.pb has the transforms in (source), do
(the DoFn) and out (sink); elements are KVs of strings in the global window.
"""

import os
import sys
import time

import apache_beam as beam
from apache_beam.coders import StrUtf8Coder
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.transforms import userstate


class Echo(beam.DoFn):
  def process(self, kv):
    yield kv


class Twice(beam.DoFn):
  def process(self, kv):
    print('twice', kv)
    yield kv
    yield kv


class Fail(beam.DoFn):
  def process(self, kv):
    raise ValueError('cannot take %s' % kv[1])


class Count(beam.DoFn):
  BAG = userstate.BagStateSpec('bag', StrUtf8Coder())

  def process(self, kv, bag=beam.DoFn.StateParam(BAG)):
    bag.add(kv[1])
    yield kv[0], ','.join(bag.read())


class Write(beam.DoFn):
  VALUE = userstate.ReadModifyWriteStateSpec('value', StrUtf8Coder())

  def process(self, kv, value=beam.DoFn.StateParam(VALUE)):
    value.write(kv[1])
    yield kv


class Slow(beam.DoFn):
  def process(self, kv):
    time.sleep(0.02)
    yield kv


class Hang(beam.DoFn):
  def process(self, kv):
    print('hangs in', os.getpid())
    while True:
      time.sleep(1)


class Leak(beam.DoFn):
  KEPT = []

  def process(self, kv):
    if kv[1] == 'forever':
      time.sleep(1000)
    self.KEPT.append(b'x' * (int(kv[1]) << 20))
    yield kv


class Finalized(beam.DoFn):
  def process(self, kv, finalizer=beam.DoFn.BundleFinalizerParam):
    finalizer.register(lambda: print('finalized', kv[1], flush=True))
    yield kv


class Probe(beam.DoFn):
  def process(self, kv):
    import fresnel_probe
    yield kv[0], fresnel_probe.WORD


class Exit(beam.DoFn):
  def process(self, kv):
    os._exit(7)


def descriptor(fn):
  p = beam.Pipeline()
  kv = beam.typehints.KV[str, str]
  (
      p
      | beam.Impulse()
      | 'before' >> beam.Map(lambda _: ('', '')).with_output_types(kv)
      | 'do' >> beam.ParDo(fn).with_output_types(kv))
  components = p.to_runner_api().components
  [do] = [t for t in components.transforms.values() if t.unique_name == 'do']
  [source] = do.inputs.values()
  [sink] = do.outputs.values()
  coder = components.pcollections[source].coder_id
  windowing = components.pcollections[source].windowing_strategy_id
  window = components.windowing_strategies[windowing].window_coder_id
  components.coders['windowed'].CopyFrom(
      beam_runner_api_pb2.Coder(
          spec=beam_runner_api_pb2.FunctionSpec(
              urn='beam:coder:windowed_value:v1'),
          component_coder_ids=[coder, window]))
  port = beam_fn_api_pb2.RemoteGrpcPort(
      coder_id='windowed').SerializeToString()
  transforms = {
      'in': beam_runner_api_pb2.PTransform(
          unique_name='in',
          spec=beam_runner_api_pb2.FunctionSpec(
              urn='beam:runner:source:v1', payload=port),
          outputs={'out': source}),
      'do': do,
      'out': beam_runner_api_pb2.PTransform(
          unique_name='out',
          spec=beam_runner_api_pb2.FunctionSpec(
              urn='beam:runner:sink:v1', payload=port),
          inputs={'in': sink}),
  }
  return beam_fn_api_pb2.ProcessBundleDescriptor(
      transforms=transforms,
      pcollections=components.pcollections,
      windowing_strategies=components.windowing_strategies,
      coders=components.coders,
      environments=components.environments)


if __name__ == '__main__':
  for fn in (Echo, Twice, Fail, Count, Write, Slow, Hang, Leak, Finalized, Probe, Exit):
    with open(os.path.join(sys.argv[1], fn.__name__ + '.pb'), 'wb') as f:
      f.write(descriptor(fn()).SerializeToString())
