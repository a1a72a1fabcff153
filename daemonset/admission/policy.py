# SPDX-License-Identifier: Apache-2.0
"""Pure: the conditions, variables and validations of the ValidatingAdmissionPolicy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from daemonset.admission.forms import FORMS
from scaler.policy import annotations as names
from scaler.policy.annotations import ANNOTATIONS, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_SHOWN_LENGTH: Final = 80
# An object with an old mistake can still be updated in other ways: a controller of Deployments that
# could not write its revision would stop every rollout.
CHANGED: Final = f"""\
has(object.metadata.annotations) && object.metadata.annotations.exists(name,
  name.startsWith("{PREFIX}") && (
    request.operation == "CREATE" ||
    !has(oldObject.metadata.annotations) ||
    !(name in oldObject.metadata.annotations) ||
    oldObject.metadata.annotations[name] != object.metadata.annotations[name]))"""
# The scaler ignores whatever else a workload says that did not opt in.
OPTED_IN: Final = f"""\
request.kind.kind == "Namespace" || (
  "{names.ENABLED}" in object.metadata.annotations &&
  object.metadata.annotations["{names.ENABLED}"] != "false")"""
_KNOWN: Final = json.dumps([row.name for row in ANNOTATIONS])
VARIABLES: Final = {
    "isWorkload": 'request.kind.kind != "Namespace"',
    "own": "object.metadata.annotations",
    "defaults": "variables.isWorkload && has(namespaceObject.metadata.annotations)"
    " ? namespaceObject.metadata.annotations : {}",
    "unknown": f'variables.own.filter(name, name.startsWith("{PREFIX}") && !(name in {_KNOWN}))',
}
_RANGE: Final = (names.MIN_REPLICAS, names.MAX_REPLICAS)
_TARGETS: Final = (names.QUERY, *names.TARGET_ANNOTATIONS.values())
_TOGETHER: Final = (
    (names.TARGET_QUERY, names.QUERY),
    (names.QUERY, names.TARGET_QUERY),
    (names.TARGET_POD_METRIC, names.POD_METRIC),
    (names.POD_METRIC, names.TARGET_POD_METRIC),
)


def policy() -> dict[str, list[dict[str, str]]]:
    """Return what stands in the policy's spec beside the kinds that it is about."""
    return {
        "matchConditions": [
            {"name": "changed", "expression": CHANGED},
            {"name": "opted-in", "expression": OPTED_IN},
        ],
        "variables": [
            {"name": name, "expression": expression} for name, expression in VARIABLES.items()
        ],
        "validations": list(_validations()),
    }


def _validations() -> Iterator[dict[str, str]]:
    yield {
        "expression": "variables.unknown.size() == 0",
        "message": f"no gpu-scaler annotation has this name; known are"
        f" {', '.join(row.name.removeprefix(PREFIX) for row in ANNOTATIONS)}",
        "messageExpression": 'variables.unknown.join(", ") + " is not a gpu-scaler annotation"',
    }
    yield {
        "expression": f'variables.isWorkload || !("{names.ENABLED}" in variables.own)',
        "message": f"{names.ENABLED} has no effect on a Namespace: set it on each workload",
    }
    for row in ANNOTATIONS:
        value = f"variables.own[{_quoted(row.name)}]"
        shown = f"{value}.size() > {_MAX_SHOWN_LENGTH}"
        shown += f' ? {value}.substring(0, {_MAX_SHOWN_LENGTH}) + "..." : {value}'
        yield {
            "expression": f"!({_quoted(row.name)} in variables.own) ||"
            f" [{value}].all(v, {FORMS[row.name]})",
            "message": f"{row.name} is wrong; allowed is {row.allowed}",
            "messageExpression": f'"{row.name}: \\"" + ({shown}) + "\\" is wrong; allowed is "'
            f" + {_quoted(row.allowed)}",
        }
    yield {
        "expression": f"!variables.isWorkload || {_somewhere(names.MAX_REPLICAS)}",
        "message": f"{names.MAX_REPLICAS} is required, here or on the Namespace",
    }
    yield {
        "expression": "!variables.isWorkload || "
        + " || ".join(_somewhere(name) for name in _TARGETS),
        "message": f"a target is required, here or on the Namespace: one of {', '.join(_TARGETS)}",
    }
    for one, other in _TOGETHER:
        yield {
            "expression": f"!variables.isWorkload || !({_quoted(one)} in variables.own)"
            f" || {_somewhere(other)}",
            "message": f"{one} requires {other}, which is missing",
        }
    least, most = (f"variables.own[{_quoted(name)}]" for name in _RANGE)
    yield {
        "expression": "".join(f"!({_quoted(name)} in variables.own) || " for name in _RANGE)
        # A text that is no number has its own message.
        + "".join(f"!{value}.matches('^[0-9]{{1,10}}$') || " for value in (least, most))
        + f"int({least}) <= int({most})",
        "message": f"{names.MAX_REPLICAS} is below {names.MIN_REPLICAS}",
    }


def _somewhere(name: str) -> str:
    return f"{_quoted(name)} in variables.own || {_quoted(name)} in variables.defaults"


def _quoted(text: str) -> str:
    """A string of CEL, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
