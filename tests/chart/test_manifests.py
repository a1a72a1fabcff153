# SPDX-License-Identifier: Apache-2.0
"""daemonset/ holds what the chart gives, and the chart is in order."""

from __future__ import annotations

import pytest

from tests.chart import CHART, PRESETS, helm
from tests.chart.manifests import FOLDER, MANIFESTS

pytestmark = pytest.mark.needs("helm")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.name)
def test_a_manifest_is_what_the_chart_gives(manifest):
    committed = (FOLDER / manifest.name).read_text(encoding="utf-8")
    assert committed == manifest.text(), "run make manifests"


@pytest.mark.parametrize("values", [None, *PRESETS], ids=lambda path: path and path.stem)
def test_helm_finds_nothing_to_complain_about(values):
    done = helm("lint", "--strict", CHART, *(("--values", values) if values else ()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout
