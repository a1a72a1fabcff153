# SPDX-License-Identifier: Apache-2.0
"""GET with the pod's own service account.

https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from toolkit.http_body import AnswerTooLargeError, read_body

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
MAX_ANSWER_BYTES: Final = 16 << 20
MAX_MESSAGE_CHARACTERS: Final = 1024
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class KubeApiError(Exception):
    """The API server did not answer as asked; `status` is its HTTP status, None without one."""

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status = status


class ApiClient:
    """Asks the API server at `url`; `folder` has the service account's `token` and `ca.crt`.

    Both are read again when needed: the kubelet renews the token every hour.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, *, accept: str = "application/json", **query: str) -> Any:
        """Return the decoded answer.

        Raises:
            KubeApiError: no token, no connection, no permission, nothing there, or no JSON.
        """
        try:
            token = await asyncio.to_thread((self._folder / "token").read_text)
            session = await self._opened()
            headers = {"Accept": accept, "Authorization": f"Bearer {token.strip()}"}
            async with session.get(
                self._url + path, headers=headers, params=query, allow_redirects=False
            ) as answer:
                body = await read_body(answer, max_bytes=MAX_ANSWER_BYTES)
        except (OSError, aiohttp.ClientError, AnswerTooLargeError, ValueError) as error:
            # A token that is no text, or does not fit a header, is a ValueError. The next request
            # opens a new session with the CA of that time.
            await self.close()
            text = f"GET {path}: {type(error).__name__}: {error}"
            raise KubeApiError(None, text) from error
        if answer.status != 200:
            raise KubeApiError(answer.status, f"GET {path}: {answer.status} {_message(body)}")
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise KubeApiError(answer.status, f"GET {path}: no JSON: {error}") from error

    async def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = await asyncio.to_thread(
                ssl.create_default_context, cafile=str(self._folder / "ca.crt")
            )
            # Another one who asks may have opened it meanwhile.
            if self._session is None:
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=context), timeout=TIMEOUT
                )
        return self._session

    async def close(self) -> None:
        """Drop the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _message(body: bytes) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    message = document.get("message") if isinstance(document, dict) else None
    return message[:MAX_MESSAGE_CHARACTERS] if isinstance(message, str) else ""
