"""docs/install.md, command by command, on a cluster without nodes."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest

from tests.cluster.conftest import ROOT
from tests.cluster.helm.conftest import settled, until_left
from tests.pages import commands

pytestmark = pytest.mark.needs("helm")
PAGE = ROOT / "docs" / "install.md"
COMMAND_SECONDS = 60


async def test_the_commands_of_the_page(cluster, tmp_path):
    before = await settled(cluster)
    (tmp_path / "bin").mkdir()
    for name in ("kubectl", "helm"):
        (tmp_path / "bin" / name).symlink_to(cluster.plane.tool(name))
    (tmp_path / "daemonset").symlink_to(ROOT / "daemonset")
    environment = {
        **os.environ,
        **cluster.environment,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.plane.admin),
    }
    found = commands(PAGE.read_text(encoding="utf-8"))
    assert any("uninstall" in command for command in found)
    for command in found:
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    await until_left(cluster, before)
