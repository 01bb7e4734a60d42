"""A server as a child process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from typing import IO

from fresnel._binary import binary

_ENDPOINT = re.compile(r'^fresnel: job endpoint (\S+)$')


class Server:
    """Runs `fresnel serve` on a free port until stop is called, or this process ends; `endpoint` is where it takes jobs."""

    endpoint: str

    def __init__(self, *flags: str, patience: float = 60) -> None:
        _pass_proxies()
        self._dir = tempfile.TemporaryDirectory(prefix='fresnel-')
        self._process = subprocess.Popen(
            [binary(), 'serve', '--job_port=0', '--log_level=warn', '--until_stdin_closes', f'--data_dir={self._dir.name}', *flags],
            stdin=subprocess.PIPE,  # it closes also where this process is killed
            stderr=subprocess.PIPE,
            text=True,
            env={'FRESNEL_PYTHON': sys.executable, **os.environ},
            start_new_session=True,  # Ctrl-C is for the program, which stops us when it ends
        )
        assert self._process.stderr is not None
        self._said: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        if not self._ready.wait(patience) or not hasattr(self, 'endpoint'):
            self.stop()
            raise RuntimeError('fresnel did not start: ' + ('\n'.join(self._said) or 'without a word'))

    def _read(self, stderr: IO[str]) -> None:
        """Passes on what the server says."""
        for line in stderr:
            found = _ENDPOINT.match(line.rstrip('\n'))
            if found:
                self.endpoint = found[1]
                self._ready.set()
                continue
            if not self._ready.is_set():
                self._said.append(line.rstrip('\n'))
            sys.stderr.write(line)
        self._ready.set()

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, patience: float = 20) -> None:
        """Ends the server, and all its jobs."""
        self._process.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._dir.cleanup()


def _pass_proxies() -> None:
    """Has gRPC reach a server on this machine directly: it asks a proxy for localhost too, and hangs."""
    given = os.environ.get('no_proxy') or os.environ.get('NO_PROXY') or ''
    have = [host for host in given.split(',') if host]
    os.environ['no_proxy'] = ','.join(have + [host for host in ('localhost', '127.0.0.1') if host not in have])
