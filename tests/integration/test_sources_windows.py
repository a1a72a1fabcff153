# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler/window` from Prometheus: what its own engine answers to our queries."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.queries import PART, series_query
from tests.cluster import tools

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.needs("promtool")

SERIES = "nvidia_gpu_duty_cycle"
NAMES = PRESETS["gpu-exporter"]


def mean(
    tmp_path,
    *,
    samples: dict[str, str],
    every: int,
    at: int,
    window: float,
    expected: float | None,
    shorter: dict[int, Sequence[str]] | None = None,
) -> None:
    """Have promtool compare the mean of web-0 that `at` seconds with the expected one.

    `samples` are promtool's, by the scraped exporter, one each `every` seconds.
    """
    query = series_query(SERIES, NAMES, per_container=False, window_seconds=window, shorter=shorter)
    part = "value" if shorter is None else f"value_of_{next(iter(shorter))}"
    labels = 'namespace_name="prod",pod_name="web-0",uuid="GPU-a"'
    case = {
        "evaluation_interval": f"{every}s",
        "tests": [
            {
                "interval": f"{every}s",
                "input_series": [
                    {"series": f'{SERIES}{{{labels},instance="{one}"}}', "values": values}
                    for one, values in samples.items()
                ],
                "promql_expr_test": [
                    {
                        # Of the answer only the part that the pod's value is in.
                        "expr": f'label_replace({query}, "p", "$1", "{PART}", "({part})")'
                        f' and on (p) label_replace(vector(1), "p", "{part}", "", "")',
                        "eval_time": f"{at}s",
                        "exp_samples": []
                        if expected is None
                        else [
                            {
                                "labels": f'{{{labels},{PART}="{part}",p="{part}"}}',
                                "value": expected,
                            }
                        ],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "case.yaml"
    file.write_text(yaml.safe_dump(case))
    program = tools.find("promtool")
    assert program is not None
    done = subprocess.run(
        [program, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("every", [5, 15, 30, 60])
@pytest.mark.parametrize("window", [120, 600, 1200])
def test_a_whole_window(tmp_path, every, window):
    count = 2 * window // every
    mean(
        tmp_path,
        samples={"a": f"30x{count}"},
        every=every,
        at=2 * window,
        window=window,
        expected=30,
    )


@pytest.mark.parametrize("mark", ["stale", "_"])
@pytest.mark.parametrize(
    ("window", "away", "is_enough"),
    [(600, 520, False), (600, 350, False), (600, 240, True), (1200, 700, False)],
)
def test_an_outage_is_no_part_of_the_window(tmp_path, window, away, is_enough, mark):
    """Whether or not Prometheus was there to mark the series as stale."""
    before, gap, after = (window + 600 - away) // 10, away // 10, 2
    samples = f"0x{before - 1} {mark} _x{gap - 2} 90x{after - 1}"
    seconds = 10 * (before + gap + after - 1)
    counted = min(before, (window - away - 20) // 10)
    expected = 90 * after / (counted + after)
    mean(
        tmp_path,
        samples={"a": samples},
        every=10,
        at=seconds,
        window=window,
        expected=expected if is_enough else None,
    )


@pytest.mark.parametrize("age", [600, 900])
def test_loading_is_not_in_the_window(tmp_path, age):
    loaded = 60
    samples = {"a": f"0x{loaded - 1} 80x{age // 15}"}
    mean(
        tmp_path,
        samples=samples,
        every=15,
        at=loaded * 15 + age,
        window=1200,
        shorter={age * 1000: ["web-0"]},
        expected=80,
    )


def test_an_exporter_that_was_started_anew_counts_by_its_samples(tmp_path):
    mean(
        tmp_path,
        samples={"a": "0x53 stale", "b": "_x53 90x5"},
        every=10,
        at=590,
        window=600,
        expected=9,
    )
