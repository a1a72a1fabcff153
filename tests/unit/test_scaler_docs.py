"""docs/scaler.md says what the code says; that its tests exist is looked at with all pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from scaler.cli.source import add_source_arguments
from scaler.cluster.scale import Replaced
from scaler.controller.retry_order import ACT_SECONDS
from scaler.decision import proposals
from scaler.kube import lease
from scaler.kube.errors import ApiError
from scaler.model import Outcome
from scaler.policy.annotations import ANNOTATIONS
from scaler.readings import devices, exposition, http
from scaler.readings.prometheus import join, source
from scaler.readings.prometheus.names import PRESETS
from scaler.reporting import recorded_event
from scaler.reporting.metrics import ScalerMetrics
from tests.unit.flagrows import FlagRows
from tests.unit.scalerexamples import EXAMPLES, told

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "scaler.md").read_text(encoding="utf-8")
PAINS = 20


def section(heading: str) -> str:
    """What stands under a heading, up to the next one of whatever level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", DOCS, re.M | re.S)
    assert found, heading
    return found[1]


def rows(heading: str) -> list[list[str]]:
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_the_flags_are_those_of_the_program():
    expected = FlagRows()
    add_source_arguments(lambda _: expected)
    assert [line for line in DOCS.splitlines() if line.startswith("| `--")] == expected.rows


def test_the_presets_are_those_of_the_program():
    def series(name: str, family: str) -> str:
        named = PRESETS[name].families[family]
        return f"`{named.series[0]}`"

    assert rows("Whose metrics they are: `--prometheus.metrics`") == [
        [
            f"`{name}`",
            f"`{one.namespace_label}`, `{one.pod_label}`",
            series(name, devices.DUTY_CYCLE),
            f"{series(name, devices.MEMORY_USED)}, x {one.families[devices.MEMORY_USED].factor}",
            f"{series(name, devices.POWER_USAGE)}, x {one.families[devices.POWER_USAGE].factor}",
        ]
        for name, one in PRESETS.items()
    ]


@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_is_what_the_code_says(heading):
    assert f"```text\n{told(EXAMPLES[heading]())}```" in section(heading)


@pytest.mark.parametrize(
    ("heading", "outcome", "replicas"),
    [
        ("A load step, with a pod that is Pending", Outcome.SCALED, 5),
        ("Above the target while a pod starts", Outcome.UNCHANGED, 2),
        ("All pods saturated", Outcome.SCALED, 8),
        ("Overloaded pods", Outcome.SCALED, 14),
        ("A rollout while the old pods are busy", Outcome.SCALED, 7),
        ("The load is gone", Outcome.UNCHANGED, 6),
        ("A value is missing", Outcome.HELD, 6),
        ("Waking from zero", Outcome.SCALED, 4),
    ],
)
def test_an_example_comes_out_as_the_text_says(heading, outcome, replicas):
    decision = EXAMPLES[heading]()
    assert (decision.outcome, decision.desired_replicas) == (outcome, replicas)


def test_the_families_are_those_that_are_served_with_their_labels():
    metrics = ScalerMetrics("test")
    metrics.show_answers({("GET", 200): 1})
    metrics.show_decisions(lambda: [example() for example in EXAMPLES.values()])
    labels: dict[str, tuple[str, ...]] = {
        one._name: one._labelnames
        for one in vars(metrics).values()
        if isinstance(one, MetricWrapperBase)
    }
    expected = []
    for family in metrics.registry.collect():
        if family.name.startswith("gpu_scaler_"):
            total = "_total" if family.type == "counter" else ""
            shown = labels.get(family.name) or tuple(
                name for sample in family.samples[:1] for name in sample.labels if name != "le"
            )
            named = ", ".join(f"`{name}`" for name in shown)
            expected.append([f"`{family.name}{total}`", family.type, named, family.documentation])
    assert [[*row[:3], row[4]] for row in rows("Its metrics")] == expected


def test_families_with_a_reason_have_as_many_series_as_is_said():
    counts = {row[0]: row[3] for row in rows("Its metrics")}
    assert all(counts.values())
    assert counts["`gpu_scaler_held_total`"] == str(len(hold_reasons()))
    kinds = {*ApiError.__subclasses__(), ApiError}
    assert counts["`gpu_scaler_patch_failures_total`"] == str(len({*kinds, Replaced}))
    assert counts["`gpu_scaler_decisions_total`"] == str(len(Outcome))


def hold_reasons() -> list[str]:
    return [reason for row in rows("What holds") for reason in re.findall(r"`(\w+)`", row[0])]


def test_the_reasons_are_those_that_the_code_gives():
    code = "".join(path.read_text() for path in (ROOT / "scaler").rglob("*.py"))
    assert len(hold_reasons()) > 10
    for reason in hold_reasons():
        assert f'"{reason}"' in code, reason


def test_the_annotations_it_names_are_known():
    known = {annotation.name for annotation in ANNOTATIONS}
    named = set(re.findall(r"\bgpu-scaler/[a-z-]+", DOCS)) - {"gpu-scaler/paused-"}
    assert named <= known, named - known


@pytest.mark.parametrize(
    "said",
    [
        f"and at least {exposition.MIN_STALE_AFTER_SECONDS:g} s, after it was taken",
        f"not finite, or older than {join.STALE_AFTER_SECONDS:g} s",
        f"at most {source.MAX_CONCURRENT_QUERIES} of them run at once",
        f"read again every {http.REREAD_SECONDS:g} s at most",
        f"where every pod is at {proposals.SATURATED_MILLI // 1000} or more",
        f"saturated ({devices.SATURATED_PERCENT:g} or more)",
        f"works on it ({devices.WORKING_PERCENT:g} or more)",
        f"a hold when it has lasted for {recorded_event.HOLD_SECONDS:g} s",
        f"took longer than {ACT_SECONDS:g} s",
        f"annotate lease gpu-scaler {lease.STOP_ANNOTATION}=true",
    ],
)
def test_the_numbers_are_those_of_the_code(said):
    assert said in " ".join(DOCS.split())


def test_every_pain_has_its_row_and_what_shows_it():
    pains = rows("What others' users suffer from, and what happens here")
    assert [row[0] for row in pains] == [str(number) for number in range(1, PAINS + 1)]
    for number, _, here, shown in pains:
        assert here, number
        assert re.search(r"`(tests|benchmarks)/[\w/]+\.py", shown), number
