# SPDX-License-Identifier: Apache-2.0
"""Pure: what can follow on the command line of a kubectl plugin.

kubectl runs `kubectl_complete-NAME` with the words after the plugin's name, the last of which is to
be completed, and reads one choice per line, then `:DIRECTIVE`. Source: kubectl's
`pkg/cmd/plugin_completion.go` and cobra's ShellCompDirective.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FILES: Final = 0
_NO_FILES: Final = 4
_FILE_METAVARS: Final = frozenset({"FILE", "DIR"})


def kubectl_completion(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """Return the choices for the last of `words`, and whether the shell offers files instead."""
    *before, last = words or ("",)
    parser, given = _command(parser, before)
    flag = _flag(parser, given[-1]) if given else None
    if flag is not None and flag.nargs != 0:
        return _answer(_values(flag), last, files=flag.metavar in _FILE_METAVARS)
    if last.startswith("-"):
        flags = (name for action in parser._actions for name in action.option_strings)
        return _answer(flags, last)
    positionals = [action for action in parser._actions if not action.option_strings]
    choices = [choice for action in positionals for choice in _values(action)]
    files = any(action.metavar in _FILE_METAVARS for action in positionals)
    return _answer(choices, last, files=files)


def _command(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[argparse.ArgumentParser, Sequence[str]]:
    """Return the parser of the command that the words name, and the words after it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for place, word in enumerate(words):
                if word in action.choices:
                    return action.choices[word], words[place + 1 :]
    return parser, words


def _flag(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    return next((action for action in parser._actions if word in action.option_strings), None)


def _values(action: argparse.Action) -> Iterable[str]:
    if action.choices is not None:
        return (str(choice) for choice in action.choices)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return metavar.split("|") if "|" in metavar else ()


def _answer(choices: Iterable[str], last: str, *, files: bool = False) -> str:
    fitting = [choice for choice in choices if choice.startswith(last)]
    return "".join(f"{line}\n" for line in [*fitting, f":{_FILES if files else _NO_FILES}"])
