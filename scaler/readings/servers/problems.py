# SPDX-License-Identifier: Apache-2.0
"""Pure: why a model server's page could not be read, as a sentence that says what to do.

Nothing of the answer's content is quoted: a tenant's pod decides what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scaler.budgets import SERVER_PAGE_BYTES
from scaler.readings.servers.address import DEFAULT_PATH
from scaler.readings.servers.table import SERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping

READABLE = "set gpu-scaler/metrics-port and gpu-scaler/metrics-path to those of its metrics page"


class Failure(StrEnum):
    """The kind of a failed read, as the `result` of the scaler's own counter."""

    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    NOT_IMPLEMENTED = "not_implemented"
    UNAVAILABLE = "unavailable"
    STATUS = "status"
    REDIRECT = "redirect"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    RESET = "reset"
    TIMEOUT = "timeout"
    NO_HTTP = "no_http"
    EMPTY = "empty"
    HTML = "html"
    CONTENT = "content"
    COMPRESSED = "compressed"
    OVER_BUDGET = "over_budget"
    TLS = "tls"
    CREDENTIALS = "credentials"
    ADDRESS = "address"
    UNEXPECTED = "unexpected"


_SENTENCES: Mapping[Failure, str] = {
    Failure.REDIRECT: "answers with a redirect, which is not followed; " + READABLE,
    Failure.REFUSED: "refuses the connection: it is still loading, has ended, or listens on another"
    " port or only on 127.0.0.1; otherwise set gpu-scaler/metrics-port",
    Failure.UNREACHABLE: "cannot be reached: allow the scaler's pod in the NetworkPolicies of this"
    " namespace, and check the pod's node",
    Failure.RESET: "closed the connection before the end of its answer: it is overloaded or ending,"
    ' or serves TLS (then set gpu-scaler/metrics-scheme: "https")',
    Failure.NO_HTTP: "answers with no valid HTTP: set gpu-scaler/metrics-port to the port of its"
    ' metrics page, and gpu-scaler/metrics-scheme: "https" if it serves TLS',
    Failure.EMPTY: "answers with an empty page: start it with metrics enabled, or " + READABLE,
    Failure.HTML: "answers with HTML, which is no metrics page: " + READABLE,
    Failure.CONTENT: "answers with no Prometheus text: " + READABLE,
    Failure.COMPRESSED: "answers compressed although it was asked not to: turn off compression of"
    " its metrics page",
    Failure.OVER_BUDGET: f"answers with more than {SERVER_PAGE_BYTES} bytes: " + READABLE
    + ", or reduce its labels",
    Failure.ADDRESS: "is not asked: no pod can have a loopback or link-local IP address; find out"
    " what wrote it into the pod's status",
}  # fmt: skip
_STATUSES: Mapping[int, Failure] = {
    401: Failure.UNAUTHORIZED,
    403: Failure.UNAUTHORIZED,
    404: Failure.NOT_FOUND,
    501: Failure.NOT_IMPLEMENTED,
    503: Failure.UNAVAILABLE,
}
_PATHS = ", ".join(
    f"{server.path} of {server.title}" for server in SERVERS if server.path != DEFAULT_PATH
)
_BY_STATUS: Mapping[Failure, str] = {
    Failure.UNAUTHORIZED: "the operator of the scaler gives it credentials for this namespace, with"
    " --servers.bearer-token-file and --servers.credentials-namespaces or with"
    " --servers.credentials-file",
    Failure.NOT_FOUND: f"start it with metrics enabled, or {READABLE}, such as {_PATHS}",
    Failure.NOT_IMPLEMENTED: "start it with metrics enabled",
    Failure.UNAVAILABLE: "it is loading or overloaded, and is asked again",
    Failure.STATUS: READABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadProblem:
    """Why there is no page; `sentence` is a predicate of the server ("refuses the connection")."""

    failure: Failure
    sentence: str


def plain_problem(failure: Failure) -> ReadProblem:
    """Return the problem of a failure that is alike for all servers."""
    return ReadProblem(failure=failure, sentence=_SENTENCES[failure])


def timeout_problem(seconds: float) -> ReadProblem:
    """Return the problem of an answer that did not come in time."""
    return ReadProblem(
        failure=Failure.TIMEOUT,
        sentence=f"did not answer within {seconds:g} s: it is overloaded or hangs, or a"
        " NetworkPolicy drops the scaler's requests; the operator sets --servers.timeout",
    )


def status_problem(status: int, hints: Mapping[int, str] | None = None) -> ReadProblem:
    """Return the problem of an HTTP status other than 200.

    `hints` say for statuses of the server in question what to do.
    """
    if 300 <= status < 400:
        return plain_problem(Failure.REDIRECT)
    failure = _STATUSES.get(status, Failure.STATUS)
    hint = (hints or {}).get(status) or _BY_STATUS[failure]
    return ReadProblem(failure=failure, sentence=f"answers {status}: {hint}")


def tls_problem(text: str) -> ReadProblem:
    """Return the problem of a failed handshake; `text` is our own library's reason."""
    return ReadProblem(
        failure=Failure.TLS,
        sentence=f"failed at TLS ({text}): the operator sets --servers.tls-ca-file or"
        " --servers.tls-server-name; without TLS, set gpu-scaler/metrics-scheme to http",
    )


def content_problem(body: bytes, content_type: str) -> ReadProblem | None:
    """Return why a body is no page at first sight, or None."""
    start = body[:256].lstrip().lower()
    if not start and not body.strip():
        return plain_problem(Failure.EMPTY)
    if content_type == "text/html" or start.startswith((b"<!doctype", b"<html")):
        return plain_problem(Failure.HTML)
    return None
