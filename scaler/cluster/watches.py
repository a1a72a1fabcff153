# SPDX-License-Identifier: Apache-2.0
"""The reflectors of the watched cluster, each with the workloads that depend on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from scaler.cluster.contact import Part, Watched
from scaler.kube.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scaler.kube.client import JsonObject, KubeClient

T = TypeVar("T")


class Watches:
    """Reflectors to be added, and then to be run together."""

    def __init__(self, client: KubeClient, *, exporters_namespace: str) -> None:
        self._client = client
        self._exporters_namespace = exporters_namespace
        self.all: list[Watched] = []

    def add(
        self,
        group: str,
        resource: str,
        scopes: Iterable[str | None],
        decoded: Callable[[JsonObject, T | None], T | None],
        changed: Callable[[T | None, T | None], None],
        *,
        kind: str | None = None,
        optional: bool = False,
        may_be_hidden: bool = True,
    ) -> tuple[Reflector[T], ...]:
        """Add a reflector for each namespace, or one for all of them if the scope is None.

        `kind` is set if only decisions on workloads of that kind depend on the watch.
        """
        reflectors = []
        for scope in scopes:
            within = "" if scope is None else f"/namespaces/{scope}"
            reflector = Reflector(
                self._client,
                f"{group}{within}/{resource}",
                decoded,
                changed=changed,
                optional=optional,
                may_be_hidden=may_be_hidden,
            )
            # All namespaces depend on the exporters.
            everybodys = resource == "pods" and scope == self._exporters_namespace
            part = Part(namespace=None if everybodys else scope, kind=kind)
            self.all.append(Watched(reflector=reflector, part=part))
            reflectors.append(reflector)
        return tuple(reflectors)

    async def run(self) -> None:
        """Keep watching until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self.all:
                group.create_task(one.reflector.run())
