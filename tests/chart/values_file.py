# SPDX-License-Identifier: Apache-2.0
"""The chart's values.yaml: which keys have a comment of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chart import CHART

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES: Final = CHART / "values.yaml"
_KEY: Final = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")
_COMMENT: Final = re.compile(r" *# ?(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A key with a comment of its own."""

    path: tuple[str, ...]
    comment: str


def described(text: str) -> Iterator[Value]:
    """Return the keys that a comment stands above, in the order of the file."""
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if found := _COMMENT.fullmatch(line):
            comment.append(found[1])
            continue
        if key := _KEY.match(line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                yield Value(path=tuple(path), comment=" ".join(comment))
        comment = []
