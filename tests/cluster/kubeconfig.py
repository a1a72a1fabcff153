# SPDX-License-Identifier: Apache-2.0
"""Kubeconfig files for one cluster and one user."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.certificates import Certificate


def write_kubeconfig(path: Path, *, server: str, ca: Path, user: dict[str, Any]) -> None:
    """Write a file that only its owner can read; `user` holds the credentials."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))


def client_certificate(certificate: Certificate) -> dict[str, Any]:
    """Return the credentials of a user who has a certificate.

    They are in the file itself, so that it can be moved to where the certificates are not.
    """
    return {
        "client-certificate-data": _base64(certificate.certificate),
        "client-key-data": _base64(certificate.key),
    }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
