"""docs/exporter.md says what the table of collectors says."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli.config import ExporterConfig
from exporter.model import Collector
from exporter.nvml.xid import MAX_KINDS, ZERO_XIDS
from toolkit.web import passwords
from toolkit.web.server import LIMITS

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "exporter.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("collector", Collector)
def test_every_collector_is_listed_with_its_cost(collector):
    assert f"\n| `{collector.value}` | " in DOCS


def test_the_xids_that_begin_at_zero_are_named():
    *most, last = (str(xid) for xid in ZERO_XIDS)
    text = " ".join(DOCS.split())
    assert f"The counters of Xids {', '.join(most)} and {last} are there from 0 on" in text
    assert f"at most {MAX_KINDS + 1} counters" in text


@pytest.mark.parametrize(
    "said",
    [
        f"`--web.max-requests` requests ({ExporterConfig().max_requests})",
        f"its headers have at most {LIMITS.line_bytes} bytes",
        f"more than {LIMITS.request_bytes // 1024} KiB before a request is whole",
        f"no request begins for {LIMITS.idle_seconds:g} seconds",
        f"Of more than {LIMITS.connections} connections, and of more than"
        f" {LIMITS.handshakes} that shake hands",
        f"a handshake has {LIMITS.handshake_seconds:g} seconds",
        f"for which it has {LIMITS.read_seconds:g} seconds",
        f"Unsent answers take {LIMITS.unsent_bytes >> 20} MiB at most",
        f"While {passwords.PLACES_PER_ADDRESS} of an address wait",
    ],
)
def test_the_bounds_of_clients_are_those_of_the_code(said):
    assert said in " ".join(DOCS.split())
