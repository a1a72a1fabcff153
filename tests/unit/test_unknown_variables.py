# SPDX-License-Identifier: Apache-2.0
"""Environment variables that resemble those of a program."""

from __future__ import annotations

import pytest

from exporter.cli.flags import build_parser as exporter_parser
from scaler.cli.parser import build_parser as scaler_parser
from toolkit.cli.unknown_variables import MAX_WARNINGS, unknown_variables


def reported(*names, prefix="GPU_SCALER_", parser=None):
    parser = parser or scaler_parser({}, "1")
    return unknown_variables(parser, dict.fromkeys(names, "1"), prefix=prefix)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GPU_SCALER_INTERVALL", "GPU_SCALER_INTERVAL"),
        ("GPU_SCALER_PROMETHEUS_ULR", "GPU_SCALER_PROMETHEUS_URL"),
        ("GPU_SCALER_LOGLEVEL", "GPU_SCALER_LOG_LEVEL"),
    ],
)
def test_a_misspelt_variable_has_the_nearest_name(name, meant):
    (sentence,) = reported(name)
    assert name in sentence
    assert sentence.endswith(f"did you mean {meant}?")


def test_the_exporters_variables_are_known_too():
    parser = exporter_parser({}, "1")
    (sentence,) = reported("GPU_EXPORTER_NVML_INTERVALS", prefix="GPU_EXPORTER_", parser=parser)
    assert "GPU_EXPORTER_NVML_INTERVAL?" in sentence
    assert reported("GPU_EXPORTER_NVML_INTERVAL", prefix="GPU_EXPORTER_", parser=parser) == []


def test_a_name_like_no_other_has_no_hint():
    (sentence,) = reported("GPU_SCALER_XYZZY")
    assert "did you mean" not in sentence


@pytest.mark.parametrize(
    "name",
    [
        "GPU_SCALER_INTERVAL",
        "GPU_SCALER_KUBECONFIG",
        "GPU_SCALER_SERVER",
        "GPU_SCALER_ANNOTATION",
        # What Kubernetes sets for Services named gpu-scaler and gpu-scaler-metrics.
        "GPU_SCALER_SERVICE_HOST",
        "GPU_SCALER_SERVICE_PORT_HTTP",
        "GPU_SCALER_PORT",
        "GPU_SCALER_PORT_9446_TCP_ADDR",
        "GPU_SCALER_METRICS_SERVICE_HOST",
        "GPU_SCALER_METRICS_PORT_443_TCP",
        "OTHER_INTERVALL",
    ],
)
def test_known_variables_and_those_of_services_are_not_reported(name):
    assert reported(name) == []


def test_many_unknown_variables_are_not_all_reported():
    assert len(reported(*(f"GPU_SCALER_X{number}" for number in range(100)))) == MAX_WARNINGS
