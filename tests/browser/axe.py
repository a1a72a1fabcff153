# SPDX-License-Identifier: Apache-2.0
"""axe-core, the checker that most accessibility audits begin with."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.browser.chromium import Page

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN = """axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})
.then(({violations}) => violations.flatMap(
  ({id, help, nodes}) => nodes.map(({html}) => `${id}: ${help}: ${html.slice(0, 120)}`)))"""


async def violations(page: Page) -> list[str]:
    """Return what is wrong with what the page shows."""
    await page.evaluate(AXE)
    found: list[str] = await page.evaluate(RUN)
    return found
