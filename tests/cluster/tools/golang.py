"""The Go tool chain that builds the test bed's programs: which is needed, which is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

_MODULES: Final = Path(__file__).parent
_ASK_SECONDS: Final = 30.0
LOCAL: Final = {"GOTOOLCHAIN": "local"}
"""Keeps `go` from running another version than its own: downloading one does not work everywhere,
and a developer's setting may name an older one."""


def needed() -> str:
    """Return the lowest version that builds everything: the highest `go` line of our modules."""
    lines = (
        re.search(r"^go (\S+)$", module.read_text(), re.M) for module in _MODULES.glob("*/go.mod")
    )
    return max((line[1] for line in lines if line), key=numbers)


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


def problem(found: str | None) -> str | None:
    """Say why a machine with this version, or with none, cannot build; None where it can."""
    if found is None:
        return f"Go >= {needed()} is needed, and there is no `go`"
    if numbers(found) < numbers(needed()):
        return f"Go >= {needed()} is needed, and `go` is {found}"
    return None


def numbers(version: str) -> tuple[int, int, int]:
    """Return a version to compare by; what follows the numbers, such as rc1, is not looked at."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if found is None:
        msg = f"{version!r} is not a version of Go, such as 1.25.0"
        raise ValueError(msg)
    return int(found[1]), int(found[2]), int(found[3] or 0)
