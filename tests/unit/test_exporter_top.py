# SPDX-License-Identifier: Apache-2.0
"""`gpu-exporter top`: from a page of families to a table and its notes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli.config import parse_top
from exporter.model import Collector
from exporter.top.rows import node_gpus
from exporter.top.text import gpu_table, notes
from toolkit.cli.arguments import UsageError

GIB = 1 << 30
H100 = "NVIDIA H100 80GB HBM3"
SLICE = f"{H100} MIG 1g.10gb"
OWN = {
    "nvidia_gpu_num_devices": 1,
    "nvidia_gpu_exporter_interval_seconds": 2,
    "nvidia_gpu_exporter_pod_resources_up": 1,
}


def gpu(minor=0, uuid="GPU-0a1b2c3d-e", *, name=H100, pod="", container="", **values):
    """Return the series of one GPU as one holder sees it; values by family without its prefix."""
    namespace = "ml" if pod else ""
    labels = (
        f'minor_number="{minor}",uuid="{uuid}",name="{name}",node_name="n",'
        f'namespace_name="{namespace}",pod_name="{pod}",container_name="{container}",'
        'allocate_mode=""'
    )
    return "".join(f"nvidia_gpu_{one}{{{labels}}} {value}\n" for one, value in values.items())


def node(*gpus, **own):
    changed = OWN | {f"nvidia_gpu_exporter_{name}": value for name, value in own.items()}
    text = "".join(f"{name} {value}\n" for name, value in changed.items() if value is not None)
    return node_gpus(text_string_to_metric_families(text + "".join(gpus)))


BUSY = {
    "duty_cycle": 62.4,
    "memory_used_bytes": 40 * GIB,
    "memory_total_bytes": 80 * GIB,
    "power_usage_milliwatts": 424_400,
    "temperature_celsius": 59,
}


@pytest.mark.parametrize(
    ("gpus", "own", "expected"),
    [
        pytest.param(
            [gpu(pod="llm", container="main", **BUSY)],
            {},
            [["0", "H100 80GB HBM3", "62%", "40.0/80.0Gi", "424W", "59C", "ml/llm", "main"]],
            id="held",
        ),
        pytest.param(
            [gpu(**BUSY | {"duty_cycle": 0})],
            {},
            [["0", "H100 80GB HBM3", "0%", "40.0/80.0Gi", "424W", "59C", "(free)", "-"]],
            id="free and idle",
        ),
        pytest.param(
            [gpu(duty_cycle=0)],
            {"pod_resources_up": 0},
            [["0", "H100 80GB HBM3", "0%", "-", "-", "-", "-", "-"]],
            id="pods unknown",
        ),
        pytest.param(
            [gpu(duty_cycle=0)],
            {"pod_resources_up": None},
            [["0", "H100 80GB HBM3", "0%", "-", "-", "-", "-", "-"]],
            id="no kubelet",
        ),
        pytest.param(
            [
                gpu(pod=pod, container="main", duty_cycle=50, memory_total_bytes=80 * GIB)
                for pod in ("web", "batch")
            ],
            {},
            [
                ["0", "H100 80GB HBM3", "50%", "-/80.0Gi", "-", "-", "ml/batch", "main"],
                ["0", "H100 80GB HBM3", "50%", "-/80.0Gi", "-", "-", "ml/web", "main"],
            ],
            id="shared",
        ),
        pytest.param(
            [
                gpu(10, "GPU-b", duty_cycle=1),
                gpu(2, "MIG-aaaaaaaa-bbbb", name=SLICE, pod="llm", container="c", duty_cycle=7),
                gpu(2, "MIG-cccccccc-dddd", name=SLICE, memory_used_bytes=GIB),
                gpu(2, "GPU-a", power_usage_milliwatts=70_000),
            ],
            {},
            [
                ["2", "H100 80GB HBM3", "-", "-", "70W", "-", "(MIG)", "-"],
                ["2/MIG-aaaaaaaa", "MIG 1g.10gb", "7%", "-", "-", "-", "ml/llm", "c"],
                ["2/MIG-cccccccc", "MIG 1g.10gb", "-", "1.0/-Gi", "-", "-", "(free)", "-"],
                ["10", "H100 80GB HBM3", "1%", "-", "-", "-", "(free)", "-"],
            ],
            id="MIG, in the order of numbers",
        ),
        pytest.param(
            [gpu("", "GPU-0a1b2c3d-eeee", name="", duty_cycle="NaN", temperature_celsius="1e300")],
            {},
            [["GPU-0a1b2c3d", "-", "-", "-", "-", "-", "(free)", "-"]],
            id="no number, no name, values that cannot be",
        ),
        pytest.param(
            [gpu(pod="a\x1b[2J\u202eb", container="x" * 300, duty_cycle=1)],
            {},
            [["0", "H100 80GB HBM3", "1%", "-", "-", "-", "ml/a?[2J?b", "x" * 253]],
            id="texts of a hostile page",
        ),
    ],
)
def test_rows(gpus, own, expected):
    lines = gpu_table(node(*gpus, **own), width=None).splitlines()
    assert [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in lines[1:]] == (
        expected
    )


@pytest.mark.parametrize(
    ("gpus", "own", "words"),
    [
        pytest.param([gpu(duty_cycle=1)], {}, [], id="nothing to say"),
        pytest.param([gpu(duty_cycle=1)], {"unreadable_devices": 2}, ["2 of 1"], id="unreadable"),
        pytest.param([gpu(duty_cycle=1)], {"pod_resources_up": 0}, ["pod-resources"], id="pods"),
        pytest.param(
            [gpu(duty_cycle=1)],
            {"pod_resources_unmatched_devices": 3},
            ["pods hold 3 devices"],
            id="unmatched",
        ),
    ],
)
def test_notes(gpus, own, words):
    sentences = list(notes(node(*gpus, **own)))
    assert len(sentences) == len(words)
    assert all(word in sentence for word, sentence in zip(words, sentences, strict=True))


def test_a_driver_without_gpus_is_named():
    page = node_gpus(text_string_to_metric_families("nvidia_gpu_num_devices 0\n"))
    assert list(notes(page)) == ["the driver shows no GPU"]


@pytest.mark.parametrize(
    ("pod", "width", "head"),
    [
        ("web-0", 120, "GPU MODEL DUTY MEMORY POWER TEMP POD CONTAINER"),
        ("web-0-of-search", 80, "GPU MODEL DUTY MEMORY POWER TEMP POD"),
        ("web-7c9d8b6f5-x2x4q", 80, "GPU DUTY MEMORY POWER TEMP POD"),
    ],
)
def test_columns_of_names_go_first_on_a_narrow_terminal(pod, width, head):
    page = node(gpu(pod=pod, container="main", **BUSY))
    assert gpu_table(page, width=width).splitlines()[0].split() == head.split()


@given(
    width=st.integers(20, 200),
    pods=st.lists(st.text("abc-", min_size=1, max_size=253), max_size=3, unique=True),
)
def test_no_line_is_wider_than_the_terminal(width, pods):
    page = node(*(gpu(pod=pod, container=pod, **BUSY) for pod in pods))
    lines = gpu_table(page, width=width).splitlines()
    assert len(lines) == len(pods) + 1
    assert max(map(len, lines)) <= width


def top(*arguments):
    return parse_top(arguments, {}, host_name="n", version="1")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://n1:9445", "http://n1:9445/metrics"),
        ("http://n1:9445/", "http://n1:9445/metrics"),
        ("https://n1/gpus", "https://n1/gpus"),
        ("http://[::1]:9445/metrics", "http://[::1]:9445/metrics"),
    ],
)
def test_the_url_of_an_exporter(url, expected):
    assert top("--url", url).url == expected


@pytest.mark.parametrize("url", ["n1:9445", "ftp://n1", "http://", "http://n1:x", "http://[::1"])
def test_a_wrong_url_is_refused(url):
    with pytest.raises(UsageError) as caught:
        top("--url", url)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--url: {url!r} is not ")


def test_a_password_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        top("--url", "user:secret@n1:9445")
    assert "secret" not in caught.value.text("gpu-exporter")


CREDENTIALS = ("--url.username", "u", "--url.password-file", "f")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--url.tls-ca-file", "ca"), "only with --url"),
        (("--url.tls-insecure-skip-verify",), "only with --url"),
        (("--url", "http://n1", "--url.username", "u"), "--url.password-file"),
        (("--url", "http://n1", "--url.tls-cert-file", "c"), "--url.tls-key-file"),
        (("--url", "http://n1", *CREDENTIALS, "--url.bearer-token-file", "t"), "exclusive"),
        (("--url", "http://other:secret@n1", *CREDENTIALS), "no user"),
    ],
)
def test_credentials_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(UsageError) as caught:
        top(*arguments)
    (problem,) = caught.value.problems
    assert words in problem
    assert "secret" not in problem


def test_only_collectors_that_fill_a_column_are_read():
    config = top("--collectors", "all", "--watch", "--nvml.interval", "1s")
    assert config.exporter.collectors == {Collector.CONTAINERS}
    assert (config.watch, config.url, config.exporter.nvml_interval_seconds) == (True, None, 1.0)
    with pytest.raises(UsageError):
        top("--wide")
