"""docs/install.md, command by command, on a cluster without nodes."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.cluster.conftest import ROOT
from tests.cluster.helm.conftest import settled, until_left
from tests.pages.reading import read_through, run

pytestmark = pytest.mark.needs("helm")


async def test_the_commands_of_the_page(cluster, tmp_path):
    before = await settled(cluster)
    (tmp_path / "bin").mkdir()
    for name in ("kubectl", "helm"):
        (tmp_path / "bin" / name).symlink_to(cluster.plane.tool(name))
    (tmp_path / "daemonset").symlink_to(ROOT / "daemonset")
    environment = {
        **cluster.environment,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.plane.admin),
    }
    with read_through("docs/install.md") as page:
        found = page.take()
    assert any("uninstall" in block.text for block in found)
    for block in found:
        await asyncio.to_thread(run, block, tmp_path, environment)
    await until_left(cluster, before)
