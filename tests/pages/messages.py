# SPDX-License-Identifier: Apache-2.0
"""What the programs say: every text in their sources, with `…` for what is filled in."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.pages.markdown import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES: Final = ("exporter", "scaler", "toolkit")
FILLED_IN: Final = "…"


@cache
def templates() -> tuple[str, ...]:
    """Return all texts of both programs."""
    return tuple(text for package in PACKAGES for text in _texts(package))


def says(text: str) -> bool:
    """Whether one of the programs says this, `…` standing for anything."""
    return any(text in template for template in templates())


def _texts(package: str) -> Iterator[str]:
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else FILLED_IN
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
