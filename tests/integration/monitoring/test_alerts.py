# SPDX-License-Identifier: Apache-2.0
"""What promtool says of the rules, and every alert of them on series of its own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.cluster import tools
from tests.cluster.conftest import ROOT
from tests.integration.monitoring.exportercases import EXPORTERS
from tests.integration.monitoring.gpucases import DEVICES
from tests.integration.monitoring.scalercases import SCALERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.monitoring.cases import Case

pytestmark = pytest.mark.needs("promtool")

CASES: Final = (*EXPORTERS, *DEVICES, *SCALERS)
RULES: Final = ROOT / "daemonset" / "prometheus-rules.yaml"
ALERTS: Final[dict[str, dict[str, Any]]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = tools.find("promtool")
    assert program is not None
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def as_promtool_has_it(case: Case) -> dict[str, Any]:
    rule = ALERTS[case.alert]
    moments: list[dict[str, Any]] = [
        {"eval_time": f"{minute}m", "alertname": case.alert} for minute in case.quiet
    ]
    if case.fires is not None:
        alert = {
            "exp_labels": rule["labels"] | case.labels,
            "exp_annotations": rule["annotations"] | {"description": case.description},
        }
        moments.append(
            {"eval_time": f"{case.fires}m", "alertname": case.alert, "exp_alerts": [alert]}
        )
    series = [{"series": name, "values": values} for name, values in case.series.items()]
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": moments}],
    }


def test_the_rules_are_well_formed():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_an_alert_fires_when_it_should_and_only_then(tmp_path, case):
    file = tmp_path / "case.yaml"
    file.write_text(yaml.safe_dump(as_promtool_has_it(case)))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stderr + done.stdout


def test_every_alert_has_series_on_which_it_fires_and_others_on_which_it_never_does():
    assert {case.alert for case in CASES if case.fires is not None} == ALERTS.keys()
    assert {case.alert for case in CASES if case.fires is None} == ALERTS.keys()
    assert all(case.quiet for case in CASES)
