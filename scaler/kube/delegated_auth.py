# SPDX-License-Identifier: Apache-2.0
"""Delegated authentication and authorization: TokenReview and SubjectAccessReview, cached 10 s."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scaler.kube.errors import ApiError
from scaler.model import User
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from scaler.kube.client import KubeClient

log = logging.getLogger(__name__)

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
REMEMBERED_SECONDS = 10.0
MAX_REMEMBERED = 4096
MAX_AT_ONCE = 16
"""Of each kind, so that reviews of unknown tokens cannot take all connections of the scaler."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """What a user requests: a resource, or a `path` if `resource` is empty."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDecision:
    """Whether a request is allowed, and the authorizer's reason."""

    allowed: bool
    reason: str = ""


class DelegatedAuth:
    """Reviews tokens and access at the API server; equal reviews share a result for 10 s."""

    def __init__(self, client: KubeClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._token_limit = asyncio.Semaphore(MAX_AT_ONCE)
        self._access_limit = asyncio.Semaphore(MAX_AT_ONCE)
        self._outage = OutageLog(log, "Cannot review clients", "Reviews of clients work again")
        self._users: _Remembered[User | None] = _Remembered(clock)
        self._verdicts: _Remembered[AccessDecision] = _Remembered(clock)

    async def user_of(self, token: str) -> User | None:
        """Return the user of a token, None if it is invalid; raises ApiError."""
        digest = hashlib.sha256(token.encode()).digest()
        return await self._users.get(digest, lambda: self._review_token(token))

    async def may(self, user: User, access: AccessRequest) -> AccessDecision:
        """Return whether the user may make the request; raises ApiError."""
        return await self._verdicts.get((user, access), lambda: self._review_access(user, access))

    async def _review_token(self, token: str) -> User | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        status = await self._ask(self._token_limit, TOKEN_REVIEWS, body)
        user = status.get("user") or {}
        if not status.get("authenticated") or status.get("error") or not user.get("username"):
            return None
        return User(
            name=user["username"],
            groups=tuple(user.get("groups") or ()),
            uid=user.get("uid") or "",
            extra=tuple(sorted((k, tuple(v)) for k, v in (user.get("extra") or {}).items())),
        )

    async def _review_access(self, user: User, access: AccessRequest) -> AccessDecision:
        spec: dict[str, Any] = {
            "user": user.name,
            "groups": list(user.groups),
            "uid": user.uid,
            "extra": {key: list(values) for key, values in user.extra},
        }
        body: Mapping[str, Any] = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": spec,
        }
        if access.resource:
            spec["resourceAttributes"] = {
                "verb": access.verb,
                "group": access.group,
                "version": access.version,
                "namespace": access.namespace,
                "resource": access.resource,
                "subresource": access.subresource,
                "name": access.name,
            }
        else:
            spec["nonResourceAttributes"] = {"verb": access.verb, "path": access.path}
        status = await self._ask(self._access_limit, ACCESS_REVIEWS, body)
        return AccessDecision(
            allowed=status.get("allowed") is True and not status.get("denied"),
            reason=status.get("reason") or "",
        )

    async def _ask(
        self, limit: asyncio.Semaphore, path: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the status of a review; log when reviews begin and cease to fail."""
        async with limit:
            try:
                answer = await self._client.post(path, body)
            except ApiError as error:
                self._outage.failed(error)
                raise
        self._outage.worked()
        return answer.get("status") or {}


class _Remembered(Generic[T]):
    """Caches the newest 4096 results for 10 s; concurrent requests for a key share one review."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tasks: OrderedDict[Hashable, tuple[float, asyncio.Future[T]]] = OrderedDict()

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the cached result, else that of `ask`; errors are not cached."""
        now = self._clock()
        asked, task = self._tasks.get(key, (0.0, None))
        if task is None or now - asked >= REMEMBERED_SECONDS:
            task = asyncio.ensure_future(ask())
            # Consume the error of a task whose callers have all gone.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._tasks[key] = (now, task)
            self._tasks.move_to_end(key)
            while len(self._tasks) > MAX_REMEMBERED:
                self._tasks.popitem(last=False)
        try:
            # A cancelled caller must not cancel the review for the others.
            return await asyncio.shield(task)
        except BaseException:
            failed = task.done() and (task.cancelled() or task.exception() is not None)
            if failed and self._tasks.get(key, (0.0, None))[1] is task:
                del self._tasks[key]
            raise
