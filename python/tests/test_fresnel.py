"""Runs in an environment that has the wheel and Beam: see integration/run."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata, resources
from unittest import mock

import apache_beam as beam
from apache_beam.io import jdbc, kafka
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker import bundle_processor, sdk_worker, statecache, statesampler
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import managed
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, CombiningValueStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.counters import CounterFactory

import fresnel
import fresnel.server
from fresnel import _commits, _leaving, _sampling, _sizes, _turns


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


def test_runner_works_in_any_thread():
    states = []
    def run():
        p = beam.Pipeline(runner=fresnel.FresnelRunner())
        p | beam.Create([1])
        states.append(p.run().wait_until_finish())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert states == ['DONE']


def test_processes_run_the_same_python():
    with beam.Pipeline(argv=['--runner=fresnel.FresnelRunner', '--environment_type=PROCESS', '--environment_config={"command": "fresnel boot"}',
                             '--sdk_worker_parallelism=1']) as p:
        assert_that(p | beam.Create([0]) | beam.Map(lambda _, here=os.getpid(): (os.getpid() != here, sys.prefix)), equal_to([(True, sys.prefix)]))


class Unprintable:
    def __repr__(self):
        raise RuntimeError


def test_an_exception_tells_its_element():
    def refuse(x):
        raise ValueError('no')

    for make, told in [(lambda: ('key', 17), "('key', 17)"), (lambda: b'x' * 100_000, '... (100000 bytes)'), (lambda: 'a\nb', "'a\\nb'"),
                       (Unprintable, 'Unprintable')]:
        p = beam.Pipeline(runner=fresnel.FresnelRunner())
        p | beam.Impulse() | beam.Map(lambda _, make=make: make()) | 'Refuse' >> beam.Map(refuse)
        try:
            p.run().wait_until_finish()
        except RuntimeError as e:
            line = next(line for line in str(e).splitlines() if line.startswith('with the element '))
            assert told in line and len(line) < 1100, line
        else:
            raise AssertionError('it ran')


class Alarm(beam.DoFn):
    TIMER = TimerSpec('due', TimeDomain.WATERMARK)

    def __init__(self, fails):
        self.fails = fails

    def process(self, element, timer=beam.DoFn.TimerParam(TIMER)):
        timer.set(12)

    @on_timer(TIMER)
    def ring(self):
        if self.fails == 'timer':
            raise ValueError('no')

    def finish_bundle(self):
        if self.fails == 'finish':
            raise ValueError('no')


def test_an_exception_tells_its_timer():
    for fails, told in [('timer', ["with the timer due of the key 'k', due at Timestamp(12), in GlobalWindow"]), ('finish', [])]:
        p = beam.Pipeline(runner=fresnel.FresnelRunner())
        p | beam.Create([('k', 17)]) | beam.ParDo(Alarm(fails))
        try:
            p.run().wait_until_finish()
        except RuntimeError as e:
            lines = str(e).splitlines()
            assert [line for line in lines if line.startswith('with the ')][:1] == told, e
        else:
            raise AssertionError('it ran')


def test_a_program_waits_for_its_jobs():
    program = ('import sys, time, apache_beam as beam\n'
               "p = beam.Pipeline(argv=['--runner=fresnel.FresnelRunner'])\n"
               "p | beam.Create([1]) | beam.Map(lambda x: (time.sleep(1), print('worked', flush=True)))\n"
               'p.run()\n')
    run = [sys.executable, '-c', program]
    assert 'worked' in subprocess.run(run, check=True, capture_output=True, text=True).stdout
    run[-1] += 'raise SystemError\n'
    failed = subprocess.run(run, capture_output=True, text=True)
    assert failed.returncode == 1 and 'worked' not in failed.stdout, failed


def test_a_program_fails_with_a_job_that_it_does_not_wait_for():
    left = os.path.join(tempfile.mkdtemp(), 'left')
    program = ('import atexit, sys, apache_beam as beam\n'
               "p = beam.Pipeline(argv=['--runner=fresnel.FresnelRunner'])\n"
               "p | beam.Create([1]) | 'Refuse' >> beam.Map(lambda x: x / 0)\n"
               "atexit.register(print, 'others do what they have to')\n"
               f"f = open({left!r}, 'w')\n"
               "f.write('and what is open is written')\n"
               'p.run()\n')
    ran = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert ran.returncode == 1 and 'others do what they have to' in ran.stdout and 'in Refuse' in ran.stderr, ran
    with open(left, encoding='utf-8') as f:
        assert f.read() == 'and what is open is written'


TYPED = '''
import apache_beam as beam
k = 2
def times(x):
    return k * x

p = beam.Pipeline(argv=%r)
out = p | beam.Create([4]) | beam.Map(times) | beam.Map(lambda x: print('result', x, flush=True))
print('state', p.run().wait_until_finish())
'''


def test_a_shell_and_a_program_over_standard_input_submit():
    server = fresnel.server.Server()
    try:
        there = ['--runner=PortableRunner', '--job_endpoint=' + server.endpoint, '--save_main_session']
        for how, argv in [('-', ['--runner=fresnel.FresnelRunner']), ('-i', ['--runner=fresnel.FresnelRunner']),
                          ('-i', there + ['--environment_type=LOOPBACK']),
                          ('-i', there + ['--environment_type=PROCESS', '--environment_config={"command": "fresnel boot"}'])]:
            ran = subprocess.run([sys.executable, how], input=TYPED % argv, capture_output=True, text=True)
            assert ran.returncode == 0 and 'state DONE' in ran.stdout, ran
            assert 'PROCESS' in str(argv) or 'result 8' in ran.stdout, ran  # in a process, the server has it in its log
    finally:
        server.stop()


def urns(pipeline):
    return [t.spec.urn for t in pipeline.to_runner_api().components.transforms.values()]


def read_kafka():
    return kafka.ReadFromKafka({'bootstrap.servers': 'localhost:1'}, ['topic'])


def write_jdbc():
    return jdbc.WriteToJdbc('table', 'com.mysql.cj.jdbc.Driver', 'jdbc:mysql://localhost:1/db', 'user', 'secret', statement='INSERT ...',
                            classpath=['com.mysql:mysql-connector-j:9.1.0'])


# integration/run sees to it that there is no Java, no network, and that Beam's cache of jars is empty before and after.


def test_external_transforms_need_no_expansion_service():
    p = beam.Pipeline(runner=fresnel.FresnelRunner())
    p | 'Kafka' >> read_kafka()
    p | 'Managed' >> managed.Read(managed.KAFKA, {'bootstrap_servers': 'localhost:1', 'topic': 'topic', 'format': 'RAW'})
    p | beam.Create([beam.Row(name='a')]) | write_jdbc()
    ours = [urn for urn in urns(p) if urn.startswith('fresnel:')]
    assert sorted(ours) == ['fresnel:transform:kafka_read:v1'] * 2 + ['fresnel:transform:mysql_write:v1'], ours
    assert not os.path.exists(os.path.expanduser('~/.apache_beam'))


def test_other_runners_keep_their_expansion_services():
    transform = read_kafka()
    service = transform._expansion_service
    beam.Pipeline(runner=fresnel.FresnelRunner()) | transform
    assert transform._expansion_service is service


def test_services_that_the_user_names_come_first():
    options = PipelineOptions(['--beam_services={"sdks:java:io:expansion-service:shadowJar": "localhost:1"}'])
    try:
        beam.Pipeline(runner=fresnel.FresnelRunner(), options=options) | read_kafka()
    except Exception as e:
        assert '127.0.0.1:1:' in str(e), e
    else:
        raise AssertionError('it was expanded elsewhere')


def test_server_ends_with_a_process_that_is_killed():
    program = 'import time; from fresnel.server import Server; s = Server(); print(s._process.pid, flush=True); time.sleep(60)'
    child = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True)
    server = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    for _ in range(200):
        try:
            os.kill(server, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError('the server goes on')


def test_plain_values_are_weighed_without_a_walk_over_modules():
    weighed = statecache.get_deep_size
    recursive = []
    recursive.append(recursive)
    for value in ([], [1], ['a', b'b', 2.5, True], [('k', [1, 2])], [{'a': [1], 'b': {2}}]):
        assert weighed(value) <= _sizes.plain_size(value) <= 2 * weighed(value), value
    shared = [1]
    for value in ([object()], [[1, len]], {1: object()}, recursive, [shared, shared]):
        assert _sizes.plain_size(value) == 0, value
    _sizes.install()
    try:
        with mock.patch.object(statecache.objsize, 'get_deep_size', side_effect=AssertionError('objsize was asked')):
            cache = statecache.StateCache(1 << 20)
            cache.put('key', [1, 2])
            assert cache.peek('key') == [1, 2]
        assert statecache.get_deep_size([object()]) == weighed([object()])
    finally:
        statecache.get_deep_size = weighed


class _Result:
    """Of a job with three states, as Beam's: it reads them up to the last."""

    def __init__(self, last):
        self._state, self._last, self._state_stream = None, last, iter(['STARTING', 'RUNNING', 'DONE' if last == 'RUNNING' else last, 'the end'])

    def wait_until_finish(self):
        for self._state in self._state_stream:
            if self._state == self._last:
                break
        if self._last == 'FAILED':
            raise RuntimeError
        return self._state


def test_states_are_read_to_their_end():
    for last, left in ('DONE', None), ('FAILED', None), ('RUNNING', 'DONE'):
        result = _Result(last)
        _leaving.wait_for(result)
        try:
            assert result.wait_until_finish() == last
        except RuntimeError:
            assert last == 'FAILED'
        assert next(result._state_stream, None) == left, last


class _StateService:
    """Answers state requests as a runner does, the first once there are so many."""

    def __init__(self, least=1, refuses=''):
        self.requests, self.least, self.refuses = [], least, refuses

    def State(self, requests):
        held = []
        for request in requests:
            self.requests.append(request)
            held.append(request)
            if len(self.requests) >= self.least:
                for r in held:
                    yield beam_fn_api_pb2.StateResponse(id=r.id, error=self.refuses)
                held = []


def _commit(service, capabilities=''):
    """Commits a bundle with some state, in a thread. Returns what that raised, or that it hangs."""
    commit, request = bundle_processor.FnApiUserStateContext.commit, sdk_worker.GrpcStateHandler._request
    handler = sdk_worker.GrpcStateHandler(service)
    context = bundle_processor.FnApiUserStateContext(
        sdk_worker.GlobalCachingStateHandler(statecache.StateCache(0), handler), 'step', beam.coders.BytesCoder(), GlobalWindows().get_window_coder())
    ints = beam.coders.VarIntCoder()
    bag, value, total = (
        context.get_state(spec, b'key', GlobalWindow())
        for spec in (BagStateSpec('bag', ints), ReadModifyWriteStateSpec('value', ints), CombiningValueStateSpec('sum', ints, sum)))
    raised = []

    def run():
        with mock.patch.dict(os.environ, RUNNER_CAPABILITIES=capabilities):
            _commits.install()
        try:
            with handler.process_instruction_id('bundle'):
                bag.add(1)
                value.write(2)
                total.clear()
                context.commit()
        except Exception as e:  # pylint: disable=broad-except
            raised.append(str(e))
        finally:
            bundle_processor.FnApiUserStateContext.commit, sdk_worker.GrpcStateHandler._request = commit, request
            handler.done()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    return raised or ['hangs'] * thread.is_alive()


WRITTEN = [('bag', 'append'), ('value', 'clear'), ('value', 'append'), ('sum', 'clear')]


def _parts(request):
    data = request.append.data
    while data:
        assert data[0] < 0x80
        part, data = data[1:1 + data[0]], data[1 + data[0]:]
        yield beam_fn_api_pb2.StateRequest.FromString(part)


def _written(requests):
    return [(r.state_key.bag_user_state.user_state_id, r.WhichOneof('request')) for r in requests]


def test_state_is_committed_together_where_the_runner_takes_it():
    service = _StateService()
    assert not _commit(service, 'other ' + _commits.CAPABILITY)
    (request, ) = service.requests
    assert request.state_key.runner.key == _commits.KEY and request.instruction_id == 'bundle'
    assert _written(_parts(request)) == WRITTEN


def test_state_is_sent_before_it_is_waited_for():
    service = _StateService(least=len(WRITTEN))
    assert not _commit(service)
    assert _written(service.requests) == WRITTEN


def test_state_that_is_refused_fails_the_bundle():
    for capabilities in ('', _commits.CAPABILITY):
        assert _commit(_StateService(refuses='no room'), capabilities) == ['no room']


def test_what_samples_a_bundle_does_not_hold_it_up():
    original = statesampler.StateSampler.__init__
    _sampling.install()
    installed = statesampler.StateSampler.__init__
    _sampling.install()
    assert statesampler.StateSampler.__init__ is installed
    try:
        slow = 0
        for i in range(6):
            sampler = statesampler.StateSampler('', CounterFactory())
            sampler.start()
            time.sleep(0.3 + i * 0.01)  # by then it sleeps for 60 ms, with Beam's period
            start = time.monotonic()
            sampler.stop()
            slow += time.monotonic() - start > 0.01
        assert slow < 3, slow
    finally:
        statesampler.StateSampler.__init__ = original


def test_a_split_does_not_wait_long_for_its_turn():
    original, usual = sdk_worker.SdkHarness._request_process_bundle_split, sys.getswitchinterval()
    seen = []

    class Harness:
        _report_progress_executor = concurrent.futures.ThreadPoolExecutor(max_workers=1)

        def _request_process_bundle_split(self, request):
            self._report_progress_executor.submit(lambda: seen.append((request, sys.getswitchinterval())))

    harness = Harness()
    try:
        sdk_worker.SdkHarness._request_process_bundle_split = Harness._request_process_bundle_split
        _turns.install()
        installed = sdk_worker.SdkHarness._request_process_bundle_split
        _turns.install()
        assert sdk_worker.SdkHarness._request_process_bundle_split is installed
        for request in range(3):
            installed(harness, request)
        harness._report_progress_executor.shutdown(wait=True)
        assert [r for r, _ in seen] == [0, 1, 2]
        assert all(interval <= _turns.QUICK_S * 1.01 for _, interval in seen), seen
        assert sys.getswitchinterval() == usual
    finally:
        sdk_worker.SdkHarness._request_process_bundle_split = original
        sys.setswitchinterval(usual)


if __name__ == '__main__':
    for name, test in list(globals().items()):
        if name.startswith('test_'):
            test()
            print('ok', name)
