# SPDX-License-Identifier: Apache-2.0
"""The operator's credentials for model servers, by namespace, from files that rotate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from scaler.budgets import shown
from scaler.readings.servers.credentials_text import (
    CredentialsError,
    parse_credentials,
    without_credentials,
)
from scaler.readings.settings import ALL_NAMESPACES
from toolkit.http_credentials import (
    MAX_SECRET_BYTES,
    REREAD_SECONDS,
    AccessError,
    Credentials,
    Granted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.readings.settings import ServersSettings
    from toolkit.http_access import HttpAccess


class ServerCredentials:
    """What a request to a pod may carry: by the file, else by the flags, else no credentials."""

    def __init__(self, settings: ServersSettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._none = Credentials(without_credentials(settings.access), clock=clock)
        self._own = Credentials(settings.access, clock=clock)
        self._text: bytes | None = None
        self._of_file: Mapping[str, Credentials] = {}
        self._read_at_seconds: float | None = None
        self._lock = asyncio.Lock()

    async def current(self, namespace: str) -> Granted:
        """Return the headers and TLS settings for a pod of this namespace.

        Raises:
            AccessError: a file is missing or invalid. Without the credentials file, nobody knows
                which credentials are whose, so that no pod is asked.
        """
        return await (await self._of(namespace)).current()

    async def _of(self, namespace: str) -> Credentials:
        listed = await self._listed()
        found = listed.get(namespace) or listed.get(ALL_NAMESPACES)
        if found is not None:
            return found
        given = self._settings.namespaces
        return self._own if namespace in given or ALL_NAMESPACES in given else self._none

    async def _listed(self) -> Mapping[str, Credentials]:
        path = self._settings.credentials_file
        if path is None:
            return {}
        async with self._lock:
            now = self._clock()
            if self._read_at_seconds is None or now - self._read_at_seconds >= REREAD_SECONDS:
                self._read_at_seconds = None
                text, accesses = await asyncio.to_thread(_read, path, self._settings.access)
                if text != self._text:
                    self._of_file = _by_namespace(accesses, self._clock)
                    self._text = text
                self._read_at_seconds = now
            return self._of_file


def _by_namespace(
    accesses: Mapping[str, HttpAccess], clock: Callable[[], float]
) -> Mapping[str, Credentials]:
    """Return one set of credentials for the namespaces of an entry: it reads its files once."""
    shared = {access: Credentials(access, clock=clock) for access in accesses.values()}
    return {namespace: shared[access] for namespace, access in accesses.items()}


def _read(path: str, default: HttpAccess) -> tuple[bytes, Mapping[str, HttpAccess]]:
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_SECRET_BYTES + 1)
        if len(text) > MAX_SECRET_BYTES:
            raise CredentialsError(f"larger than {MAX_SECRET_BYTES} bytes")
        return text, parse_credentials(yaml.safe_load(text), Path(path).parent, default)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        msg = f"cannot use --servers.credentials-file {path}: {shown(error)}"
        raise AccessError(msg) from error
