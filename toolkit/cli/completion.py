"""Scripts by which shells complete commands, flags, their values and files."""

from __future__ import annotations

import argparse
from typing import Final

import shtab

_COMPLETED: Final = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for `bash`, `zsh` or `fish`; `parser` is of no further use."""
    _teach(parser)
    return str(shtab.complete(parser, shell=shell))


def _teach(parser: argparse.ArgumentParser) -> None:
    """Say by the metavars what can be completed behind each flag."""
    for action in parser._actions:
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _teach(command)
        elif metavar in _COMPLETED:
            action.complete = _COMPLETED[metavar]  # type: ignore[attr-defined]
        elif "|" in metavar:
            action.choices = metavar.split("|")
