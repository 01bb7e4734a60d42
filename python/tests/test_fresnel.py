"""Runs in an environment that has the wheel and Beam: see integration/run."""

import subprocess
import sys
from importlib import metadata, resources

import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to

import fresnel


def test_command_is_the_program():
    out = subprocess.run([sys.executable, '-m', 'fresnel', 'version'], check=True, capture_output=True, text=True).stdout
    assert out.startswith('fresnel ')


def test_package_is_typed_and_has_its_version():
    assert resources.files(fresnel).joinpath('py.typed').is_file()
    assert metadata.version('fresnel') == fresnel.__version__


def test_runner_by_name_starts_a_server():
    with beam.Pipeline(argv=['--runner=fresnel.FresnelRunner']) as p:
        assert_that(p | beam.Create([1, 2, 3]) | beam.Map(lambda x: (x % 2, x)) | beam.GroupByKey() | beam.MapTuple(lambda k, v: (k, sorted(v))),
                    equal_to([(0, [2]), (1, [1, 3])]))


def test_pipelines_share_the_server():
    runner = fresnel.FresnelRunner()
    results = []
    for _ in range(2):
        p = beam.Pipeline(runner=runner)
        p | beam.Create([1]) | beam.Map(str)
        results.append(p.run())
        assert results[-1].wait_until_finish() == 'DONE'
    assert results[0].state == 'DONE'


if __name__ == '__main__':
    for name, test in list(globals().items()):
        if name.startswith('test_'):
            test()
            print('ok', name)
