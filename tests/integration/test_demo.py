"""The demo as a stranger runs it: the whole story, told in a log file."""

from __future__ import annotations

import asyncio
import sys

from simulator.story import CHAPTERS, STORY_DEADLINE_SECONDS


async def test_the_whole_story_happens_and_ends_by_itself():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator.demo"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(STORY_DEADLINE_SECONDS + 10):
        out, err = await process.communicate()
    told = out.decode()
    assert process.returncode == 0, told + err.decode()
    assert err == b""
    for chapter in CHAPTERS:
        assert f"  ok  {chapter.title}: {chapter.expectation}" in told
    assert "63/40" in told
    assert "SuccessfulRescale: New size: 2; reason: duty_cycle above target" in told
    assert "\x1b" not in told
