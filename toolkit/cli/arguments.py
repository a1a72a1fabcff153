# SPDX-License-Identifier: Apache-2.0
"""Pure: the parser of a command line, help that fits 80 columns, and wrong usage in one line."""

from __future__ import annotations

import argparse
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_USAGE: Final = 2
"""The status of a program that was called or configured wrongly."""
SHELLS: Final = ("bash", "zsh", "fish")
_COLUMNS: Final = 80
# argparse's messages and their plain wording.
_PLAIN: Final = (
    (r"argument (\S+): expected (?:one|at least one) argument", r"\1: needs a value"),
    (r"argument (\S+): ignored explicit argument (.+)", r"\1: takes no value, but got \2"),
    (r"the following arguments are required: (.+)", r"\1 is missing"),
    (r"argument (-.+)", r"\1"),
    # A positional argument is identified by its value.
    (r"argument [^-][^:]*: (.+)", r"\1"),
)


class UsageError(Exception):
    """The command line or the environment is wrong; `problems` has one sentence for each error."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)

    def text(self, program: str) -> str:
        """Return a line for each problem, as `program` says it."""
        return "".join(f"{program}: {problem}\n" for problem in self.problems)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Prints help below each flag; does not break words at hyphens."""

    def __init__(self, prog: str, position: int = 8) -> None:
        super().__init__(prog, max_help_position=position, width=_COLUMNS)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # As Python 3.13 and later do, with the value named once.
        if len(action.option_strings) < 2 or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar}"

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


class CommandsFormatter(Formatter):
    """Prints help beside each command, as a table."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, position=16)
        # How wide is counted by Python since 3.13.
        self._action_max_length = 14


class Parser(argparse.ArgumentParser):
    """Allows no abbreviations, which a new flag could make ambiguous.

    Raises UsageError instead of exiting.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and refuse unknown arguments; so does a command, whose own help is then named."""
        found, problems = self.parse_with_problems(args, namespace)
        if problems:
            raise UsageError(problems[:1])
        return found, []

    def parse_with_problems(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; return the values, and a sentence for each unknown argument."""
        found, unknown = super().parse_known_args(args, namespace)
        return found, [f"unknown argument {one!r}; see {self.prog} --help" for one in unknown]

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the message and a pointer to the help."""
        raise UsageError([f"{plain(message)}; see {self.prog} --help"])


def plain(message: str) -> str:
    """Return argparse's message in plain words."""
    choice = re.fullmatch(r"argument (.+): invalid choice: (.+) \(choose from (.+)\)", message)
    if choice:
        allowed = choice[3].replace("'", "")
        where = f"{choice[1]}: " if choice[1].startswith("-") else ""
        return f"{where}{choice[2]} is not one of {allowed}"
    for pattern, words in _PLAIN:
        if re.fullmatch(pattern, message):
            return re.sub(pattern, words, message)
    return message
