# SPDX-License-Identifier: Apache-2.0
"""Pure: reads fields of raw API objects and checks their types."""

from __future__ import annotations

import re
from datetime import datetime
from sys import intern
from typing import TYPE_CHECKING, Any

from scaler.kube.selectors import MAX_REQUIREMENTS, Operator, Requirement, Selector
from scaler.model import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    JsonObject = Mapping[str, Any]

LABEL_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
MAX_REPLICAS = 2**31 - 1
MAX_NAME_CHARACTERS = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class MalformedObject(ValueError):  # noqa: N818
    """A field of an object has the wrong type; the message names it."""


def ref(metadata: JsonObject, kind: str = "") -> ObjectRef:
    """Return the reference of the object."""
    return ObjectRef(
        namespace=intern(text(metadata, "namespace")), name=text(metadata, "name"), kind=kind
    )


def is_name(value: str) -> bool:
    """Return whether a pod, like most objects, may have this name (a DNS subdomain)."""
    return len(value) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(value) is not None


def text(raw: JsonObject, field: str) -> str:
    """Return a required string field."""
    value = raw.get(field)
    if not isinstance(value, str) or not value:
        raise MalformedObject(f"{field} is {_shown(value)}, not text")
    return value


def texts(raw: JsonObject) -> Mapping[str, str]:
    """Return labels or annotations, whose values must be strings."""
    for key in raw:
        if not isinstance(raw[key], str):
            raise MalformedObject(f"{_shown(key)} is {_shown(raw[key])}, not text")
    return raw


def unix_seconds(timestamp: str) -> float:
    """Return an RFC 3339 timestamp in Unix seconds; raises ValueError."""
    return datetime.fromisoformat(timestamp).timestamp()


def count(value: object) -> int | None:
    """Return a replica count, None if it is invalid; null is the API's default, 1."""
    if value is None:
        return 1
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_REPLICAS:
        return value
    return None


def message(condition: JsonObject) -> str | None:
    """Return the message of a condition."""
    found = condition.get("message")
    return found if isinstance(found, str) else None


def label_selector(raw: object) -> Selector | None:
    """Return a `metav1.LabelSelector`, or a plain map of labels as in a ReplicationController.

    Raises MalformedObject or SelectorError for a selector that an API server would refuse.
    """
    if not isinstance(raw, dict):
        return None
    wrapped = raw.keys() <= {"matchLabels", "matchExpressions"}
    equal = (raw.get("matchLabels") or {}) if wrapped else raw
    expressions = (raw.get("matchExpressions") or ()) if wrapped else ()
    if len(equal) + len(expressions) > MAX_REQUIREMENTS:
        raise MalformedObject(f"spec.selector has more than {MAX_REQUIREMENTS} requirements")
    requirements = (
        *(
            Requirement(key=key, operator=Operator.IN, values=frozenset({value}))
            for key, value in equal.items()
        ),
        *(
            Requirement(
                key=text(one, "key"),
                operator=_operator(one.get("operator")),
                values=frozenset(one.get("values") or ()),
            )
            for one in expressions
        ),
    )
    # A selector that selects everything counts as missing.
    return Selector(requirements=requirements) if requirements else None


def controller_uid(metadata: JsonObject, *kinds: str) -> str | None:
    """Return the uid of the controller if it is of one of these kinds.

    The uid is valid within the object's namespace only, because anybody who can write an object can
    write any uid there.
    """
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner.get("kind") in kinds:
            return text(owner, "uid")
    return None


def _operator(name: object) -> Operator:
    if name not in LABEL_SELECTOR_OPERATORS:
        allowed = ", ".join(LABEL_SELECTOR_OPERATORS)
        raise MalformedObject(f"spec.selector: operator {_shown(name)} is not one of {allowed}")
    return Operator(str(name))


def _shown(value: object) -> str:
    return f"{value!r:.80}"
