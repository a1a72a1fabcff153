# SPDX-License-Identifier: Apache-2.0
"""Which tests share a world, such as a control plane or the built image: one worker runs them.

The `loadgroup` of pytest-xdist 3.8 does not know the node IDs of pytest 9.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest

PLACES: Final = (
    "tests/cluster/annotations/",
    "tests/cluster/chain/",
    "tests/cluster/helm/",
    "tests/cluster/metricsapi/",
    "tests/image/",
    "tests/integration/monitoring/",
)
"""Folders whose files share one world; elsewhere each file has its own."""
WITH_THE_IMAGE: Final = "tests/cluster/test_real_node.py"


def world_of(nodeid: str) -> str:
    """Return the folder or file that a test shares its world with."""
    file = nodeid.partition("::")[0]
    if file == WITH_THE_IMAGE:
        return "tests/image/"
    return next((place for place in PLACES if file.startswith(place)), file)


class WorldScheduling(LoadScopeScheduling):
    """Gives whole worlds to workers, in the order of their paths: small files come last."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return world_of(nodeid)
