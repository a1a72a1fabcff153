# SPDX-License-Identifier: Apache-2.0
"""Pure: environment variables that look like those of a program, but set nothing."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# A Service named like the program gives every pod of its namespace variables with the same prefix.
# Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_SERVICES: Final = re.compile(
    r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
MAX_WARNINGS: Final = 10


def unknown_variables(
    parser: argparse.ArgumentParser, environ: Mapping[str, str], *, prefix: str
) -> list[str]:
    """Return a sentence for each variable with the prefix that no flag reads, at most 10."""
    known = set(_variables(parser, prefix))
    return [
        f"{name} is set, but is no variable of {parser.prog}{_hint(name, known)}"
        for name in sorted(environ)
        if name.startswith(prefix)
        and name not in known
        and not _OF_SERVICES.fullmatch(name.removeprefix(prefix))
    ][:MAX_WARNINGS]


def _hint(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.8)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _variables(parser: argparse.ArgumentParser, prefix: str) -> Iterator[str]:
    """Yield what the help of each flag names in brackets."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _variables(command, prefix)
        elif action.help:
            yield from re.findall(rf"\[({prefix}\w+)", action.help)
