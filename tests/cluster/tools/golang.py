# SPDX-License-Identifier: Apache-2.0
"""The Go tool chain that builds the test bed's programs: which is needed, which is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.cluster import tools

if TYPE_CHECKING:
    from collections.abc import Collection

_ASK_SECONDS: Final = 30.0
_DOWNLOAD_SECONDS: Final = 120.0
LOCAL: Final = {"GOTOOLCHAIN": "local"}
"""Keeps `go` from running another version than its own: downloading one does not work everywhere,
and a developer's setting may name an older one."""


def needed(names: Collection[str] | None = None) -> str:
    """Return the lowest version that builds these programs, by default all that tests need.

    That is the highest `go` line of their modules.
    """
    modules = {
        tool.module
        for tool in tools.TOOLS
        if (tool.name not in tools.ONLY_NAMED if names is None else tool.name in names)
    }
    lines = (re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.M) for module in modules)
    return max((line[1] for line in lines if line), key=numbers)


def folder_of(tool: tools.Tool) -> Path:
    """Return where the source that a program is built from lies; downloads it if it is not there.

    Raises subprocess.CalledProcessError.
    """
    asked = subprocess.run(
        ["go", "mod", "download", "-json", tool.pin],
        cwd=tool.module,
        env={**os.environ, **LOCAL, "GOFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=_DOWNLOAD_SECONDS,
        check=True,
    )
    return Path(json.loads(asked.stdout)["Dir"])


@cache
def installed() -> str | None:
    """Return the version of the `go` on the PATH, None where there is none."""
    if shutil.which("go") is None:
        return None
    asked = subprocess.run(
        ["go", "env", "GOVERSION"],
        cwd="/",
        env={**os.environ, **LOCAL},
        capture_output=True,
        text=True,
        timeout=_ASK_SECONDS,
        check=True,
    )
    return asked.stdout.strip().removeprefix("go")


def problem(found: str | None, lowest: str | None = None) -> str | None:
    """Say why a machine with this version, or with none, cannot build; None where it can.

    `lowest` is what is `needed`, by default for all that tests need.
    """
    lowest = lowest or needed()
    if found is None:
        return f"Go >= {lowest} is needed, and there is no `go`"
    if numbers(found) < numbers(lowest):
        return f"Go >= {lowest} is needed, and `go` is {found}"
    return None


def numbers(version: str) -> tuple[int, int, int]:
    """Return a version to compare by; what follows the numbers, such as rc1, is not looked at."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if found is None:
        msg = f"{version!r} is not a version of Go, such as 1.25.0"
        raise ValueError(msg)
    return int(found[1]), int(found[2]), int(found[3] or 0)
