"""A script by which shells complete the exporter's commands, flags, their values and files."""

from __future__ import annotations

from typing import Final

import shtab

from exporter.flags import SHELLS, build_parser

_COMPLETED: Final = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}


def completion_script(shell: str) -> str:
    """Return the script for one of SHELLS."""
    parser = build_parser("")
    for action in parser._actions:
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if metavar in _COMPLETED:
            action.complete = _COMPLETED[metavar]  # type: ignore[attr-defined]
        elif "|" in metavar:
            action.choices = metavar.split("|")
    # Each is read before the flags are; here they are words like others.
    parser.add_argument("command", choices=("doctor", "completion"), nargs="?")
    parser.add_argument("shell", choices=SHELLS, nargs="?")
    return str(shtab.complete(parser, shell=shell))
