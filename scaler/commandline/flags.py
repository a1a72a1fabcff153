"""Pure: what all flags have in common: an environment variable each, and texts that say both."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

ENVIRONMENT_PREFIX = "GPU_SCALER_"


def environment_name(flag: str) -> str:
    """Return the environment variable of a flag: `web.listen-address` -> `GPU_SCALER_WEB_...`."""
    return ENVIRONMENT_PREFIX + re.sub(r"[.-]", "_", flag).upper()


def value_of(values: Mapping[str, object], flag: str) -> object:
    """Return what argparse keeps for a flag."""
    return values[flag.replace("-", "_")]


class Flags:
    """Adds flags to a parser; each takes its default from its variable in `environ`."""

    def __init__(self, parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
        self._parser = parser
        self._environ = environ

    def text(self, name: str, default: object, text: str) -> None:
        """Add a flag with a value."""
        variable = environment_name(name)
        shown = "" if default in (None, "") else f"; default {default}"
        self._parser.add_argument(
            f"--{name}",
            default=self._environ.get(variable, default),
            metavar=name.rpartition(".")[2].replace("-", "_").upper(),
            help=f"{text}{shown} [{variable}]",
        )

    def switch(self, name: str, text: str) -> None:
        """Add a flag without a value."""
        variable = environment_name(name)
        self._parser.add_argument(
            f"--{name}",
            action="store_true",
            default=self._environ.get(variable, "") == "true",
            help=f"{text} [{variable}=true]",
        )

    def repeated(self, name: str, metavar: str, text: str) -> None:
        """Add a flag that may be given several times; its variable has one value a line."""
        variable = environment_name(name)
        lines = self._environ.get(variable, "").splitlines()
        self._parser.add_argument(
            f"--{name}",
            action="append",
            metavar=metavar,
            help=f"{text}; may be repeated [{variable}, one a line]",
        )
        # Not the default: argparse would append to it instead of replacing it.
        self._parser.set_defaults(**{_fallback(name): [line for line in lines if line.strip()]})


def repeated_of(values: Mapping[str, object], flag: str) -> tuple[str, ...]:
    """Return the values of a repeated flag: those given, else those of its variable."""
    given = value_of(values, flag)
    found = given if isinstance(given, list) else values[_fallback(flag)]
    assert isinstance(found, list)
    return tuple(found)


def _fallback(flag: str) -> str:
    return f"{flag.replace('-', '_')} of the environment"
