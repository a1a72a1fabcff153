# SPDX-License-Identifier: Apache-2.0
"""Pure: parses a short, untrusted YAML or JSON text to plain values.

Reads the events of the C parser one by one, so that a text costs no more than its budget of bytes,
values and depth. Refuses aliases and tags; scalars have the types of JSON.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from scaler.budgets import BEHAVIOR_BYTES, BEHAVIOR_DEPTH, BEHAVIOR_NODES, size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_SHOWN_LENGTH = 60
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}")


class YamlError(ValueError):
    """The text is refused; the message says why and on which line."""


def read_yaml(text: str) -> Any:
    """Return the document of a text, None if it is empty; raises YamlError."""
    if size_bytes(text) > BEHAVIOR_BYTES:
        raise YamlError(f"is longer than {BEHAVIOR_BYTES} bytes, the maximum")
    try:
        return _Document(yaml.parse(text, Loader=yaml.CSafeLoader)).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refusal(error.problem or str(error.context), mark) from None
    except (yaml.YAMLError, UnicodeError):
        raise YamlError(
            "is not valid YAML or JSON: it contains a character that is not allowed"
        ) from None


def shown(value: object) -> str:
    """Return a value of a document as JSON for an error message, shortened."""
    return shortened(json.dumps(value, ensure_ascii=False, default=repr))


def shortened(text: str) -> str:
    """Return the first 60 characters, those that cannot be printed replaced."""
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[:_MAX_SHOWN_LENGTH]}..."


def _refusal(why: str, mark: object) -> YamlError:
    line = getattr(mark, "line", None)
    where = "" if line is None else f"line {line + 1} of the value "
    return YamlError(f"{where}is not valid YAML or JSON: {why}")


class _Document:
    """Builds values from events."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._nodes = 0

    def read(self) -> Any:
        document: Any = None
        starts = 0
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            starts += 1
            if starts > 1:
                raise _refusal("more than one document", event.start_mark)
            document = self._value(next(self._events), 0)
        return document

    def _value(self, event: yaml.Event, depth: int) -> Any:
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refusal("anchors are not allowed", mark)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags are not allowed", mark)
        self._nodes += 1
        if self._nodes > BEHAVIOR_NODES:
            raise _refusal(f"more than {BEHAVIOR_NODES} fields and values", mark)
        if depth >= BEHAVIOR_DEPTH:
            raise _refusal("nested too deeply", mark)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth)
        return self._mapping(event, depth)

    def _sequence(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _mapping(self, start: yaml.Event, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            name = self._value(event, depth + 1)
            if not isinstance(name, str):
                raise _refusal("a field name is not a string", start.start_mark)
            if name in found:
                raise _refusal("duplicate field", start.start_mark)
            found[name] = self._value(next(self._events), depth + 1)
        return found


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    # A quoted scalar is always a string.
    if not event.implicit[0]:
        return text
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text
