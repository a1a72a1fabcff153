# SPDX-License-Identifier: Apache-2.0
"""What real shells complete when somebody presses the Tab key."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.waiting import until

BIN = Path(sys.executable).parent
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
PREPARED = {
    "bash": "source <({program} completion bash)",
    "zsh": 'autoload -U compinit; compinit -u -D; eval "$({program} completion zsh)"',
    "fish": "{program} completion fish | source",
}
COMPLETED = [
    pytest.param("gpu-scaler expl", "gpu-scaler explain", id="command"),
    pytest.param("gpu-scaler run --prometheus.ti", "--prometheus.timeout", id="flag of a command"),
    pytest.param("gpu-scaler run --source prom", "--source prometheus", id="value"),
    pytest.param("gpu-scaler check some-mani", "check some-manifest.yaml", id="file"),
    pytest.param("gpu-exporter --nvml.int", "--nvml.interval", id="flag of the exporter"),
    pytest.param("gpu-exporter top --wat", "gpu-exporter top --watch", id="flag of top"),
    pytest.param("gpu-exporter --log.format log", "--log.format logfmt", id="its value"),
]


@asynccontextmanager
async def terminal(command, folder):
    """Run a shell in a terminal of its own; yields what types into it and what it shows."""
    shown: list[str] = []
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", *command),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
        },
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            shown.append(os.read(ours, 65536).decode(errors="replace"))
        except OSError:
            loop.remove_reader(ours)

    loop.add_reader(ours, read)

    def text() -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][A-Z0-9]?|[\r\x07]", "", "".join(shown))

    try:
        yield lambda typed: os.write(ours, typed.encode()), text
    finally:
        loop.remove_reader(ours)
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(ours)


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
@pytest.mark.parametrize(
    "shell", [pytest.param(name, marks=pytest.mark.needs(name)) for name in SHELLS]
)
async def test_the_tab_key_completes(shell, typed, completed, tmp_path):
    (tmp_path / "some-manifest.yaml").touch()
    program = typed.split()[0]
    async with terminal(SHELLS[shell], tmp_path) as (write, text):
        prepared = PREPARED[shell].format(program=program)
        # What is looked for is not what is typed, which the terminal shows as well.
        write(f"{prepared}; echo prep''ared\n")
        await until(lambda: "prepared" in text(), what="the shell")
        write(f"{typed}\t")
        await until(lambda: completed in text(), what=completed)
