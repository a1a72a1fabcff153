# SPDX-License-Identifier: Apache-2.0
"""What the programs of the chain may do on the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.cluster.controlplane import ControlPlane

FILE: Final = Path(__file__).with_name("access.yaml")


def allow(plane: ControlPlane) -> None:
    """Make the accounts; the namespace of the exporters is there."""
    plane.apply(FILE)


def disallow(plane: ControlPlane) -> None:
    """Take the accounts away again, so that others may make them; raises AssertionError."""
    done = plane.kubectl("delete", "--ignore-not-found", "--timeout=50s", "-f", FILE)
    assert done.returncode == 0, done.stderr
