"""A Beam runner that starts Fresnel where nobody has."""

from __future__ import annotations

import atexit
import threading
from typing import Any

from apache_beam.options.pipeline_options import CrossLanguageOptions, PipelineOptions, PortableOptions
from apache_beam.runners.portability import job_server, portable_runner

from fresnel import _elements, _leaving, _sampling, expansion
from fresnel.server import Server

__all__ = ['FresnelRunner']


class _OwnServer(job_server.JobServer):
    """The server of this process, as Beam wants to have one. It is started when it is needed, and ends with the process.

    Beam's StopOnExitJobServer would do the same for the main thread only, and end the server on an interrupt too, which in a
    notebook is not the end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._service: Any = None

    def endpoint(self) -> str:
        with self._lock:
            if self._server is None or not self._server.running():
                self._server, self._service = Server(), None
                atexit.register(self._server.stop)
            return self._server.endpoint

    def start(self) -> Any:
        endpoint = self.endpoint()
        with self._lock:
            self._service = self._service or job_server.ExternalJobServer(endpoint).start()  # type: ignore[no-untyped-call]
            return self._service

    def stop(self) -> None:
        with self._lock:
            server, self._server, self._service = self._server, None, None
        if server is not None:
            server.stop()


class FresnelRunner(portable_runner.PortableRunner):
    """Runs pipelines on the server at --job_endpoint, or else on one of this process's own.

    All pipelines of a process share that server; it ends with the process, which waits for jobs at its end. User code runs in threads of
    this process unless --environment_type says otherwise. Kafka and JDBC transforms that name no expansion service are expanded by the server.
    """

    _own_server = _OwnServer()

    def default_environment(self, options: PipelineOptions) -> Any:
        _default_to_loopback(options)
        return super().default_environment(options)

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        _default_to_loopback(options)
        _elements.install()
        _sampling.install()
        result = super().run_portable_pipeline(pipeline, options)
        if not options.view_as(PortableOptions).job_endpoint or options.view_as(PortableOptions).environment_type == 'LOOPBACK':
            _leaving.wait_for(result)  # it ends with this process
        return result

    def default_job_server(self, options: PipelineOptions) -> Any:
        return self._own_server

    def apply(self, transform: Any, input: Any, options: PipelineOptions) -> Any:
        with expansion.leading_to(self._expansion_services(options), transform):
            return super().apply(transform, input, options)

    def _expansion_services(self, options: PipelineOptions) -> dict[str, str]:
        """Addresses that take the place of jars; those that the user names come first."""
        endpoint = options.view_as(PortableOptions).job_endpoint or self._own_server.endpoint()
        ours = dict.fromkeys(expansion.TARGETS, endpoint) if endpoint != 'embed' else {}
        return {**ours, **options.view_as(CrossLanguageOptions).beam_services}


def _default_to_loopback(options: PipelineOptions) -> None:
    portable = options.view_as(PortableOptions)
    if not portable.environment_type:
        portable.environment_type = 'LOOPBACK'
