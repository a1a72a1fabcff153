# SPDX-License-Identifier: Apache-2.0
"""Tests that need more than Python: `@pytest.mark.needs("kubectl")`, or `"root"`.

Where it is absent they are deselected, and one closing line names it with the command that would
bring it. With CI=true nothing is deselected: what is missing then fails each test that needs it.

`make test` runs two workers side by side (`pytest -n 2`); tests that share a world, as
`tests/worlds.py` says, stay together.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests import needs
from tests.image.shipped import ShippedImage, built_image

if TYPE_CHECKING:
    from collections.abc import Iterator

_LACKING = pytest.StashKey[Counter[str]]()

# A machine that is busy with something else is slow, which says nothing of what is tested.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# A shell that runs the tests in the background ignores Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Take back what a program that a test runs in this process sets for all logging."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture(scope="session")
def shipped_image() -> Iterator[ShippedImage]:
    """What the Dockerfile gives, built for the first test that asks for it."""
    with built_image() as image:
        yield image


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(thing): the test needs this program, or root")
    config.stash[_LACKING] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    if "shipped_image" in getattr(item, "fixturenames", ()):
        for thing in ("root", "buildah", "mmdebstrap"):
            item.add_marker(pytest.mark.needs(thing))


# Last, when `-m "not needs"` has left out what was not asked for.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        missing = _missing(item)
        config.stash[_LACKING].update(missing)
        (left_out if missing and not _is_ci() else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = _missing(item)
    if missing:
        pytest.fail("; ".join(f"needs {need}: {needs.remedy(need)}" for need in missing))


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        lacking = session.config.stash[_LACKING]
        output["lacking"] = dict(lacking)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.worlds import WorldScheduling

    return WorldScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker lacks; each has collected all tests."""
    node.config.stash[_LACKING] = Counter(getattr(node, "workeroutput", {}).get("lacking", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lacking = config.stash[_LACKING]
    if lacking:
        parts = [f"{need} ({count} tests; {needs.remedy(need)})" for need, count in lacking.items()]
        what = "Failed" if _is_ci() else "Not run"
        terminalreporter.write_line(f"{what}, because this machine lacks: {', '.join(parts)}")


def _is_ci() -> bool:
    return os.environ.get("CI") == "true"


def _missing(item: pytest.Item) -> list[str]:
    named = [mark.args[0] for mark in item.iter_markers("needs")]
    return [need for need in dict.fromkeys(named) if not needs.is_there(need)]
