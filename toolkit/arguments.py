"""Pure: help that fits 80 columns, and wrong usage said in one line."""

from __future__ import annotations

import argparse
import re
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_USAGE = 2
_COLUMNS = 80
# argparse's words, and what they mean to those who did not write the program.
_PLAIN = (
    (r"argument (\S+): expected (?:one|at least one) argument", r"\1: needs a value"),
    (r"argument (\S+): ignored explicit argument (.+)", r"\1: takes no value, but got \2"),
    (r"the following arguments are required: (.+)", r"\1 is missing"),
    (r"argument (-.+)", r"\1"),
    # What stands without a flag is known by its value.
    (r"argument [^-][^:]*: (.+)", r"\1"),
)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Below each flag what it does; names with hyphens stay in one piece."""

    def __init__(self, prog: str) -> None:
        # Commands are short, and read best as a table; how wide is counted by Python since 3.13.
        is_command = " " in prog
        position = 8 if is_command else 16
        super().__init__(prog, max_help_position=position, width=_COLUMNS)
        self._action_max_length = 0 if is_command else position - 2

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # As Python 3.13 and later do, with the value named once.
        if len(action.option_strings) < 2 or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar}"

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


class Parser(argparse.ArgumentParser):
    """Takes no abbreviations, which a new flag would make ambiguous one day."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse here what is unknown: a command's help is another one than the program's."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unknown argument {unknown[0]!r}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and exit with status 2."""
        program = self.prog.partition(" ")[0]
        self.exit(EXIT_USAGE, f"{program}: {plain(message)}; see {self.prog} --help\n")


def plain(message: str) -> str:
    """Return argparse's message as a person would say it."""
    choice = re.fullmatch(r"argument (.+): invalid choice: (.+) \(choose from (.+)\)", message)
    if choice:
        allowed = choice[3].replace("'", "")
        where = f"{choice[1]}: " if choice[1].startswith("-") else ""
        return f"{where}{choice[2]} is not one of {allowed}"
    for pattern, words in _PLAIN:
        if re.fullmatch(pattern, message):
            return re.sub(pattern, words, message)
    return message
