"""What can go wrong between this program and the Kubernetes API, as one tree of exceptions.

    ClusterError
      ConfigurationError      no usable credentials: nothing can be asked at all
      ApiError                one request failed; `status` is the HTTP status
        Unauthorized          401  the token or certificate is not accepted
        Forbidden             403  RBAC says no
        NotFound              404  no such object, or no such resource on this server
        Conflict              409  the resourceVersion is not the newest any more
          AlreadyExists       409  create of something that exists
        Gone                  410  the resourceVersion or continue token is too old: list again
        Invalid               422  the server refuses the object as it is
        TooManyRequests       429  the server is busy; see `retry_after_seconds`
        ServerError           5xx  the server's own failure
        Unreachable           no answer (`status` is None): refused, reset, TLS, timeout

`except ApiError` therefore catches whatever one request can end in, and `str(error)` says which
request, which status and what the server said.
"""

# ruff: noqa: N818  (the names are the reasons that the API itself gives)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClusterError(Exception):
    """Root of all errors of this package."""


class ConfigurationError(ClusterError):
    """No usable credentials or server address were found."""


class ApiError(ClusterError):
    """A request that did not succeed.

    `reason` is the CamelCase word of the server's `metav1.Status` ("NotFound"), `message` its
    sentence, `body` the whole Status (empty where the answer was not JSON). `sent` is False where
    the server was not even asked, since it had asked to be left alone (`retry_after_seconds`).
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
        code = "no answer" if status is None else f"{status} {reason}"
        wait = f"; asked to wait {retry_after_seconds:.0f} s" if retry_after_seconds else ""
        super().__init__(f"{request}: {code}: {message}{wait}")
        self.request = request
        self.status = status
        self.reason = reason
        self.message = message
        self.body: Mapping[str, Any] = body or {}
        self.retry_after_seconds = retry_after_seconds
        self._sent = sent

    def is_refusal(self) -> bool:
        """Return whether nothing was done; otherwise what was asked may have been done or not."""
        return not self._sent or (self.status is not None and self.status < 500)


class Unauthorized(ApiError):
    """401: the token or certificate is not accepted."""


class Forbidden(ApiError):
    """403: RBAC says no."""


class NotFound(ApiError):
    """404: no such object, or no such resource on this server."""


class Conflict(ApiError):
    """409: the object changed since its resourceVersion was read."""


class AlreadyExists(Conflict):
    """409 on a create: the object is there already."""


class Gone(ApiError):
    """410: the resourceVersion or continue token is too old."""


class Invalid(ApiError):
    """422: the server refuses the object as it is."""


class TooManyRequests(ApiError):
    """429: the server is busy."""


class ServerError(ApiError):
    """5xx: the server's own failure."""


class Unreachable(ApiError):
    """No answer at all: connection refused or reset, TLS failure, timeout."""


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
    """Return the exception for an HTTP status and the `metav1.Status` that came with it.

    `text` is the raw answer, quoted (cut) where the body is no Status: a proxy's HTML page.
    """
    reason = str(body.get("reason") or "")
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    if status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(
        request=request,
        status=status,
        reason=reason or kind.__name__,
        message=str(body.get("message") or text[:200] or "the server gave no message"),
        body=body,
        retry_after_seconds=retry_after_seconds,
    )
