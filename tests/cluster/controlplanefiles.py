# SPDX-License-Identifier: Apache-2.0
"""The files that the programs of a control plane are given: keys, certificates, audit policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cluster.certificates import Authority, Certificate, write_key

if TYPE_CHECKING:
    from pathlib import Path

SCALER_USER: Final = "system:serviceaccount:gpu-scaler:gpu-scaler"
AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Request",
            "verbs": ["create", "update", "patch"],
            "resources": [{"group": "apps", "resources": ["deployments", "deployments/scale"]}],
        },
        {
            "level": "Request",
            "verbs": ["create", "update", "patch"],
            "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
            "namespaces": ["gpu-scaler"],
        },
        {"level": "Metadata", "users": [SCALER_USER]},
        # Who asks for metrics, and how long the answers take.
        {"level": "Metadata", "resources": [{"group": "custom.metrics.k8s.io"}]},
        {"level": "None"},
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What is on disk for the programs of the test bed to be given."""

    folder: Path
    logs: Path
    audit_log: Path
    ca: Path
    front_proxy_ca: Path
    front_proxy_client: Certificate
    service_account_key: Path
    admin: Certificate


def write_files(folder: Path, logs: Path) -> tuple[Authority, Files]:
    authority = Authority(folder, "ca")
    # An authority of its own: whoever it signs for may speak in any user's name.
    front_proxy = Authority(folder, "front-proxy-ca")
    service_account_key = folder / "service-accounts.key"
    write_key(service_account_key, ec.generate_private_key(ec.SECP256R1()))
    (folder / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
    return authority, Files(
        folder=folder,
        logs=logs,
        audit_log=logs / "audit.jsonl",
        ca=authority.file,
        front_proxy_ca=front_proxy.file,
        front_proxy_client=front_proxy.issue("front-proxy-client"),
        service_account_key=service_account_key,
        admin=authority.issue("admin", organizations=["system:masters"]),
    )
