# SPDX-License-Identifier: Apache-2.0
"""Pure: label selectors in query form: `app=web,tier in (a,b),!canary`.

Source: the grammar in apimachinery's `labels.Parse`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TEXT_LENGTH = 16_384
MAX_REQUIREMENTS = 64
"""More than any real selector has; each is matched against every object."""
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}")
_VALUE = re.compile(rf"(?:{_NAME})?")
_TOKEN = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+))")


class SelectorError(ValueError):
    """The text is not a label selector; the message says where."""


class Operator(StrEnum):
    """How the value of a label is compared with those of a requirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GREATER = "Gt"
    LESS = "Lt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement of a selector; `is_equality` if it is written `key=value`."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()
    is_equality: bool = False

    def __post_init__(self) -> None:
        """Refuse values that the operator does not allow."""
        match self.operator:
            case Operator.IN | Operator.NOT_IN:
                if not self.values:
                    raise SelectorError(f"{self.key!r:.80}: {self.operator} requires values")
            case Operator.GREATER | Operator.LESS:
                if len(self.values) != 1 or not all(map(_is_integer, self.values)):
                    raise SelectorError(f"{self.key!r:.80}: {self.operator} requires one integer")
            case _:
                if self.values:
                    raise SelectorError(f"{self.key!r:.80}: {self.operator} takes no values")
        for text in (self.key, *self.values):
            if not isinstance(text, str):
                raise SelectorError(f"{text!r:.80} is not a string")

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether an object with these labels meets the requirement."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.GREATER | Operator.LESS:
                if value is None or not _is_integer(value):
                    return False
                (limit,) = self.values
                greater = self.operator is Operator.GREATER
                return int(value) > int(limit) if greater else int(value) < int(limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Requirements that must all match; none matches everything. `text` is the original text."""

    requirements: tuple[Requirement, ...] = ()
    text: str = ""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether an object with these labels is selected."""
        return all(one.matches(labels) for one in self.requirements)

    def document(self) -> dict[str, object] | None:
        """Return the selector as a `metav1.LabelSelector`, None if it selects everything."""
        if not self.requirements:
            return None
        equal = {one.key: next(iter(one.values)) for one in self.requirements if one.is_equality}
        others = [
            {"key": one.key, "operator": str(one.operator)}
            | ({"values": sorted(one.values)} if one.values else {})
            for one in self.requirements
            if not one.is_equality
        ]
        found: dict[str, object] = {}
        if equal:
            found["matchLabels"] = equal
        if others:
            found["matchExpressions"] = others
        return found


EVERYTHING = Selector()


def parse_selector(text: str) -> Selector:
    """Parse a selector; an empty one selects everything.

    Raises:
        SelectorError: it is invalid, or longer than 16384 characters or 64 requirements.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise SelectorError(f"the selector is longer than {MAX_TEXT_LENGTH} characters")
    if not text.strip():
        return EVERYTHING
    tokens = _Tokens(text)
    found = [_requirement(tokens)]
    while tokens.peek():
        tokens.expect(",")
        if len(found) >= MAX_REQUIREMENTS:
            raise SelectorError(f"the selector has more than {MAX_REQUIREMENTS} requirements")
        found.append(_requirement(tokens))
    return Selector(requirements=tuple(found), text=text)


class _Tokens:
    def __init__(self, text: str) -> None:
        self._text = text
        stripped = text.rstrip()
        self._tokens: list[str] = []
        position = 0
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            assert match is not None  # whatever is no operator is a word
            self._tokens.append(match[1] or match[2])
            position = match.end()
        self._tokens.reverse()

    def peek(self) -> str:
        return self._tokens[-1] if self._tokens else ""

    def next(self) -> str:
        return self._tokens.pop() if self._tokens else ""

    def expect(self, wanted: str) -> None:
        found = self.next()
        if found != wanted:
            raise self.error(f"found {found!r}, expected {wanted!r}")

    def error(self, what: str) -> SelectorError:
        return SelectorError(f"unable to parse requirement in {self._text[:200]!r}: {what}")


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.next()
        return Requirement(key=_key(tokens), operator=Operator.DOES_NOT_EXIST)
    key = _key(tokens)
    match tokens.peek():
        case "" | ",":
            return Requirement(key=key, operator=Operator.EXISTS)
        case "=" | "==":
            tokens.next()
            value = frozenset({_value(tokens)})
            return Requirement(key=key, operator=Operator.IN, values=value, is_equality=True)
        case "!=":
            tokens.next()
            return Requirement(
                key=key, operator=Operator.NOT_IN, values=frozenset({_value(tokens)})
            )
        case "in" | "notin" as word:
            tokens.next()
            operator = Operator.IN if word == "in" else Operator.NOT_IN
            return Requirement(key=key, operator=operator, values=_values(tokens))
        case ">" | "<" as sign:
            tokens.next()
            limit = _value(tokens)
            if not _is_integer(limit):
                raise tokens.error(f"{limit!r} is not an integer")
            operator = Operator.GREATER if sign == ">" else Operator.LESS
            return Requirement(key=key, operator=operator, values=frozenset({limit}))
        case other:
            raise tokens.error(
                f"found {other!r}, expected one of =, ==, !=, in, notin, >, < or a comma"
            )


def _key(tokens: _Tokens) -> str:
    key = tokens.next()
    if not _KEY.fullmatch(key):
        raise tokens.error(f"{key!r} is not a label name")
    return key


def _value(tokens: _Tokens) -> str:
    """Return the value of a comparison; a missing one is empty."""
    if tokens.peek() in ("", ","):
        return ""
    value = tokens.next()
    if not _VALUE.fullmatch(value):
        raise tokens.error(f"{value!r} is not a label value")
    return value


def _values(tokens: _Tokens) -> frozenset[str]:
    tokens.expect("(")
    found = set()
    while True:
        # `(a,,b)` and `()` name the empty value, as apimachinery has it.
        value = "" if tokens.peek() in (",", ")") else tokens.next()
        if not _VALUE.fullmatch(value):
            raise tokens.error(f"{value!r} is not a label value")
        found.add(value)
        separator = tokens.next()
        if separator == ")":
            return frozenset(found)
        if separator != ",":
            raise tokens.error(f"found {separator!r}, expected ',' or ')'")


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,19}", text) is not None
