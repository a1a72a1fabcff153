# SPDX-License-Identifier: Apache-2.0
"""Request header authentication, as the API server publishes it for extension API servers.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from scaler.kube.reflector import Reflector

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.kube.client import JsonObject, KubeClient

NAMESPACE = "kube-system"
NAME = "extension-apiserver-authentication"
PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps?fieldSelector=metadata.name%3D{NAME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeaderAuth:
    """The CAs as PEM, the allowed names, and the names of headers; each may be empty."""

    client_ca_pem: str = ""
    front_proxy_ca_pem: str = ""
    allowed_names: tuple[str, ...] = ()
    user_headers: tuple[str, ...] = ()
    uid_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()


def decode_request_header_auth(raw: JsonObject) -> RequestHeaderAuth:
    """Return the content of the ConfigMap.

    Raises:
        ValueError: a value is not a list of strings.
    """
    data = raw.get("data") or {}

    def texts(key: str) -> tuple[str, ...]:
        found = orjson.loads(data.get(f"requestheader-{key}") or "[]")
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise ValueError(f"requestheader-{key} is not a list of strings")
        return tuple(found)

    return RequestHeaderAuth(
        client_ca_pem=data.get("client-ca-file") or "",
        front_proxy_ca_pem=data.get("requestheader-client-ca-file") or "",
        allowed_names=texts("allowed-names"),
        user_headers=texts("username-headers"),
        uid_headers=texts("uid-headers"),
        group_headers=texts("group-headers"),
        extra_prefixes=texts("extra-headers-prefix"),
    )


def watch_request_header_auth(
    client: KubeClient, changed: Callable[[RequestHeaderAuth], None]
) -> Reflector[RequestHeaderAuth]:
    """Return a reflector that reports each change; a deleted ConfigMap revokes all trust."""
    return Reflector(
        client,
        PATH,
        lambda raw, _: decode_request_header_auth(raw),
        changed=lambda _, new: changed(new or RequestHeaderAuth()),
    )
