# SPDX-License-Identifier: Apache-2.0
"""The demo as a stranger runs it, told in a log file, and what the README asks then."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from simulator.demo_script import CHAPTERS, STORY_DEADLINE_SECONDS
from simulator.llm_script import CHAPTERS as LLM_CHAPTERS
from tests.pages.markdown import ROOT, Block
from tests.pages.reading import read_through, run
from tests.simulated import programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def kept_demo(*flags: str) -> AsyncIterator[str]:
    """Yield what the demo has told when its story is over; it has to end well on Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator.demo", "--keep", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(STORY_DEADLINE_SECONDS + 10):
        while line := (await process.stdout.readline()).decode():
            lines.append(line)
            if line.startswith("  exporter ") and "gpu-node-2" in line:
                break
    try:
        yield "".join(lines)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        rest, err = await process.communicate()
    assert (process.returncode, rest, err) == (0, b"", b""), "".join(lines)


async def asks_what_the_demo_printed(message: str, name: str) -> str:
    """Run the exports and our commands, and return the explanation."""
    lines = [line.strip() for line in message.partition("From another terminal:")[2].splitlines()]
    exports = [line for line in lines if line.startswith("export ")]
    assert len(exports) == 2
    commands = [line for line in lines if re.match(r"\S*gpu-(?:scaler|exporter) ", line)]

    async def printed(command: str) -> str:
        text = "\n".join([*exports, command])
        block = Block(page="", line=0, language="bash", text=text, sections=())
        return await asyncio.to_thread(run, block, ROOT, {})

    status, explain, top = commands
    assert re.search(rf"^default +{name} ", await printed(status), re.M)
    program, *_ = top.rpartition(" ")
    exporters = re.findall(r"^exporter +(\S+)", "\n".join(lines), re.M)
    assert top == f"{program} {exporters[0]}"
    rows = [await printed(f"{program} {address}") for address in exporters]
    # The press holds no GPU. A pod that has just ended may still be listed, without its memory.
    memory = re.findall(rf"(\S+)/79\.6Gi .* default/{name}-", "".join(rows))
    assert any(text not in ("0.0", "-") for text in memory), rows
    return await printed(explain)


async def test_the_whole_story_happens_and_answers_what_the_pages_ask(tmp_path):
    async with kept_demo() as lines:
        for chapter in CHAPTERS:
            assert f"  ok  {chapter.title}: {chapter.expectation}" in lines
        assert "63/40" in lines
        assert "SuccessfulRescale: New size: 2; reason: duty_cycle above target" in lines
        assert "\x1b" not in lines

        await asks_what_the_demo_printed(lines, "fast-style-transfer-serving")
        found = re.search(r"export GPU_SCALER_SERVER=(\S+)\n", lines)
        assert found, lines
        environment = {**programs(tmp_path), "GPU_SCALER_SERVER": found[1]}
        with read_through("README.md") as page:
            printed = [await asyncio.to_thread(run, one, ROOT, environment) for one in page.take()]
        assert "fast-style-transfer-serving" in printed[0]
        assert "SuccessfulRescale" in printed[0]
        assert "default/serving-0" in printed[0]
        with (
            read_through("docs/troubleshooting.md", "The scaler") as trouble,
            read_through("docs/scaler.md", "Ask it why") as scaler,
        ):
            for block in (*trouble.take(), *scaler.take()):
                await asyncio.to_thread(run, block, ROOT, environment)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all addresses of 127.0.0.0/8")
async def test_the_story_of_a_model_server_happens_while_its_gpu_is_always_busy(tmp_path):
    async with kept_demo("--llm") as lines:
        for chapter in LLM_CHAPTERS:
            assert f"  ok  {chapter.title}: {chapter.expectation}" in lines
        assert re.search(r"1   100%       1\.0/4  1/1 ", lines)
        assert "SuccessfulRescale: New size: 4; reason: requests above target" in lines

        assert "vLLM" in await asks_what_the_demo_printed(lines, "llama")
