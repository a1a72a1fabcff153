# SPDX-License-Identifier: Apache-2.0
"""The writer says what came of a read or a write; it neither decides nor remembers."""

from __future__ import annotations

import pytest

from scaler.cluster.kinds import Kinds
from scaler.cluster.scale import CountChanged, VersionedScale, Written
from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
from scaler.controller.writer import NotWritten, ScaleWriter
from scaler.decision.model import Outcome, Reason
from scaler.kube.errors import Conflict, Forbidden, Unreachable
from tests.unit.controllerworld import World, deployment

TWO = VersionedScale(replicas=2, resource_version="7")
WEB = deployment(replicas=2)


def writer(world: World) -> ScaleWriter:
    zeros = ScaleToZeroStore(world, namespace="gpu-scaler", name="zeros")  # type: ignore[arg-type]
    return ScaleWriter(
        world,  # type: ignore[arg-type]
        kinds=Kinds(),
        scale_to_zero=zeros,
        leads=lambda: world.leads,
    )


async def test_a_write_that_was_taken_has_the_count_that_the_server_answers():
    world = World(WEB)
    assert await writer(world).read(WEB) == TWO
    assert await writer(world).write(WEB, TWO, 4) == Written(replicas=4)
    world.mutated = {6: 3}
    assert await writer(world).write(WEB, TWO, 6) == Written(replicas=3)


async def test_a_write_in_between_is_another_count():
    world = World(WEB)
    world.before_patch = [5]
    assert await writer(world).write(WEB, TWO, 4) == CountChanged(found=5)
    assert world.patched == []


@pytest.mark.parametrize("denies", ["too many GPUs for this team", "try again"])
async def test_a_conflict_without_a_write_in_between_is_a_refusal(denies):
    world = World(WEB)
    world.failure = Conflict(request="PATCH", status=409, reason="Conflict", message=denies)
    result = await writer(world).write(WEB, TWO, 4)
    assert isinstance(result, NotWritten)
    assert (result.outcome, result.failure, result.is_unconfirmed) == (
        Outcome.FAILED,
        "Conflict",
        False,
    )
    assert denies in result.message


async def test_without_the_lease_nothing_is_written():
    world = World(WEB)
    world.leads = False
    result = await writer(world).write(WEB, TWO, 4)
    assert isinstance(result, NotWritten)
    assert (result.outcome, result.reason) == (Outcome.HELD, Reason.LEASE_LOST)
    assert (result.failure, result.is_unconfirmed, world.patched) == (None, False, [])


@pytest.mark.parametrize(
    ("error", "is_unconfirmed"),
    [
        pytest.param(
            Forbidden(request="PATCH", status=403, reason="-", message="no"), False, id="refused"
        ),
        pytest.param(
            Unreachable(request="PATCH", status=None, reason="-", message="slow"),
            True,
            id="no answer",
        ),
    ],
)
async def test_only_a_write_without_an_answer_may_take_effect_later(error, is_unconfirmed):
    world = World(WEB)
    world.failure = error
    result = await writer(world).write(WEB, TWO, 4)
    assert isinstance(result, NotWritten)
    assert result.is_unconfirmed is is_unconfirmed
    assert (result.outcome, result.failure) == (Outcome.FAILED, type(error).__name__)


async def test_a_workload_that_was_created_again_is_not_read():
    world = World(WEB)
    world.uids["web"] = "another"
    result = await writer(world).read(WEB)
    assert isinstance(result, NotWritten)
    assert (result.failure, result.is_unconfirmed) == ("Replaced", False)


async def test_a_zero_that_cannot_be_recorded_is_not_written():
    world = World(WEB)
    world.zeros_failure = Unreachable(request="PATCH", status=None, reason="-", message="away")
    result = await writer(world).record_zero(WEB)
    assert isinstance(result, NotWritten)
    assert (result.reason, result.failure) == (Reason.FAILED_UPDATE_SCALE, None)
    world.zeros_failure = None
    assert await writer(world).record_zero(WEB) is None
    assert world.zeros == {"uid-web": "default/web"}
