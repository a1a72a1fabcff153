# SPDX-License-Identifier: Apache-2.0
"""docs/security.md lists every right and every path that the chart can give, and no other."""

from __future__ import annotations

import re

import pytest

from tests.chart import CHART, objects, pod_specs
from tests.chart.cases import ALL

pytestmark = pytest.mark.needs("helm")
PAGE = (CHART.parents[1] / "docs" / "security.md").read_text(encoding="utf-8")
EXAMPLES = ("kinds", "kubelet-elsewhere", "names", "name")
"""Cases whose kinds, folders or names stand for any."""
CASES = [case for name, case in ALL.items() if name not in EXAMPLES]


def section(heading):
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def quoted(words):
    return ", ".join(f"`{word}`" for word in words)


def resource(group, name):
    """`deployments.apps/scale`."""
    plural, slash, sub = name.partition("/")
    return f"{plural}.{group}{slash}{sub}" if group else name


def rows():
    for case in CASES:
        for one in objects(*case):
            for rule in one.get("rules", ()):
                (group,) = rule["apiGroups"]
                on = quoted(resource(group, name) for name in rule["resources"])
                if names := rule.get("resourceNames"):
                    on += f" {quoted(names)}"
                yield f"| `{one['metadata']['name']}` | {', '.join(rule['verbs'])} | {on} |"


def test_every_right_has_its_row_and_every_row_its_right():
    rights, _, _commands = section("Permissions on the Kubernetes API").partition(
        "\n### What the commands need"
    )
    lines = re.findall(r"^\| `[^|]+\| [^|]+\| `[^|]+\|", rights, re.M)
    assert sorted(set(lines)) == sorted({*rows()})
    assert len(lines) == len(set(lines))


def test_every_path_of_the_node_has_its_row_and_every_row_its_path():
    lines = [line for line in section("Paths of the node").splitlines() if line.startswith("| `")]
    paths = {path for line in lines for path in re.findall(r"`(/[^`]+)`", line.split("|")[1])}
    given = {
        volume["hostPath"]["path"]
        for case in CASES
        for pod in pod_specs(objects(*case))
        for volume in pod.get("volumes", ())
        if "hostPath" in volume
    }
    assert {path.removesuffix("/pids") for path in given} == paths


def test_what_is_bound_beside_our_own_roles_is_named():
    bound = {one["roleRef"]["name"] for case in CASES for one in objects(*case) if "roleRef" in one}
    for name in bound:
        assert f"`{name}`" in section("Permissions on the Kubernetes API")
