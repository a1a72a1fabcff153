# SPDX-License-Identifier: Apache-2.0
"""Pure: flags with environment variables, and the validation of their values."""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING, Any, Final

from toolkit.cli.addresses import parse_listen_address, parse_local_address
from toolkit.cli.arguments import UsageError
from toolkit.durations import parse_duration_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Container = argparse.ArgumentParser | argparse._ArgumentGroup

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("logfmt", "json")
_SWITCH_WORDS: Final = ("true", "false", "1", "0", "")


class FromEnvironment(str):
    """A value from an environment variable; errors name the variable."""

    variable: str

    def __new__(cls, text: str, variable: str) -> FromEnvironment:
        """Return the text with the name of its variable."""
        made = super().__new__(cls, text)
        made.variable = variable
        return made


class _Switched(FromEnvironment):
    """The value of a switch's environment variable."""


def environment_name(prefix: str, flag: str) -> str:
    """Return the environment variable of a flag: `web.listen-address` -> `PREFIX_WEB_...`."""
    return prefix + re.sub(r"[.-]", "_", flag).upper()


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """Return what reads a whole number within bounds, as a `type` of argparse."""

    def read(text: str) -> int:
        digits = len(str(highest))
        number = int(text) if re.fullmatch(rf"[0-9]{{1,{digits}}}", text) else lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {lowest} to {highest}"
            )
        return number

    return read


def add_output_argument(
    parser: argparse.ArgumentParser, formats: Sequence[str], *, more: str = ""
) -> None:
    """Add `--output`, whose default is the first of the formats."""
    explained = f"; {more}" if more else ""
    parser.add_argument(
        *("-o", "--output"),
        choices=formats,
        default=formats[0],
        metavar="|".join(formats),
        help=f"output format{explained} (default {formats[0]})",
    )


def flag_groups(
    parser: argparse.ArgumentParser, environ: Mapping[str, str], *, prefix: str
) -> Callable[[str], Flags]:
    """Return what adds a group with a title to the parser."""
    return lambda title: Flags(parser.add_argument_group(title), environ, prefix=prefix)


class Flags:
    """Adds flags to a parser or a group; variables in `environ` override their defaults.

    A metavar with bars, such as `text|json`, lists the allowed values.
    """

    def __init__(self, container: Container, environ: Mapping[str, str], *, prefix: str) -> None:
        self._container = container
        self._environ = environ
        self._prefix = prefix

    def text(self, name: str, metavar: str, default: object, text: str) -> None:
        """Add a flag with a value."""
        variable, given = self._given(name)
        shown = "" if default in (None, "") else f" (default {default})"
        self._container.add_argument(
            f"--{name}",
            default=default if given is None else given,
            metavar=metavar,
            help=f"{text}{shown} [{variable}]",
        )

    def switch(self, name: str, text: str) -> None:
        """Add a flag without a value; its variable is true or false."""
        variable, given = self._given(name)
        self._container.add_argument(
            f"--{name}",
            action="store_const",
            const=True,
            default=False if given is None else _Switched(given, variable),
            help=f"{text} [{variable}=true]",
        )

    def repeated(self, name: str, metavar: str, text: str) -> None:
        """Add a flag that may be repeated; its variable has one value per line."""
        variable, given = self._given(name)
        lines = (given or "").splitlines()
        self._container.add_argument(
            f"--{name}",
            action=_Repeated,
            default=tuple(FromEnvironment(line, variable) for line in lines if line.strip()),
            metavar=metavar,
            help=f"{text}; may be repeated [{variable}, one a line]",
        )

    def _given(self, name: str) -> tuple[str, FromEnvironment | None]:
        variable = environment_name(self._prefix, name)
        text = self._environ.get(variable)
        return variable, None if text is None else FromEnvironment(text, variable)


class _Repeated(argparse.Action):
    """Appends to earlier flags, but unlike argparse's action not to the variable's values."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        given = before if isinstance(before, list) else []
        setattr(namespace, self.dest, [*given, values])


class Values:
    """The values of parsed flags; collects problems under the name that the user wrote."""

    def __init__(self, parsed: argparse.Namespace) -> None:
        self._parsed = vars(parsed)
        self.problems: list[str] = []

    def check(self) -> None:
        """Raise UsageError if there are problems; also checks switches that were never read."""
        for value in self._parsed.values():
            # Treating `yes` as false would make a program act although it was told not to.
            if isinstance(value, _Switched) and value.lower() not in _SWITCH_WORDS:
                words = ", ".join(_SWITCH_WORDS[:-1])
                self.problems.append(f"{value.variable}: {str(value)!r} is not one of {words}")
        if self.problems:
            raise UsageError(self.problems)

    def problem(self, flag: str, sentence: str) -> None:
        """Add a problem with a flag, or with its variable if that gave the value."""
        value = self._value(flag)
        first = next(iter(value), "") if isinstance(value, tuple) else value
        where = first.variable if isinstance(first, FromEnvironment) else f"--{flag}"
        self.problems.append(f"{where}: {sentence}")

    def text(self, flag: str) -> str:
        """Return the value of a flag, empty if it is not set."""
        return self.optional(flag) or ""

    def optional(self, flag: str) -> str | None:
        """Return the value of a flag; None if it is not set."""
        value = self._value(flag)
        return None if value in (None, "") else str(value)

    def repeated(self, flag: str) -> tuple[str, ...]:
        """Return all values of a repeated flag."""
        value = self._value(flag)
        assert isinstance(value, list | tuple)
        return tuple(str(one) for one in value)

    def switch(self, flag: str) -> bool:
        """Return whether a switch is on."""
        value = self._value(flag)
        return value is True or str(value).lower() in ("true", "1")

    def names(self, flag: str, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
        """Return the names between commas, each once; each must match the pattern of `what`."""
        given = (name.strip() for name in self.text(flag).split(","))
        found = tuple(dict.fromkeys(name for name in given if name))
        for name in found:
            if not pattern.fullmatch(name):
                self.problem(flag, f"{name!r} is not {what}")
        return found

    def choice(self, flag: str, allowed: Iterable[str]) -> str:
        """Return the value of a flag that allows only these values."""
        value = self.text(flag)
        if value not in allowed:
            self.problem(flag, f"{value!r} is not one of {', '.join(allowed)}")
        return value

    def seconds(self, flag: str, *, lowest: float = 0.0, highest: float = math.inf) -> float:
        """Return a duration within bounds, 1 s if it is invalid."""
        try:
            return parse_duration_within(self.text(flag), lowest=lowest, highest=highest)
        except ValueError as error:
            self.problem(flag, str(error))
            return 1.0

    def whole_number(self, flag: str, lowest: int, highest: int) -> int:
        """Return a whole number within bounds, `lowest` where it is none."""
        try:
            return whole_number(lowest, highest)(self.text(flag))
        except argparse.ArgumentTypeError as error:
            self.problem(flag, str(error))
            return lowest

    def listen_address(self, flag: str, *, local: bool = False) -> tuple[str, int]:
        """Return the host (empty for all addresses of the machine) and the port of HOST:PORT.

        With `local`, unix:/PATH and `systemd` are hosts, too, with port 0.
        """
        address = self.text(flag)
        if local and (found := parse_local_address(address)) is not None:
            return found, 0
        parsed = parse_listen_address(address)
        if parsed is None:
            self.problem(
                flag,
                f"{address!r} is not HOST:PORT or :PORT with a port up to 65535 "
                "([HOST]:PORT for IPv6)"
                + (", unix:/PATH with a path up to 107 bytes, or systemd" if local else ""),
            )
            return "", 0
        return parsed

    def _value(self, flag: str) -> object:
        return self._parsed[flag.replace("-", "_")]
