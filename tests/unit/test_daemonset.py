# SPDX-License-Identifier: Apache-2.0
"""What daemonset/ must never ask for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "daemonset"
FILES = sorted(FOLDER.glob("*.yaml"))


def containers(document):
    pod = document.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("containers", ()), *pod.get("initContainers", ())]


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_nothing_of_ours_takes_a_gpu(file):
    for document in yaml.safe_load_all(file.read_text()):
        annotations = (document or {}).get("metadata", {}).get("annotations", {})
        if not document or "gpu-scaler/enabled" in annotations:
            continue  # what is scaled is not ours
        for container in containers(document):
            resources = container.get("resources", {})
            asked = {**resources.get("requests", {}), **resources.get("limits", {})}
            assert asked.keys() <= {"cpu", "memory"}, container["name"]


def test_the_exporter_is_among_them():
    documents = list(yaml.safe_load_all((FOLDER / "exporter.yaml").read_text()))
    assert [one["name"] for document in documents for one in containers(document)] == ["exporter"]


@pytest.mark.parametrize("file", ["exporter.yaml", "install.yaml"])
def test_the_last_line_of_the_exporters_log_becomes_the_reason_of_its_end(file):
    documents = list(yaml.safe_load_all((FOLDER / file).read_text()))
    (exporter,) = [
        one for document in documents for one in containers(document) if one["name"] == "exporter"
    ]
    assert exporter["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_every_image_tag_is_the_projects_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    found = {
        (file.name, tag)
        for file in (*FILES, *pages)
        for tag in re.findall(r"\bgpu-scaler:(\d[\w.]*)", file.read_text())
    }
    assert {"scaler.yaml", "simulated.yaml", "quickstart.md"} <= {name for name, _ in found}
    assert {tag for _, tag in found} == {version}
