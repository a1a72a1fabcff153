# SPDX-License-Identifier: Apache-2.0
"""The README's pictures can be taken again, and ask nobody for anything."""

from __future__ import annotations

import asyncio

import pytest

from simulator.demo_script import GPU_STORY, Sight, row
from tests.browser.pictures import look, picture_of, shortened

PNG = b"\x89PNG\r\n"
MAX_BYTES = 200_000


def line(seconds: int, *, ready: int, wanted: int, reason: str = "DesiredWithinRange") -> str:
    sight = Sight(
        at_seconds=seconds,
        load=21,
        value=float(seconds),
        ready_replicas=ready,
        wanted_replicas=wanted,
        desired_replicas=wanted,
        reason=reason,
        message="why",
    )
    return row(sight, width=None, blocks=True)


def test_rows_in_which_no_count_changes_are_left_out():
    rescaled = line(3, ready=1, wanted=2, reason="SuccessfulRescale")
    lines = [
        GPU_STORY.header(),
        "--- a chapter",
        line(1, ready=1, wanted=1),
        line(2, ready=1, wanted=1),
        rescaled,
        line(4, ready=1, wanted=2),
        "--- another",
        line(5, ready=1, wanted=2),
    ]
    assert shortened(lines) == [*lines[:3], *lines[4:]]


def test_the_terminal_is_drawn_without_fonts_of_others():
    picture = picture_of(["\x1b[1m--- bold\x1b[0m", line(1, ready=1, wanted=1)], "make demo")
    assert "make&#160;demo" in picture or "make demo" in picture
    assert "DesiredWithinRange" in picture
    assert "url(http" not in picture
    assert "@font-face" not in picture


@pytest.mark.needs("chromium")
async def test_the_page_is_taken_as_a_small_picture(tmp_path):
    path = tmp_path / "page.png"
    await look(path)
    taken = await asyncio.to_thread(path.read_bytes)
    assert taken.startswith(PNG)
    assert 10_000 < len(taken) < MAX_BYTES
