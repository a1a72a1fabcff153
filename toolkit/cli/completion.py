# SPDX-License-Identifier: Apache-2.0
"""Shell completion scripts for commands, flags, their values and files."""

from __future__ import annotations

import argparse
from typing import Final

import shtab

_COMPLETED: Final = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for `bash`, `zsh` or `fish`; modifies `parser`."""
    _teach(parser)
    return str(shtab.complete(parser, shell=shell))


def _teach(parser: argparse.ArgumentParser) -> None:
    """Derive from the metavars how to complete the value of each flag."""
    for action in parser._actions:
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _teach(command)
        elif metavar in _COMPLETED:
            action.complete = _COMPLETED[metavar]  # type: ignore[attr-defined]
        elif "|" in metavar:
            action.choices = metavar.split("|")
