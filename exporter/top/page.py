# SPDX-License-Identifier: Apache-2.0
"""The page of an exporter on another node, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from exporter.top.rows import ASKED, node_gpus
from toolkit.http_access import HttpAccess
from toolkit.http_body import AnswerTooLargeError, read_body
from toolkit.http_credentials import AccessError, Credentials

if TYPE_CHECKING:
    from exporter.top.rows import NodeGpus

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
MAX_PAGE_BYTES: Final = 16 << 20
_HEADERS: Final = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}
_MAX_MESSAGE: Final = 300


class TopError(Exception):
    """There are no readings at this URL; the message names it and says why."""


async def read_page(address: str, credentials: Credentials | None = None) -> NodeGpus:
    """Return the GPUs that the exporter at this URL publishes.

    Raises:
        TopError: no answer within 10 s, or none of an exporter with current readings; or a file of
            the credentials cannot be used.
    """
    url = URL(address).update_query([("name[]", name) for name in ASKED])
    # A password in the URL stays between the user and the server.
    shown = URL(address).with_user(None)
    try:
        text = await _fetched(url, credentials or Credentials(HttpAccess()))
        node = node_gpus(text_string_to_metric_families(text))
    except TimeoutError:
        msg = f"{shown} did not answer within {TIMEOUT.total:.0f} s"
        raise TopError(msg) from None
    except AccessError as error:
        raise TopError(str(error)) from error
    except (aiohttp.ClientError, AnswerTooLargeError, OSError) as error:
        msg = f"{shown}: {error or type(error).__name__}"
        raise TopError(msg[:_MAX_MESSAGE]) from error
    except (ValueError, IndexError, KeyError) as error:
        msg = f"{shown} answers with something that is no exposition of metrics"
        raise TopError(msg) from error
    if not node.is_exporter:
        msg = f"{shown} answers, but is no gpu-exporter: it has no nvidia_gpu_exporter_* metrics"
        raise TopError(msg)
    if node.device_count is None:
        msg = f"the exporter at {shown} has no current readings; its /readyz says why"
        raise TopError(msg)
    return node


async def _fetched(url: URL, credentials: Credentials) -> str:
    granted = await credentials.current()
    headers = {**_HEADERS, **granted.headers}
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session,
        session.get(
            url, ssl=granted.tls, server_hostname=granted.server_name, allow_redirects=False
        ) as answer,
    ):
        if answer.status in (401, 403):
            msg = (
                f"HTTP status {answer.status} (--url.username, --url.password-file,"
                " --url.bearer-token-file, --url.tls-cert-file)"
            )
            raise aiohttp.ClientPayloadError(msg)
        if answer.status != 200:
            msg = f"HTTP status {answer.status}, expected 200"
            raise aiohttp.ClientPayloadError(msg)
        body = await read_body(answer, max_bytes=MAX_PAGE_BYTES)
    return body.decode(errors="replace")
