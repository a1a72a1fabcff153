# SPDX-License-Identifier: Apache-2.0
"""Client of a scaler's API at a URL, for `status`, `why-not` and `explain`."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from yarl import URL

from scaler.kube.failures import connection_problem
from toolkit.http_body import AnswerTooLargeError, read_body
from toolkit.http_credentials import AccessError, Credentials, Granted

if TYPE_CHECKING:
    from toolkit.http_access import HttpAccess

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 2**20
"""Decisions take about 2 KB per Deployment."""
MAX_PAGE_BYTES: Final = 2**20
EXPORTER_TITLE: Final = "GPU exporter"
"""The title of the exporter's page."""


class ScalerClientError(RuntimeError):
    """The scaler did not answer with a JSON object; the message is for the user."""


async def get_from_server(url: str, access: HttpAccess) -> dict[str, Any]:
    """Return the JSON document at a URL of a scaler.

    Raises:
        ScalerClientError: the scaler did not answer, or not with a JSON object.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        granted = await Credentials(access).current()
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=granted.headers) as session,
            session.get(url, ssl=granted.tls, server_hostname=granted.server_name) as response,
        ):
            body = await read_body(response, max_bytes=MAX_ANSWER_BYTES)
        if response.status in (401, 403):
            why = body[:200].decode(errors="replace").strip()
            raise ScalerClientError(
                f"the scaler at {url} answered {response.status}: {why}"
                " (--server.username, --server.password-file, --server.tls-cert-file)"
            )
        if response.status != 200 and response.content_type != "application/json":
            msg = f"{url} answered {response.status}: {await _what_answers(url, granted)}"
            raise ScalerClientError(msg)
        document = orjson.loads(body)
    except AccessError as error:
        raise ScalerClientError(str(error)) from error
    except TimeoutError as error:
        msg = f"the scaler at {url} did not answer within {TIMEOUT_SECONDS:g} s"
        raise ScalerClientError(msg) from error
    except AnswerTooLargeError as error:
        raise ScalerClientError(f"cannot query the scaler at {url}: {error}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        msg = f"cannot query the scaler at {url}: {connection_problem(error)}"
        raise ScalerClientError(msg) from error
    if not isinstance(document, dict):
        raise ScalerClientError(f"the response of {url} is not a JSON object")
    return document


async def _what_answers(url: str, granted: Granted) -> str:
    """Return a guess by the title of the first page there, which is asked without credentials."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    title = ""
    with suppress(AnswerTooLargeError, TimeoutError, aiohttp.ClientError, OSError):
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(
                URL(url).with_path("/"),
                ssl=granted.tls,
                server_hostname=granted.server_name,
                allow_redirects=False,
            ) as response,
        ):
            body = await read_body(response, max_bytes=MAX_PAGE_BYTES)
        found = re.search(rb"<title>([^<]{1,100})</title>", body)
        title = found[1].decode(errors="replace").strip() if found else ""
    if title == EXPORTER_TITLE:
        return (
            "this is a gpu-exporter; pass the address of gpu-scaler, whose port is 9446 by default"
        )
    called = f" (its page is called {title!r})" if title else ""
    return f"this is no gpu-scaler{called}"
