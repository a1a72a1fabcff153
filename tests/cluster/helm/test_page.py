# SPDX-License-Identifier: Apache-2.0
"""docs/install.md, command by command, on a cluster without nodes."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace

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
    # The page edits a file in it.
    shutil.copytree(ROOT / "daemonset", tmp_path / "daemonset")
    environment = {
        **cluster.environment,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.plane.admin),
    }
    with read_through("docs/install.md") as page:
        applied, rendered = page.take("With kubectl")
        (removal,) = page.take("Uninstall", containing="install.yaml")
        by_helm = page.take()
    assert any("uninstall" in block.text for block in by_helm)
    rendered_removal = replace(
        rendered, text=rendered.text.replace("kubectl apply --server-side", "kubectl delete")
    )
    for blocks in ((applied, removal), (rendered, rendered_removal), by_helm):
        for block in blocks:
            await asyncio.to_thread(run, block, tmp_path, environment)
        await until_left(cluster, before)
