# SPDX-License-Identifier: Apache-2.0
"""The parts of the pages that are made from the code.

They stand between `<!-- generated: NAME -->` and `<!-- end -->`: a table on lines of its own, or a
number within a sentence. `make docs` writes them; a unit test fails while they differ.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.pages import (
    citedfigures,
    collectorfigures,
    families,
    limits,
    policyfigures,
    reference,
    scalerfigures,
    servers,
    tracefigures,
    victimfigures,
)
from tests.pages.markdown import PAGES, ROOT, page, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REGION: Final = re.compile(r"(<!-- generated: ([a-z0-9-]+) -->\n?).*?(<!-- end -->)", re.S)


def untried() -> str:
    """The commands and files that say that nobody tries them."""
    found = {
        (name, block.untried_because)
        for name in PAGES
        for block in page(name).blocks
        if block.untried_because is not None
    }
    rows = [(f"[{name}]({Path(name).name})", why) for name, why in sorted(found)]
    return table(("page", "why"), rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "annotations": reference.annotation_table,
    "saturation-growth": policyfigures.saturation_growth,
    "labels": families.labels,
    "base-families": families.base_families,
    "extended-families": families.extended_families,
    "exporter-families": families.exporter_families,
    "scaler-families": families.scaler_families,
    "metrics-api-families": families.metrics_api_families,
    "help": reference.help_section,
    "prometheus-presets": reference.presets,
    "servers": servers.server_table,
    "server-problems": servers.problem_table,
    **reference.EXAMPLE_PARTS,
    **limits.PARTS,
    **scalerfigures.PARTS,
    **citedfigures.PARTS,
    **collectorfigures.PARTS,
    **tracefigures.PARTS,
    **victimfigures.PARTS,
    "untried": untried,
}


def renewed(text: str) -> str:
    """Return a page's text with its generated parts as the code has them now."""
    return REGION.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", text)


def write() -> None:
    """Write all generated parts."""
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        path.write_text(renewed(text), encoding="utf-8")
