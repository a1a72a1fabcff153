# SPDX-License-Identifier: Apache-2.0
"""Who asked the API server for what, and what it answered: its own audit log."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.cluster.controlplanefiles import SCALER_USER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane

CREDENTIAL: Final = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answered request; `credential` tells tokens of one account apart.

    `what` is like `deployments/scale default/web`, without the name where there is none.
    """

    at: datetime
    user: str
    credential: str
    verb: str
    what: str
    code: int
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """The count that a write of a scale asked for."""
        replicas: int = self.body["spec"]["replicas"]
        return replicas


class Audit:
    """The requests since this was made."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._before = len(plane.audit())

    def requests(self) -> list[Request]:
        """Return all of them in the order of their answers."""
        return [_request(event) for event in self._plane.audit()[self._before :]]

    def of_scalers(self) -> list[Request]:
        """Return those under the scaler's service account."""
        return [request for request in self.requests() if request.user == SCALER_USER]

    def scale_patches(self) -> list[Request]:
        """Return the scalers' writes to a scale, refused ones as well."""
        return [
            request
            for request in self.of_scalers()
            if request.verb == "patch" and request.what.startswith("deployments/scale ")
        ]

    def rescales(self) -> list[Request]:
        """Return the scalers' writes to a scale that took effect."""
        return [request for request in self.scale_patches() if request.code == 200]


def credential_of(kubeconfig: Path) -> str:
    """Return what the audit log calls the token in a kubeconfig."""
    document = yaml.safe_load(kubeconfig.read_text())
    claims = document["users"][0]["user"]["token"].split(".")[1]
    padded = claims + "=" * (-len(claims) % 4)
    return f"JTI={json.loads(base64.urlsafe_b64decode(padded))['jti']}"


def _request(event: dict[str, Any]) -> Request:
    about = event.get("objectRef", {})
    kind = "/".join(about[key] for key in ("resource", "subresource") if key in about)
    name = "/".join(about[key] for key in ("namespace", "name") if key in about)
    return Request(
        at=datetime.fromisoformat(event["stageTimestamp"]),
        user=event["user"]["username"],
        credential=event["user"].get("extra", {}).get(CREDENTIAL, [""])[0],
        verb=event["verb"],
        what=f"{kind} {name}",
        code=event["responseStatus"]["code"],
        body=event.get("requestObject", {}),
    )
