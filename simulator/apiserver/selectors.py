# SPDX-License-Identifier: Apache-2.0
"""Label and field selectors: from text to predicates. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from simulator.apiserver.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.apiserver.resources import Resource

    Object = Mapping[str, Any]
    Predicate = Callable[[Object], bool]

_KEY = r"[A-Za-z0-9./_-]+"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^)]*)\)")
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*([A-Za-z0-9._-]*)")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")
_COMMA = re.compile(r"\s*,\s*")


def label_selector(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Parse `a=b,c!=d,e in (f,g),h,!i` into a predicate on labels; 400 where it is wrong."""
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    position = 0
    text = text.strip()
    while position < len(text):
        for pattern, build in ((_SET, _in_set), (_EQUALITY, _equal), (_EXISTS, _exists)):
            if match := pattern.match(text, position):
                tests.append(build(match))
                position = match.end()
                break
        else:
            raise bad_request(f"unable to parse requirement: {text[position:]!r}")
        if position < len(text):
            comma = _COMMA.match(text, position)
            if comma is None:
                raise bad_request(f"unable to parse requirement: {text[position:]!r}")
            position = comma.end()
    return lambda labels: all(test(labels) for test in tests)


def _in_set(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    key, operator, inner = match.groups()
    values = {value.strip() for value in inner.split(",")}
    if operator == "in":
        return lambda labels: labels.get(key) in values
    return lambda labels: labels.get(key) not in values


def _equal(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    key, operator, value = match.groups()
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


def _exists(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    negated, key = match.groups()
    return lambda labels: (key not in labels) if negated else (key in labels)


def matches_selector(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether `labels` satisfy a `metav1.LabelSelector`; an empty one selects all."""
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression["key"], expression["operator"]
        values = expression.get("values") or ()
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(operator, False)
        if not holds:
            return False
    return True


def selector_text(selector: Mapping[str, Any]) -> str:
    """Return a `metav1.LabelSelector` in the text form that `status.selector` has."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        parts.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[expression["operator"]]
        )
    return ",".join(parts)


def field_selector(text: str, resource: Resource) -> Predicate:
    """Parse `spec.nodeName=a,status.phase!=Running`; 400 for a field that is not selectable."""
    tests: list[tuple[tuple[str, ...], bool, str]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"([A-Za-z.]+)\s*(==|=|!=)\s*(.*)", part)
        if match is None:
            raise bad_request(f"invalid field selector: {part!r}")
        field, operator, value = match.groups()
        if field not in resource.selectable:
            raise bad_request(f"field label not supported: {field}")
        tests.append((tuple(field.split(".")), operator != "!=", value))

    def predicate(thing: Object) -> bool:
        return all((_text_at(thing, path) == value) is equal for path, equal, value in tests)

    return predicate


def _text_at(thing: Object, path: tuple[str, ...]) -> str:
    value: Any = thing
    for name in path:
        if not isinstance(value, dict):
            return ""
        value = value.get(name)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def object_predicate(labels: str, fields: str, resource: Resource) -> Predicate | None:
    """Return the predicate of both query parameters, None where neither is given."""
    if not labels and not fields:
        return None
    by_label = label_selector(labels)
    by_field = field_selector(fields, resource)
    return lambda thing: by_label(thing["metadata"].get("labels") or {}) and by_field(thing)
