# SPDX-License-Identifier: Apache-2.0
"""A test that does what a page says, and the proof that it has left nothing out.

`read_through("docs/x.md")` is how a test takes a page's commands on. test_docs.py finds these calls
in the tests' sources: a page with commands that nobody reads through is an error.
"""

from __future__ import annotations

import ast
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.pages.markdown import ROOT, Block, page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMMAND_SECONDS: Final = 200


@dataclass(slots=True)
class Reading:
    """What a reader has still to do."""

    left: list[Block]

    def take(self, section: str | None = None, *, containing: str = "") -> list[Block]:
        """Return what is to be run next, in the page's order: all, or what a section has."""
        taken = [
            block
            for block in self.left
            if (section is None or any(one.startswith(section) for one in block.sections))
            and containing in block.text
        ]
        assert taken, f"there is no command left in {section or 'the page'} {containing}"
        self.left = [block for block in self.left if block not in taken]
        return taken


@contextmanager
def read_through(name: str, *sections: str) -> Iterator[Reading]:
    """Hand out a page's commands, or those under some headings; at the end none may be left."""
    reading = Reading(commands(name, sections))
    yield reading
    assert not reading.left, [block.where for block in reading.left]


def commands(name: str, sections: tuple[str, ...] = ()) -> list[Block]:
    """Return the commands of a page that a test has to run."""
    return [
        block
        for block in page(name).commands()
        if block.untried_because is None
        and not block.is_make
        and not block.is_parsed
        and (not sections or set(sections) & set(block.sections))
    ]


@cache
def readings() -> frozenset[tuple[str, tuple[str, ...]]]:
    """Return what the tests' calls of `read_through` name: a page and sections of it."""
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        source = path.read_text(encoding="utf-8")
        if "read_through" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_through":
                name, *sections = (ast.literal_eval(argument) for argument in node.args)
                found.add((name, tuple(sections)))
    return frozenset(found)


def run(block: Block, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a block's commands, each of which must succeed, and return what they printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{block.where}: {block.text}{done.stdout}{done.stderr}"
    return done.stdout
