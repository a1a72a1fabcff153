# SPDX-License-Identifier: Apache-2.0
"""The files on the pages, each given to what would read it: the API server, promtool.

The chart's values are in tests/chart/test_values.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import yaml

from tests.cluster.conftest import ROOT
from tests.pages.files import FileKind, deployment, documents, kind_of
from tests.pages.markdown import Block, blocks


def of_kind(*kinds: FileKind) -> pytest.MarkDecorator:
    found = [block for block in blocks("yaml") if kind_of(block) in kinds]
    return pytest.mark.parametrize("block", found, ids=lambda block: block.where)


def dry_run(plane, *found):
    """Have the API server take objects as strictly as it can, and keep none."""
    done = plane.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(found),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@of_kind(FileKind.OBJECTS, FileKind.ANNOTATIONS)
def test_the_api_server_takes_it(installed, block: Block):
    found = documents(block) if kind_of(block) is FileKind.OBJECTS else [deployment(block)]
    names = {one["metadata"].get("namespace", "default") for one in found}
    for name in names - {"default"}:
        made = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        installed.apply(made)
    dry_run(installed, *found)


@of_kind(FileKind.PATCH)
def test_the_exporter_takes_the_patch(installed, block: Block):
    manifest = ROOT / "daemonset" / "exporter.yaml"
    shipped = next(
        one for one in yaml.safe_load_all(manifest.read_text()) if one["kind"] == "DaemonSet"
    )
    patched = installed.kubectl(
        *("patch", "--local", "-f", "-", "--type=strategic", "-o", "json", "-p", block.text),
        stdin=json.dumps(shipped),
    )
    assert patched.returncode == 0, patched.stderr
    result = json.loads(patched.stdout)
    assert result != shipped
    (container,) = result["spec"]["template"]["spec"]["containers"]
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in result["spec"]["template"]["spec"]["volumes"]}
    dry_run(installed, result)


def test_promtool_takes_rules_and_parts_of_its_configuration(control_plane, tmp_path):
    found = [
        (block, kind)
        for block in blocks("yaml")
        if (kind := kind_of(block)) in (FileKind.RULES, FileKind.PROMETHEUS)
    ]
    assert found
    shutil.copytree(ROOT / "daemonset", tmp_path, dirs_exist_ok=True)
    for number, (block, kind) in enumerate(found):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block.text)
        command = ("check", "rules") if kind is FileKind.RULES else ("check", "config")
        done = subprocess.run(
            [control_plane.tool("promtool"), *command, file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.where}: {done.stdout}{done.stderr}"
