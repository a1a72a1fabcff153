# SPDX-License-Identifier: Apache-2.0
"""An exporter's text -> pods' values: several GPUs, shared ones, what is left out or broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from scaler.budgets import LINE_CHARACTERS, PAGE_SAMPLES, TEXT_CHARACTERS
from scaler.model import Metric, ObjectRef, PodValue
from scaler.readings.exposition import (
    ExpositionError,
    asked_names,
    families_for,
    read_page,
    values_by_pod,
)
from scaler.readings.series import Series, read_samples

WEB_0 = ObjectRef(namespace="default", name="web-0")
WEB_1 = ObjectRef(namespace="default", name="web-1")


def series(family: str, value: str, *, pod: str = "web-0", uuid: str = "GPU-a", **more: str) -> str:
    labels = {
        "minor_number": "0",
        "uuid": uuid,
        "name": "NVIDIA H100",
        "node_name": "n1",
        "namespace_name": "default" if pod else "",
        "pod_name": pod,
        "container_name": "main" if pod else "",
        "allocate_mode": "exclusive" if pod else "",
    } | more
    inner = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{family}{{{inner}}} {value}\n"


def value(milli: int, device_count: int) -> PodValue:
    return PodValue(value_milli=milli, sampled_seconds=0.0, device_count=device_count)


DUTY = "nvidia_gpu_duty_cycle"
OWN = "nvidia_gpu_container_duty_cycle"
SHARED = {"allocate_mode": "share"}
USED = "nvidia_gpu_memory_used_bytes"
TOTAL = "nvidia_gpu_memory_total_bytes"
HEAT = "nvidia_gpu_temperature_celsius"


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        pytest.param(
            series(DUTY, "63.5"),
            Metric.DUTY_CYCLE,
            {WEB_0: value(63500, 1)},
            id="one pod, one GPU",
        ),
        pytest.param(
            series(DUTY, "90") + series(DUTY, "30", uuid="GPU-b"),
            Metric.DUTY_CYCLE,
            {WEB_0: value(60000, 2)},
            id="mean over the GPUs of a pod",
        ),
        pytest.param(
            series(HEAT, "60") + series(HEAT, "81", uuid="GPU-b"),
            Metric.TEMPERATURE_CELSIUS,
            {WEB_0: value(81000, 2)},
            id="maximum of the temperatures",
        ),
        pytest.param(
            series(DUTY, "50") + series(DUTY, "50", container_name="side"),
            Metric.DUTY_CYCLE,
            {WEB_0: value(50000, 1)},
            id="two containers of a pod on one GPU count it once",
        ),
        pytest.param(
            series(DUTY, "80", **SHARED)
            + series(OWN, "20", **SHARED)
            + series(DUTY, "80", pod="web-1", **SHARED)
            + series(OWN, "55", pod="web-1", **SHARED),
            Metric.DUTY_CYCLE,
            {
                WEB_0: value(20000, 1),
                WEB_1: value(55000, 1),
            },
            id="each pod's own part of a shared GPU",
        ),
        pytest.param(
            series(DUTY, "80", **SHARED)
            + series(DUTY, "80", container_name="side", **SHARED)
            + series(OWN, "20", **SHARED)
            + series(OWN, "25", container_name="side", **SHARED)
            + series(DUTY, "15", uuid="GPU-b"),
            Metric.DUTY_CYCLE,
            {WEB_0: value(30000, 2)},
            id="the parts of a pod's containers add up; its other GPU counts as it is",
        ),
        pytest.param(
            series(DUTY, "99", **SHARED)
            + series(OWN, "60", **SHARED)
            + series(DUTY, "99", pod="web-1", **SHARED)
            + series(OWN, "0.9", pod="web-1", **SHARED),
            Metric.DUTY_CYCLE,
            {
                WEB_0: value(99000, 1),
                WEB_1: value(900, 1),
            },
            id="a saturated GPU is saturated for whoever works on it",
        ),
        pytest.param(
            series(DUTY, "80", **SHARED)
            + series(OWN, "0", **SHARED)
            + series(DUTY, "80", pod="web-1", **SHARED)
            + series(OWN, "39", pod="web-1", **SHARED),
            Metric.DUTY_CYCLE,
            {
                WEB_0: value(80000, 1),
                WEB_1: value(80000, 1),
            },
            id="parts that make up less than half of the GPU's are not all there",
        ),
        pytest.param(
            series(DUTY, "50", **SHARED)
            + series(DUTY, "50", container_name="side", **SHARED)
            + series(OWN, "30", **SHARED),
            Metric.DUTY_CYCLE,
            {WEB_0: value(50000, 1)},
            id="a container whose part is not known",
        ),
        pytest.param(
            series(DUTY, "80") + series(OWN, "71"),
            Metric.DUTY_CYCLE,
            {WEB_0: value(80000, 1)},
            id="of an exclusive GPU its duty cycle counts",
        ),
        pytest.param(
            series(USED, "1e9") + series(USED, "2e9", container_name="side"),
            Metric.MEMORY_USED_BYTES,
            {WEB_0: value(3_000_000_000_000, 1)},
            id="memory of two containers on one GPU adds up",
        ),
        pytest.param(
            series(USED, "20") + series(TOTAL, "80"),
            Metric.MEMORY_USED_PERCENT,
            {WEB_0: value(25000, 1)},
            id="percent of the memory",
        ),
        pytest.param(
            series(USED, "20"),
            Metric.MEMORY_USED_PERCENT,
            {},
            id="no total, no percent",
        ),
        pytest.param(
            series(DUTY, "NaN") + series(DUTY, "7", pod="web-1"),
            Metric.DUTY_CYCLE,
            {WEB_1: value(7000, 1)},
            id="NaN is no value",
        ),
        pytest.param(
            series(DUTY, "+Inf") + series(DUTY, "-1", uuid="GPU-b"),
            Metric.DUTY_CYCLE,
            {},
            id="neither infinite nor negative",
        ),
        pytest.param(
            series(DUTY, "88", pod=""), Metric.DUTY_CYCLE, {}, id="a GPU that no pod holds"
        ),
    ],
)
def test_values(text, metric, expected):
    found = values_by_pod(read_page(text), [metric])[metric]
    assert {pod: one for pod, one in found.items() if isinstance(one, PodValue)} == expected


awkward = st.text('\\"\n,{}=n#é') | st.text(st.characters(codec="utf-8"))
blanks = st.sampled_from(["", " ", "\t", "  "])
labels = st.dictionaries(
    st.sampled_from(["pod_name", "namespace_name", "uuid", "allocate_mode", "name"]), awkward
)


@st.composite
def lines(draw):
    """A sample as the format allows it: escaped values, blanks anywhere, a comma at the end."""
    row = draw(labels)

    def escaped(value):
        for plain, written in (("\\", r"\\"), ("\n", r"\n"), ('"', r"\"")):
            value = value.replace(plain, written)
        return value

    pairs = [
        f'{draw(blanks)}{name}{draw(blanks)}={draw(blanks)}"{escaped(value)}"{draw(blanks)}'
        for name, value in row.items()
    ]
    written = ",".join(pairs) + ("," if pairs and draw(st.booleans()) else "")
    number = draw(st.floats(allow_nan=False))
    return f"{DUTY}{{{written}}} {number!r}\n"


@given(st.lists(lines(), max_size=5).map("".join))
def test_samples_are_those_of_the_reference_parser(text):
    expected = [
        (
            sample.name,
            sample.labels.get("namespace_name", ""),
            sample.labels.get("pod_name", ""),
            sample.labels.get("uuid", ""),
            sample.labels.get("allocate_mode") == "share",
            sample.value,
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    known: dict[str, Series] = {}
    for _ in range(2):
        samples, known = read_samples(text, known)
        assert [
            (
                one.name,
                one.pod.namespace if one.pod else row[1],
                one.pod.name if one.pod else "",
                one.uuid,
                one.shared,
                value,
            )
            for (one, value), row in zip(samples, expected, strict=True)
        ] == expected


def test_a_series_that_is_known_is_not_parsed_anew():
    first = read_page(series(DUTY, "1") + series(DUTY, "2", pod="web-1"))
    second = read_page(series(DUTY, "3"), first.known)
    assert values_by_pod(second, [Metric.DUTY_CYCLE]) == {
        Metric.DUTY_CYCLE: {WEB_0: value(3000, 1)}
    }
    ((text, one),) = second.known.items()
    assert one is first.known[text]


def test_age_and_interval():
    text = "nvidia_gpu_exporter_snapshot_age_seconds 0.25\nnvidia_gpu_exporter_interval_seconds 2\n"
    readings = read_page(text)
    assert (readings.age_seconds, readings.interval_seconds) == (0.25, 2.0)


def test_no_age_without_readings():
    assert read_page("").age_seconds is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<html>not found</html>", id="html"),
        pytest.param("nvidia_gpu_duty_cycle{pod_name=", id="cut off"),
        pytest.param("nvidia_gpu_duty_cycle abc\n", id="no number"),
        pytest.param("nvidia_gpu_duty_cycle 1_0\n", id="a number of Python's"),
        pytest.param("nvidia_gpu_duty_cycle 1 2 3\n", id="too many numbers"),
        pytest.param('nvidia_gpu_duty_cycle{pod_name="a"}\n', id="no value"),
    ],
)
def test_broken_text_is_an_error(text):
    with pytest.raises(ExpositionError, match="not a Prometheus text exposition"):
        values_by_pod(read_page(text), [Metric.DUTY_CYCLE])


def test_only_needed_families_are_asked_for():
    assert asked_names(families_for([Metric.MEMORY_USED_PERCENT, Metric.MEMORY_USED_BYTES])) == (
        TOTAL,
        USED,
        "nvidia_gpu_exporter_snapshot_age_seconds",
        "nvidia_gpu_exporter_interval_seconds",
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        pytest.param(series(DUTY, "1") * 300_000, f"more than {PAGE_SAMPLES} samples", id="equal"),
        pytest.param(
            series(DUTY, "1", more="x" * LINE_CHARACTERS), f"more than {LINE_CHARACTERS}", id="long"
        ),
        pytest.param(
            series(DUTY, "1", **{f"l{number}": "" for number in range(50_000)}),
            f"more than {LINE_CHARACTERS}",
            id="very many labels",
        ),
        pytest.param(
            "".join(series(DUTY, "1", uuid=f"GPU-{number}") for number in range(PAGE_SAMPLES + 1)),
            f"more than {PAGE_SAMPLES} samples",
            id="very many GPUs",
        ),
    ],
)
def test_a_page_over_budget_says_which_one(text, what):
    with pytest.raises(ExpositionError, match=f"^over budget: .*{what}"):
        values_by_pod(read_page(text), [Metric.DUTY_CYCLE])


def test_a_page_within_its_budget_is_read_to_the_last_sample():
    rows = [series(DUTY, "60", pod=f"web-{number}") for number in range(PAGE_SAMPLES)]
    found = values_by_pod(read_page("".join(rows)), [Metric.DUTY_CYCLE])
    assert len(found[Metric.DUTY_CYCLE]) == len(rows)


_NASTY = st.text(st.sampled_from('{}",= \\\n\t\r\x1b#_1e9+-.ab:é\u2028')) | st.text()


@given(st.lists(_NASTY | st.just(series(DUTY, "63")) | st.just(DUTY + "{")).map("".join))
def test_any_page_is_values_or_a_short_error_that_no_terminal_takes_for_a_command(text):
    expected = ""
    try:
        values_by_pod(read_page(text), [Metric.DUTY_CYCLE])
    except ExpositionError as error:
        expected = str(error)
    assert len(expected) <= TEXT_CHARACTERS + 3
    assert expected.isprintable()
