"""Tests that need a program which this machine may lack: `@pytest.mark.needs("kubectl")`.

Where it is absent they are deselected and named in one closing line. With CI=true nothing is
deselected: a missing component then fails the run.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter

import pytest

_LACKING = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(program): the test runs this program")
    config.stash[_LACKING] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("CI") == "true":
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        needed = [mark.args[0] for mark in item.iter_markers("needs")]
        missing = [program for program in needed if shutil.which(program) is None]
        config.stash[_LACKING].update(missing)
        (left_out if missing else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lacking = config.stash[_LACKING]
    if lacking:
        parts = ", ".join(f"{program} ({count} tests)" for program, count in lacking.items())
        terminalreporter.write_line(f"Not run, because this machine lacks: {parts}")
