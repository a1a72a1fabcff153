# SPDX-License-Identifier: Apache-2.0
"""The rules as a real Prometheus evaluates them over real series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.chain.prometheus import Prometheus

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    groups = (await prometheus.get("rules"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_every_rule_is_evaluated_without_an_error(monitored):
    async def all_are() -> bool:
        return all(rule["health"] == "ok" for rule in await rules(monitored.prometheus))

    await until(all_are, what="all rules are evaluated")
    for rule in await rules(monitored.prometheus):
        assert not rule.get("lastError"), rule["name"]


async def test_what_is_recorded_is_there(monitored):
    recorded = [
        rule["name"] for rule in await rules(monitored.prometheus) if rule["type"] == "recording"
    ]
    assert recorded
    for name in recorded:
        await until(
            lambda name=name: monitored.prometheus.query(name),  # type: ignore[misc]
            what=name,
        )


async def test_exactly_what_is_wrong_is_found(monitored):
    """The Deployments' alerts wait for their time."""
    expected = {
        "GPUScalerWrongAnnotation": "pending",
        "GPUScalerAtMax": "pending",
        "GPUScalerHolding": "pending",
        "GPUScalerPagesUnreadable": "pending",
        "GPUXidNeedsReset": "firing",
    }

    found: dict[str, str] = {}

    async def are_found() -> bool:
        found.clear()
        for rule in await rules(monitored.prometheus):
            if rule["type"] == "alerting" and rule["state"] != "inactive":
                found[rule["name"]] = rule["state"]
        return found == expected

    try:
        await until(are_found)
    except AssertionError:
        assert found == expected
        raise
