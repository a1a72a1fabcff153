# SPDX-License-Identifier: Apache-2.0
"""Kubeconfigs with every kind of user that the Kubernetes client reads, and a program that does."""

from __future__ import annotations

from typing import Any, Final

LOADS: Final = """
import asyncio, sys
from scaler.kube.credentials import ApiCredentials
print(asyncio.run(ApiCredentials.from_kubeconfig(sys.argv[1])).server)
unused = [name for name in sys.modules if ".client.api." in name or ".client.models." in name]
assert not unused, f"the image lacks these modules: {unused}"
"""
"""Prints the server of the kubeconfig in the file that its argument names.

It ends badly where it loads the classes of the Kubernetes API, which the Dockerfile leaves out.
"""
_ANSWER: Final = (
    '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",'
    ' "status": {"token": "t"}}'
)
USERS: Final[dict[str, dict[str, Any]]] = {
    "nobody": {},
    "token": {"token": "t"},
    "password": {"username": "u", "password": "p"},
    "plug-in": {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "echo",
            "args": [_ANSWER],
            "interactiveMode": "Never",
        }
    },
}


def kubeconfig(user: dict[str, Any]) -> dict[str, Any]:
    """Return a kubeconfig of this user for a server that is not there."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://127.0.0.1:9", "insecure-skip-tls-verify": True},
            }
        ],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
