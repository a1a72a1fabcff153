# SPDX-License-Identifier: Apache-2.0
"""The tables of annotations and presets, and the worked examples, made from the code."""

from __future__ import annotations

import re
from argparse import _SubParsersAction
from functools import partial
from typing import TYPE_CHECKING, Final

from exporter.cli.flags import build_parser as exporter_parser
from exporter.cli.flags import build_top_parser
from scaler.cli.parser import build_parser
from scaler.policy.annotations import ANNOTATIONS
from scaler.readings import devices
from scaler.readings.prometheus.names import PRESETS
from tests.pages.examples import EXAMPLES, explained
from tests.pages.markdown import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def annotation_table() -> str:
    """All annotations."""
    rows = (
        (f"`{one.name}`", _code(one.default), f"{one.meaning}: {one.allowed}")
        for one in ANNOTATIONS
    )
    return table(("annotation", "default", "meaning"), rows)


def presets() -> str:
    """The label and series names of each preset of `--prometheus.metrics`."""

    def series(name: str, family: str) -> str:
        return f"`{PRESETS[name].families[family].series[0]}`"

    def scaled(name: str, family: str) -> str:
        return f"{series(name, family)}, x {PRESETS[name].families[family].factor}"

    rows = (
        (
            f"`{name}`",
            f"`{one.namespace_label}`, `{one.pod_label}`",
            series(name, devices.DUTY_CYCLE),
            scaled(name, devices.MEMORY_USED),
            scaled(name, devices.POWER_USAGE),
        )
        for name, one in PRESETS.items()
    )
    head = ("preset", "namespace, pod", "duty cycle", "memory used, in", "power, in")
    return table(head, rows)


def helps() -> dict[str, str]:
    """Return the help text of every command by the command."""
    scaler = build_parser({}, "1")
    (commands,) = (one for one in scaler._actions if isinstance(one, _SubParsersAction))
    own = (exporter_parser({}, "1"), build_top_parser({}, "1"))
    parsers = [*own, scaler, *commands.choices.values()]
    return {parser.prog: parser.format_help() for parser in parsers}


def help_section() -> str:
    """The help of every command under a heading; a group of flags only where it comes first."""
    first: dict[str, str] = {}
    parts = []
    for name, text in helps().items():
        groups = text.removesuffix("\n").split("\n\n")
        own = [one for one in groups if first.setdefault(one, name) == name]
        shown = "\n\n".join(own)
        parts.append(f"### {name}\n\n```text\n{shown}\n```\n")
        again = ", ".join(
            f"*{one.partition(':')[0]}* as for [{first[one]}](#{first[one].replace(' ', '-')})"
            for one in groups
            if first[one] != name and re.search(r"\n  -(?!h, )", one)
        )
        if again:
            parts.append(f"Also: {again}.\n")
    return "\n".join(parts)


def _example(name: str) -> str:
    return f"```text\n{explained(EXAMPLES[name]())}```\n"


EXAMPLE_PARTS: Final[Mapping[str, Callable[[], str]]] = {
    f"example-{name}": partial(_example, name) for name in EXAMPLES
}


def _code(text: str | None) -> str:
    return "" if text is None else f"`{text}`"
