"""Pure: what all flags have in common: an environment variable each, and texts that say both."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    Container = argparse.ArgumentParser | argparse._ArgumentGroup

ENVIRONMENT_PREFIX = "GPU_SCALER_"
_PROBLEMS = "problems of the environment"


class FromEnvironment(str):
    """A value that an environment variable gave: what is wrong with it is said of the variable."""

    __slots__ = ()


def environment_name(flag: str) -> str:
    """Return the environment variable of a flag: `web.listen-address` -> `GPU_SCALER_WEB_...`."""
    return ENVIRONMENT_PREFIX + re.sub(r"[.-]", "_", flag).upper()


def value_of(values: Mapping[str, object], flag: str) -> object:
    """Return what argparse keeps for a flag."""
    return values[flag.replace("-", "_")]


class Flags:
    """Adds flags to a parser or a group; each takes its default from its variable in `environ`.

    A metavar of words between bars, such as `text|json`, is all that the flag takes.
    """

    def __init__(self, container: Container, environ: Mapping[str, str]) -> None:
        self._container = container
        self._environ = environ

    def text(self, name: str, metavar: str, default: object, text: str) -> None:
        """Add a flag with a value."""
        variable = environment_name(name)
        given = self._environ.get(variable)
        shown = "" if default in (None, "") else f"; default {default}"
        self._container.add_argument(
            f"--{name}",
            default=default if given is None else FromEnvironment(given),
            metavar=metavar,
            help=f"{text}{shown} [{variable}]",
        )

    def switch(self, name: str, text: str) -> None:
        """Add a flag without a value; its variable is true or false."""
        variable = environment_name(name)
        given = self._environ.get(variable, "").lower()
        if given not in ("", "true", "1", "false", "0"):
            # Read as false, `yes` would have the scaler act where it was told not to.
            self._problem(
                f"{variable}: {self._environ[variable]!r} is not one of true, false, 1, 0"
            )
        self._container.add_argument(
            f"--{name}",
            action="store_true",
            default=given in ("true", "1"),
            help=f"{text} [{variable}=true]",
        )

    def repeated(self, name: str, metavar: str, text: str) -> None:
        """Add a flag that may be given several times; its variable has one value a line."""
        variable = environment_name(name)
        lines = self._environ.get(variable, "").splitlines()
        self._container.add_argument(
            f"--{name}",
            action="append",
            metavar=metavar,
            help=f"{text}; may be repeated [{variable}, one a line]",
        )
        # Not the default: argparse would append to it instead of replacing it.
        self._container.set_defaults(**{_fallback(name): [line for line in lines if line.strip()]})

    def _problem(self, problem: str) -> None:
        before = self._container.get_default(_PROBLEMS) or ()
        assert isinstance(before, tuple)
        self._container.set_defaults(**{_PROBLEMS: (*before, problem)})


def problems_of_environment(values: Mapping[str, object]) -> tuple[str, ...]:
    """Return what is wrong with variables of flags that have no value."""
    found = values.get(_PROBLEMS, ())
    assert isinstance(found, tuple)
    return found


def named_as_given(problem: str, values: Mapping[str, object]) -> str:
    """Return the problem of a flag, of its variable where that is where the value came from."""
    flag, colon, rest = problem.partition(":")
    name = flag.removeprefix("--")
    if colon and isinstance(values.get(name.replace("-", "_")), FromEnvironment):
        return f"{environment_name(name)}:{rest}"
    return problem


def repeated_of(values: Mapping[str, object], flag: str) -> tuple[str, ...]:
    """Return the values of a repeated flag: those given, else those of its variable."""
    given = value_of(values, flag)
    found = given if isinstance(given, list) else values[_fallback(flag)]
    assert isinstance(found, list)
    return tuple(found)


def _fallback(flag: str) -> str:
    return f"{flag.replace('-', '_')} of the environment"
