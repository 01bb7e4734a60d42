"""Leads external transforms to Fresnel while a pipeline is put together.

Without `expansion_service=`, Beam's Kafka and JDBC transforms want a jar: they download it, with a classpath for JDBC, and
start it with Java. A runner is asked to apply every transform of its pipelines, at every depth, so that is where these go
another way, and only in pipelines of that runner:

- a transform that was made with a jar's service gets an address in its place, for as long as it is expanded;
- services that are made during that time (Managed makes its own) get the address from Beam itself, as with --beam_services.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from apache_beam.transforms import external
from apache_beam.utils.subprocess_server import JavaJarServer

__all__ = ['TARGETS', 'leading_to']

# The Java expansion services that the job endpoint stands in for, as Beam names them.
TARGETS = (
    'sdks:java:io:expansion-service:shadowJar',
    'sdks:java:extensions:schemaio-expansion-service:shadowJar',
    ':sdks:java:extensions:schemaio-expansion-service:shadowJar',
    'sdks:java:io:google-cloud-platform:expansion-service:shadowJar',
)

# Where transforms keep their services.
_HOLDERS = ('_expansion_service', '_managed_expansion_service')


@contextlib.contextmanager
def leading_to(addresses: Mapping[str, str], transform: Any) -> Iterator[None]:
    """Within it, transform expands with the services at these addresses, by the jar's target."""
    held: dict[str, Any] = {name: getattr(transform, name, None) for name in _HOLDERS}
    instead = {name: addresses[service.gradle_target] for name, service in held.items() if _is_jar(service, addresses)}
    try:
        _set(transform, instead)
        with JavaJarServer.beam_services(addresses):
            yield
    finally:
        _set(transform, {name: held[name] for name in instead})


def _is_jar(service: Any, addresses: Mapping[str, str]) -> bool:
    return isinstance(service, external.BeamJarExpansionService) and service.gradle_target in addresses


def _set(transform: Any, services: Mapping[str, Any]) -> None:
    for name, service in services.items():
        setattr(transform, name, service)
