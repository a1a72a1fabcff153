"""The chart's values as a table of docs/install.md, from the comments in values.yaml."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.chart import CHART

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALUES: Final = CHART / "values.yaml"
PAGE: Final = CHART.parents[1] / "docs" / "install.md"
BEGIN: Final = "<!-- values: written by make manifests -->\n"
END: Final = "<!-- end of values -->\n"
MAX_DEFAULT_LENGTH: Final = 60
_KEY: Final = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")
_COMMENT: Final = re.compile(r" *# ?(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A key with a comment of its own."""

    path: tuple[str, ...]
    comment: str

    @property
    def name(self) -> str:
        """`exporter.driver.hostPath`."""
        return ".".join(self.path)


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


def default_of(values: Any, path: tuple[str, ...]) -> Any:
    """Return the default of a key; raises KeyError if there is no such key."""
    for name in path:
        values = values[name]
    return values


def table(text: str) -> str:
    """Return the rows; what has described keys of its own has none."""
    found = list(described(text))
    sections = {value.path[:-1] for value in found}
    defaults = yaml.safe_load(text)
    rows = [
        f"| `{value.name}` | {_shown(default_of(defaults, value.path))} | {value.comment} |\n"
        for value in found
        if value.path not in sections
    ]
    return "| value | default | meaning |\n|---|---|---|\n" + "".join(rows)


def page_with_table(page: str, text: str) -> str:
    """Return the page with the table in its place; raises ValueError if it has no place."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = f"{PAGE.name} has no lines {BEGIN.strip()} and {END.strip()}"
        raise ValueError(msg)
    return f"{before}{begin}{table(text)}{end}{after}"


def write(page: Path = PAGE) -> None:
    """Write the table into the page."""
    text = VALUES.read_text(encoding="utf-8")
    page.write_text(page_with_table(page.read_text(encoding="utf-8"), text), encoding="utf-8")


def _shown(default: Any) -> str:
    if default == "":
        return ""
    shown = default if isinstance(default, str) else json.dumps(default)
    return f"`{shown}`" if len(shown) <= MAX_DEFAULT_LENGTH else "in `values.yaml`"
