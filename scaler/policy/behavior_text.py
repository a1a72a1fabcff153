# SPDX-License-Identifier: Apache-2.0
"""Pure: parses `gpu-scaler/behavior` with the validation rules of `autoscaling/v2`."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from scaler.decision.behavior import DEFAULT_BEHAVIOR, scale_up_limit
from scaler.decision.model import ScalingHistory
from scaler.model import Behavior, PolicyType, RatePolicy, ScalingRules, SelectPolicy
from scaler.policy.annotations import BEHAVIOR
from scaler.policy.yaml_text import YamlError, read_yaml, shortened, shown
from scaler.quantities import parse_quantity

MAX_TOLERANCE = 100.0
_MAX_INT32 = 2**31 - 1


def _tolerance(value: object) -> float:
    """Return a quantity given as text or number; the text of a ValueError is for the user."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError('is not a quantity such as "0.1" or "100m"')
    try:
        quantity = parse_quantity(str(value))
    except ValueError:
        raise ValueError('is not a quantity such as "0.1" or "100m"') from None
    if quantity < 0:
        raise ValueError("is below 0")
    if quantity > MAX_TOLERANCE:
        raise ValueError(f"is above {MAX_TOLERANCE:g}")
    return float(quantity)


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class _PolicyText(_Model):
    type: PolicyType = Field(strict=False)
    value: int = Field(ge=1, le=_MAX_INT32)
    period_seconds: int = Field(ge=1, le=1800)


class _RulesText(_Model):
    stabilization_window_seconds: int | None = Field(default=None, ge=0, le=3600)
    select_policy: SelectPolicy | None = Field(default=None, strict=False)
    policies: list[_PolicyText] | None = Field(default=None, max_length=100)
    tolerance: Annotated[float, BeforeValidator(_tolerance)] | None = None

    def filled_in(self, default: ScalingRules) -> ScalingRules:
        given = {name: value for name, value in self if value is not None}
        if self.policies is not None:
            given["policies"] = tuple(RatePolicy(**dict(policy)) for policy in self.policies)
        return replace(default, **given)


class _BehaviorText(_Model):
    scale_up: _RulesText | None = None
    scale_down: _RulesText | None = None


# Parsing takes a millisecond, and Deployments share a few texts.
@lru_cache(maxsize=1024)
def parse_behavior(text: str) -> Behavior | tuple[str, ...]:
    """Return the behavior with the HPA's defaults filled in, or one message per problem.

    Never raises. Source: HorizontalPodAutoscalerBehavior of `autoscaling/v2` with `tolerance` of
    KEP-4951.
    """
    try:
        document = read_yaml(text)
    except YamlError as error:
        return (str(error),)
    try:
        parsed = _BehaviorText.model_validate({} if document is None else document)
    except ValidationError as error:
        return tuple(_sentence(item) for item in error.errors(include_url=False))
    problems = []
    for name, rules in (("scaleUp", parsed.scale_up), ("scaleDown", parsed.scale_down)):
        if (
            rules is not None
            and rules.policies == []
            and rules.select_policy != SelectPolicy.DISABLED
        ):
            problems.append(f"{name}.policies: must have at least one policy")
    if problems:
        return tuple(problems)
    return Behavior(
        scale_up=(parsed.scale_up or _RulesText()).filled_in(DEFAULT_BEHAVIOR.scale_up),
        scale_down=(parsed.scale_down or _RulesText()).filled_in(DEFAULT_BEHAVIOR.scale_down),
    )


def never_wakes(rules: ScalingRules) -> str | None:
    """Return why these scale-up rules can never leave 0 replicas, None if they can."""
    if scale_up_limit(0, rules, ScalingHistory(), 0.0) > 0:
        return None
    if rules.select_policy is SelectPolicy.DISABLED:
        return (
            f"requires a selectPolicy other than Disabled in scaleUp of {BEHAVIOR}: without it the"
            " Deployment could never scale up from 0"
        )
    if any(policy.type is PolicyType.PODS for policy in rules.policies):
        return (
            f"requires selectPolicy Max, or only policies of type Pods, in scaleUp of {BEHAVIOR}:"
            " selectPolicy Min takes the policy of type Percent, and a percentage of 0 pods is 0"
        )
    return f"requires a policy of type Pods in scaleUp of {BEHAVIOR}: a percentage of 0 pods is 0"


_FIELDS = {
    0: ("scaleUp", "scaleDown"),
    1: ("stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance"),
}
_POLICY_FIELDS = ("type", "value", "periodSeconds")


def _sentence(error: Any) -> str:
    """Return one validation error as `path: problem with the value`."""
    location: tuple[int | str, ...] = error["loc"]
    context, given = error.get("ctx", {}), shown(error.get("input"))
    match error["type"]:
        case "greater_than_equal":
            text = f"{given} is below {context['ge']}"
        case "less_than_equal":
            text = f"{given} is above {context['le']}"
        case "enum":
            text = f"{given} is not one of {context['expected']}"
        case "missing":
            text = "is required"
        case "extra_forbidden":
            known = _FIELDS.get(len(location) - 1, _POLICY_FIELDS)
            text = f"is not a field; allowed are {', '.join(known)}"
        case "int_type":
            text = f"{given} is not a whole number"
        case "list_type":
            text = f"{given} is not a list"
        case "model_type" | "model_attributes_type" | "dict_type":
            text = f"{given} is not a mapping"
        case "value_error":
            text = f"{given} {context['error']}"
        case _:
            text = f"{given}: {error['msg']}"
    path = _path(location)
    return f"{path}: {text}" if path else text


def _path(location: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{shortened(part)}" for part in location]
    return "".join(parts).removeprefix(".")
