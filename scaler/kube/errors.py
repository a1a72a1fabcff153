# SPDX-License-Identifier: Apache-2.0
"""The exceptions of the Kubernetes API client.

`except ApiError` catches every failure of a request, and `str(error)` has the request, the status
and the server's message.
"""

# ruff: noqa: N818  (the names are the reasons that the API itself gives)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaler.budgets import clipped

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_REASON_CHARACTERS = 100


class ClusterError(Exception):
    """Root of all errors of this package."""


class ConfigurationError(ClusterError):
    """No usable credentials or server address were found, so no request is possible."""


class ApiError(ClusterError):
    """A failed request.

    `reason` is the CamelCase reason of the server's `metav1.Status` ("NotFound"), `message` its
    message, `body` the whole Status (empty if the response was not JSON). `sent` is False if the
    request was not sent because of an earlier `Retry-After` (`retry_after_seconds`).
    """

    def __init__(
        self,
        *,
        request: str,
        status: int | None,
        reason: str,
        message: str,
        body: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
        sent: bool = True,
    ) -> None:
        code = "no response" if status is None else f"{status} {reason}"
        wait = f"; retry after {retry_after_seconds:.0f} s" if retry_after_seconds else ""
        super().__init__(f"{request}: {code}: {message}{wait}")
        self.request = request
        self.status = status
        self.reason = reason
        self.message = message
        self.body: Mapping[str, Any] = body or {}
        self.retry_after_seconds = retry_after_seconds
        self._sent = sent

    def is_refusal(self) -> bool:
        """Return whether the request had no effect; otherwise it may have had one."""
        return not self._sent or (self.status is not None and 300 <= self.status < 500)


class Unauthorized(ApiError):
    """401: the token or certificate is not accepted."""


class Forbidden(ApiError):
    """403: RBAC denies the request."""


class NotFound(ApiError):
    """404: no such object, or no such resource on this server."""

    def is_missing(self, name: str) -> bool:
        """Return whether the server says that the object of this name does not exist.

        An API that is not served, a starting server and a proxy answer 404 as well, although the
        objects exist.
        """
        details = self.body.get("details")
        return isinstance(details, dict) and details.get("name") == name


class Conflict(ApiError):
    """409: the resourceVersion is not the latest: the object changed since it was read."""


class AlreadyExists(Conflict):
    """409 on create: the object exists."""


class Gone(ApiError):
    """410: the resourceVersion or continue token is too old: list again."""


class Invalid(ApiError):
    """422: the object is invalid."""


class TooManyRequests(ApiError):
    """429: the server is busy; see `retry_after_seconds`."""


class ServerError(ApiError):
    """5xx: the server failed."""


class ResponseTooLarge(ApiError):
    """The response exceeds the maximum size; a write may have had its effect."""


class Unreachable(ApiError):
    """No response (`status` is None): connection refused or reset, TLS failure, timeout."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(
    *,
    request: str,
    status: int,
    body: Mapping[str, Any],
    text: str = "",
    retry_after_seconds: float | None = None,
) -> ApiError:
    """Return the exception for an HTTP status and its `metav1.Status`.

    `text` is the raw response, quoted in part if it is not a Status, such as a proxy's HTML page.
    """
    reason = str(body.get("reason") or "")[:MAX_REASON_CHARACTERS]
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    if status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(
        request=request,
        status=status,
        reason=reason or kind.__name__,
        message=clipped(str(body.get("message") or text[:200] or "no message")),
        body=body,
        retry_after_seconds=retry_after_seconds,
    )
