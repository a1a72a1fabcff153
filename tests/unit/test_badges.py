# SPDX-License-Identifier: Apache-2.0
"""The README's badges say what the package and the chart say."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.chart import CHART
from tests.pages.markdown import ROOT


def test_badges_are_true():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    badges = dict(re.findall(r"/badge/(\w+)-(.+?)-\w{6}\)", text))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert badges == {
        "license": project["license"].replace("-", "--"),
        "python": project["requires-python"].removeprefix(">=") + "+",
        "kubernetes": chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0") + "+",
    }
