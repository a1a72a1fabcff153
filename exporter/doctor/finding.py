# SPDX-License-Identifier: Apache-2.0
"""What a check of the node found, and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEVEL_WIDTH: Final = 9
_STEP_WIDTH: Final = 11


class Level(StrEnum):
    """How much a finding matters; only a failure keeps GPUs or pods from being seen."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILURE = "FAILURE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence about one step, and what to do about it."""

    step: str
    level: Level
    text: str
    fix: str = ""


def ok(step: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(step=step, level=Level.OK, text=text)


def note(step: str, text: str, fix: str = "") -> Finding:
    """Return what is worth knowing and nothing wrong."""
    return Finding(step=step, level=Level.NOTE, text=text, fix=fix)


def warning(step: str, text: str, fix: str) -> Finding:
    """Return what makes the metrics poorer."""
    return Finding(step=step, level=Level.WARNING, text=text, fix=fix)


def failure(step: str, text: str, fix: str) -> Finding:
    """Return what keeps GPUs or pods from being seen."""
    return Finding(step=step, level=Level.FAILURE, text=text, fix=fix)


def render(findings: Sequence[Finding]) -> str:
    """Return the report for a terminal: a line for each finding, its fix below, and a sum."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<{_LEVEL_WIDTH}}{finding.step:<{_STEP_WIDTH}}{finding.text}")
        if finding.fix:
            lines.append(f"{'':<{_LEVEL_WIDTH + _STEP_WIDTH}}-> {finding.fix}")
    failures = sum(one.level is Level.FAILURE for one in findings)
    warnings = sum(one.level is Level.WARNING for one in findings)
    lines += ["", f"{_counted(failures, 'failure')}, {_counted(warnings, 'warning')}"]
    return "\n".join(lines) + "\n"


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
