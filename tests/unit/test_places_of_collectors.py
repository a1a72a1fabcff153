# SPDX-License-Identifier: Apache-2.0
"""A collector: its families, the flag, the pages, the chart.

That the simulated boards have its readings, and a dashboard a panel, is shown by
tests/integration/test_exporter_collectors.py and tests/integration/test_monitoring_names.py.
"""

from __future__ import annotations

import json

from exporter.cli.config import parse
from exporter.cli.flags import build_parser
from exporter.exposition import base_families, board_families, families, link_families
from exporter.exposition.table import EXTENDED_FAMILIES, FAMILIES
from exporter.model import Collector, Family
from tests.pages import generated
from tests.pages.markdown import ROOT, page
from tests.unit.places import places


def collector_has_families(collector):
    assert collector in {family.collector for family in EXTENDED_FAMILIES}


def collector_is_a_flag(collector):
    config = parse(["--collectors", collector.value], {}, host_name="node", version="0")
    assert config.collectors == {collector}
    assert collector.value in build_parser({}, "1").format_help()


def collector_is_in_the_chart(collector):
    schema = json.loads((ROOT / "daemonset/chart/values.schema.json").read_text(encoding="utf-8"))
    exporter = schema["properties"]["exporter"]["properties"]
    assert collector.value in exporter["collectors"]["items"]["enum"]


def collector_has_its_cost_on_the_page(collector):
    costs = [row[0] for _, row in page("docs/exporter.md").tables]
    assert collector.value in costs


COLLECTOR_PLACES = {
    "exporter/exposition/table.py (EXTENDED_FAMILIES)": collector_has_families,
    "exporter/cli/flags.py (--collectors)": collector_is_a_flag,
    "daemonset/chart/values.schema.json": collector_is_in_the_chart,
    "docs/exporter.md (table of costs, from make bench-exporter)": (
        collector_has_its_cost_on_the_page
    ),
    "docs/metrics.md (make docs)": lambda one: generated.PARTS["extended-families"]().index(
        f"### `{one.value}`\n"
    ),
}


@places(COLLECTOR_PLACES, Collector)
def test_a_collector_is_known(member, check):
    check(member)


def test_every_family_of_a_module_is_in_the_table():

    for module in (base_families, board_families, families, link_families):
        for name, one in vars(module).items():
            if isinstance(one, Family):
                assert one in FAMILIES, f"{module.__name__}.{name} is missing in table.py"
