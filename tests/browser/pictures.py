# SPDX-License-Identifier: Apache-2.0
"""`make pictures`: the pictures of the pages, taken of the real terminal, page and simulation.

The terminal is that of the demo, without the lines in which no count changes. The page shows
Deployments that the tests make up, one in each state. The simulation replays a made-up week.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from scaler.replay.simulation_plot import simulations_svg
from tests.browser.chromium import running_browser
from tests.browser.scenes import usual
from tests.browser.week import simulated_week
from tests.statuspage import status_page

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER: Final = Path(__file__).parents[2] / "docs" / "images"
COLUMNS: Final = 100
STORY_SECONDS: Final = 130.0
COUNTS: Final = re.compile(r"(\d+)/(\d+) +[■□]+ +(\w+)")


async def story_lines() -> list[str]:
    """Return what `make demo` writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator.demo"),
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": str(COLUMNS)},
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        # Linux ends a terminal that nobody writes to any more by an error.
        try:
            while piece := os.read(ours, 65536):
                shown.extend(piece)
        except OSError:
            os.close(ours)

    async with asyncio.timeout(STORY_SECONDS):
        await asyncio.gather(asyncio.to_thread(read), process.wait())
    assert process.returncode == 0, shown.decode()
    return shown.decode().replace("\r", "").splitlines()


def shortened(lines: Sequence[str]) -> list[str]:
    """Leave out the table's rows in which the counts are those of the row before."""
    kept: list[str] = []
    last: tuple[str, ...] | None = None
    for line in lines:
        found = COUNTS.search(line)
        counts = found.groups() if found else None
        if counts is None or counts != last:
            kept.append(line)
        last = counts
    return kept


def picture_of(lines: Sequence[str], title: str) -> str:
    """Return a terminal with these lines as SVG, which asks no other host for fonts."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi("\n".join(lines)))
    picture = console.export_svg(title=title, unique_id="terminal")
    without_fonts = re.sub(r"\n *@font-face \{.*?\}", "", picture, flags=re.S)
    return without_fonts.replace("Fira Code, monospace", "monospace") + "\n"


async def look(path: Path) -> None:
    """Write a picture of the status page."""
    async with (
        running_browser() as browser,
        status_page(usual()) as url,
        browser.page(width=1200, height=758) as page,
    ):
        await page.open(f"{url}/#/")
        await page.see("document.querySelectorAll('.deployments tbody tr').length === 7")
        await page.screenshot(path)


async def main() -> None:
    """Write all pictures."""
    await asyncio.to_thread(FOLDER.mkdir, exist_ok=True)
    lines = shortened(await story_lines())
    (FOLDER / "demo.svg").write_text(picture_of(lines, "make demo"), encoding="utf-8")
    (FOLDER / "simulate.svg").write_text(simulations_svg([simulated_week()]), encoding="utf-8")
    await look(FOLDER / "status-page.png")


if __name__ == "__main__":
    asyncio.run(main())
