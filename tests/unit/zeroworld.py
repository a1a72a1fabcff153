# SPDX-License-Identifier: Apache-2.0
"""A Deployment that may sleep at zero, and scalers that have set it to zero or find it there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.kube.errors import Forbidden, ServerError, TooManyRequests
from tests.unit.controllerworld import World, deployment, ref

if TYPE_CHECKING:
    from scaler.model import DeploymentState

OWN = {"uid-web": "default/web"}
ERRORS = [
    kind(request="GET", status=status, reason="-", message="no")
    for kind, status in ((TooManyRequests, 429), (Forbidden, 403), (ServerError, 500))
]


def queried(replicas: int) -> DeploymentState:
    return deployment(
        replicas=replicas,
        query="sum(queue)",
        target_query="5",
        min_replicas="0",
        cooldown="0s",
        behavior='{"scaleDown": {"stabilizationWindowSeconds": 0}}',
    )


def restarted(before: World, replicas: int) -> World:
    """Another scaler, which knows what is written down and nothing else."""
    world = World(queried(replicas), duty_percent=0)
    world.answers_queries = True
    world.zeros = before.zeros
    return world


async def scaled_to_zero() -> World:
    world = World(queried(1), duty_percent=0)
    world.answers_queries = True
    await world.controller.cycle()
    assert world.patched == [("web", 0)]
    return world


def typo(replicas: int, **annotations: str) -> DeploymentState:
    state = queried(replicas)
    wrong = {f"gpu-scaler/{key}": value for key, value in annotations.items()}
    return replace(state, annotations={**state.annotations, **wrong})


def other() -> DeploymentState:
    """Another Deployment that may sleep, which has the record read."""
    return replace(queried(1), ref=ref("other"), uid="uid-other")


def taken_over(*states: DeploymentState, zeros: dict[str, str]) -> World:
    """A scaler that begins where another one wrote `zeros` down."""
    world = World(*states, duty_percent=0)
    world.answers_queries = True
    world.query_total = 11
    world.zeros = dict(zeros)
    return world
