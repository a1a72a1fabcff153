"""docs/metrics-api.md says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scaler.cli.metricsapi import add_metrics_api_arguments
from scaler.kube.delegated_auth import MAX_AT_ONCE
from scaler.kube.selectors import MAX_REQUIREMENTS, MAX_TEXT_LENGTH
from scaler.metricsapi import certificates, server
from scaler.metricsapi.history import KEPT_SECONDS, MAX_SAMPLES, SLOT_SECONDS
from scaler.metricsapi.names import FAMILIES, PREFIX, WINDOW_SECONDS
from tests.unit.flagrows import FlagRows

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "metrics-api.md").read_text(encoding="utf-8")


def test_the_flags_are_those_of_the_program():
    expected = FlagRows()
    add_metrics_api_arguments(expected)
    assert [line for line in DOCS.splitlines() if line.startswith("| `--")] == expected.rows


@pytest.mark.parametrize("family", FAMILIES)
def test_every_metric_is_listed(family):
    assert re.search(rf"^\| .*`{family.removeprefix(PREFIX)}`", DOCS, re.M)


@pytest.mark.parametrize(
    "said",
    [
        f"at most one sample per {SLOT_SECONDS:g} s for {WINDOW_SECONDS / 60:g} minutes",
        f"nobody has asked for {KEPT_SECONDS / 60:g} minutes",
        f"an authority ({certificates.AUTHORITY_LIFETIME.days // 365} years)",
        f"({certificates.SERVING_LIFETIME.days} days)",
        f"renewed {certificates.SERVING_RENEWED_BEFORE.days} days before its end",
        f"Of more than {server.LIMITS.connections} connections, and of more than"
        f" {server.LIMITS.handshakes} that shake hands",
        f"a handshake has {server.LIMITS.handshake_seconds:g} s, and a connection on which nobody"
        f" asks {server.LIMITS.idle_seconds:g} s",
        f"not read within {server.LIMITS.read_seconds:g} s",
        f"request of more than {server.LIMITS.request_bytes // 1024} KiB as well",
        f"Unsent answers take {server.LIMITS.unsent_bytes >> 20} MiB at most",
        f"Paths of more than {server.MAX_PATH_LENGTH} characters",
        f"more than {MAX_TEXT_LENGTH} characters or {MAX_REQUIREMENTS} requirements",
        f"all beyond {server.MAX_REQUESTS} requests under way",
        f"No more than {MAX_AT_ONCE} tokens and {MAX_AT_ONCE} rights",
    ],
)
def test_the_numbers_are_those_of_the_code(said):
    assert said in " ".join(DOCS.split())
    assert MAX_SAMPLES == WINDOW_SECONDS / SLOT_SECONDS + 1
