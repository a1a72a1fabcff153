# SPDX-License-Identifier: Apache-2.0
"""Delegated authentication and authorization: TokenReview and SubjectAccessReview, cached 10 s."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scaler.kube.answer_cache import AnswerCache
from scaler.kube.errors import ApiError
from scaler.model import User
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaler.kube.client import KubeClient

log = logging.getLogger(__name__)

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
KEPT_SECONDS = 10.0
MAX_KEPT = 4096
MAX_AT_ONCE = 16
"""Of each kind, so that reviews of unknown tokens cannot take all connections of the scaler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """The attributes of a SubjectAccessReview: a resource, or a `path` if `resource` is empty."""

    path: str
    verb: str = "get"
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
        self._users: AnswerCache[User | None] = AnswerCache(KEPT_SECONDS, MAX_KEPT, clock)
        self._verdicts: AnswerCache[AccessDecision] = AnswerCache(KEPT_SECONDS, MAX_KEPT, clock)

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
        attributes = asdict(access)
        path = attributes.pop("path")
        if access.resource:
            spec["resourceAttributes"] = attributes
        else:
            spec["nonResourceAttributes"] = {"verb": access.verb, "path": path}
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
