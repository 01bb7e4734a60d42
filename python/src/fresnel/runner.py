"""A Beam runner that starts Fresnel where nobody has."""

from __future__ import annotations

from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.portability import job_server, portable_runner
from apache_beam.utils import shared

from fresnel.server import Server

__all__ = ['FresnelRunner']


class FresnelRunner(portable_runner.PortableRunner):
    """Runs pipelines on the server at --job_endpoint, or else on one of this process's own.

    All pipelines of a process share that server; it ends with the process. User code runs in threads of this process unless
    --environment_type says otherwise.
    """

    _shared = shared.Shared()

    def default_environment(self, options: PipelineOptions) -> Any:
        _default_to_loopback(options)
        return super().default_environment(options)

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        _default_to_loopback(options)
        return super().run_portable_pipeline(pipeline, options)

    def default_job_server(self, options: PipelineOptions) -> Any:
        return self._shared.acquire(lambda: job_server.StopOnExitJobServer(_JobServer()))


def _default_to_loopback(options: PipelineOptions) -> None:
    portable = options.view_as(PortableOptions)
    if not portable.environment_type:
        portable.environment_type = 'LOOPBACK'


class _JobServer(job_server.JobServer):
    """A server as Beam wants to have it."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._service: Any = None

    def start(self) -> Any:
        if self._server is None:
            self._server = Server()
            self._service = job_server.ExternalJobServer(self._server.endpoint).start()
        return self._service

    def stop(self) -> None:
        server, self._server, self._service = self._server, None, None
        if server is not None:
            server.stop()
