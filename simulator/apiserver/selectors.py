# SPDX-License-Identifier: Apache-2.0
"""Label and field selectors: from text to predicates. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scaler.kube import fields
from scaler.kube.selectors import SelectorError, parse_selector
from simulator.apiserver.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.apiserver.resources import Resource

    Object = Mapping[str, Any]
    Predicate = Callable[[Object], bool]


def label_selector(text: str) -> Callable[[Mapping[str, str]], bool]:
    """Return the predicate on labels of `a=b,c!=d,e in (f,g),h,!i`; 400 where it is wrong."""
    try:
        return parse_selector(text).matches
    except SelectorError as error:
        raise bad_request(str(error)) from error


def matches_selector(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether `labels` satisfy a `metav1.LabelSelector`; an empty one selects all."""
    try:
        found = fields.label_selector(selector)
    except ValueError:
        return False
    return found is None or found.matches(labels)


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


def object_predicate(query: Mapping[str, str], resource: Resource) -> Predicate | None:
    """Return the predicate of both selectors of a request, None where neither is given."""
    if not query.get("labelSelector") and not query.get("fieldSelector"):
        return None
    by_label = label_selector(query.get("labelSelector", ""))
    by_field = field_selector(query.get("fieldSelector", ""), resource)
    return lambda thing: by_label(thing["metadata"].get("labels") or {}) and by_field(thing)
