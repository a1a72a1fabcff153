# SPDX-License-Identifier: Apache-2.0
"""The chart's values and their schema say the same; helm is not needed for this."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from exporter.model import Collector
from scaler.readings.prometheus.names import PRESETS as METRIC_NAMES
from tests.chart import readme
from tests.chart.values_file import VALUES, described

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "daemonset" / "chart"
TEXT = VALUES.read_text(encoding="utf-8")
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
OF_KUBERNETES = {
    *("resources", "affinity", "updateStrategy", "dnsConfig"),
    *("podSecurityContext", "securityContext"),
}
"""Values that go into a pod as they are: one comment for each."""


def resolved(schema):
    reference = schema.get("$ref", "")
    return SCHEMA["$defs"][reference.rpartition("/")[2]] if reference else schema


def leaves(schema, path=()):
    """The paths of the schema whose values are no objects of ours."""
    properties = resolved(schema).get("properties")
    if not properties or (path[-1:] and path[-1] in OF_KUBERNETES):
        return {path}
    return {leaf for name, one in properties.items() for leaf in leaves(one, (*path, name))}


def test_every_value_is_described_and_in_the_schema():
    found = [value.path for value in described(TEXT)]
    sections = {path[:-1] for path in found}
    assert {path for path in found if path not in sections} == leaves(SCHEMA)


def test_a_value_that_the_chart_does_not_know_is_refused_everywhere():
    def objects(schema):
        schema = resolved(schema)
        if "properties" in schema:
            yield schema
            for one in schema["properties"].values():
                yield from objects(one)

    for one in objects(SCHEMA):
        # Those are refused by a template: below a parent chart they are the parent's.
        if one is not SCHEMA["properties"]["global"]:
            assert one["additionalProperties"] is False


@pytest.mark.parametrize("path", sorted((CHART / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_preset_sets_values_that_there_are(path):
    defaults = yaml.safe_load(TEXT)
    for name, value in yaml.safe_load(path.read_text(encoding="utf-8"))["exporter"].items():
        assert name in defaults["exporter"]
        assert value != defaults["exporter"][name]


def test_a_comment_describes_the_key_below_it():
    text = "a:\n  # One\n  # line.\n  b: 2\n  c: [x]\n  # Whole.\n  d:\n    e: 1\n"
    assert [(value.path, value.comment) for value in described(text)] == [
        (("a", "b"), "One line."),
        (("a", "d"), "Whole."),
    ]


def test_the_choices_are_those_of_the_programs():
    exporter, scaler = (SCHEMA["properties"][name]["properties"] for name in ("exporter", "scaler"))
    assert exporter["collectors"]["items"]["enum"] == ["all", *Collector]
    assert scaler["prometheus"]["properties"]["metrics"]["enum"] == list(METRIC_NAMES)


def test_the_chart_has_the_version_of_the_programs():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chart["appVersion"] == chart["version"] == project["version"]


def test_the_readme_is_what_the_values_say():
    assert readme.README.read_text(encoding="utf-8") == readme.text(), "run make docs"


def test_the_readme_has_every_value_and_its_default():
    text = readme.text()
    for path in leaves(SCHEMA):
        assert f"| `{'.'.join(path)}` |" in text
    assert "| `scaler.replicas` | `2` |" in text


def test_the_icon_is_the_status_pages():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    kind, _, data = chart["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    icon = ROOT / "scaler" / "web" / "static" / "icon.svg"
    assert base64.b64decode(data) == icon.read_bytes()


def test_no_template_writes_an_image_or_a_namespace_of_its_own():
    for path in (CHART / "templates").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"image: (?!\{\{)", text), path.name
        for namespace in re.findall(r"^ +namespace: (.+)$", text, re.M):
            assert namespace.startswith("{{") or namespace == "kube-system", path.name
