# SPDX-License-Identifier: Apache-2.0
"""Somebody else keeps setting the count: it is noticed, told once, and not fought in every loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.contention import (
    BETWEEN_TRIES_SECONDS,
    MAX_SHOWN,
    RESETS,
    WITHIN_SECONDS,
    Contention,
)
from scaler.decision.model import Outcome, Reason
from tests.unit.controllerworld import World, deployment, ref

UID = "u"


def fought(contention, times, *, requested=6, found=3, now_seconds=0.0):
    for _ in range(times):
        contention.wrote(UID, requested=requested, answered=requested, now_seconds=now_seconds)
        contention.read(UID, found, now_seconds)


class TestWhatIsAReset:
    def test_a_count_that_the_server_has_instead_of_the_one_it_answered(self):
        contention = Contention()
        contention.wrote(UID, requested=6, answered=6, now_seconds=0)
        contention.read(UID, 6, 1)
        assert contention.resets(UID, 1) == ()
        contention.read(UID, 3, 2)
        [reset] = contention.resets(UID, 2)
        assert (reset.requested, reset.found) == (6, 3)
        contention.read(UID, 3, 3)
        assert len(contention.resets(UID, 3)) == 1, "one write is set back once"

    def test_a_count_that_the_server_answers_instead_of_the_one_asked_for(self):
        contention = Contention()
        contention.wrote(UID, requested=6, answered=4, now_seconds=0)
        [reset] = contention.resets(UID, 0)
        assert (reset.requested, reset.found) == (6, 4)
        contention.read(UID, 4, 1)
        contention.shown(UID, 4, 1)
        assert len(contention.resets(UID, 1)) == 1

    def test_a_watch_that_lags_behind_shows_none(self):
        contention = Contention()
        contention.wrote(UID, requested=6, answered=6, now_seconds=0)
        contention.shown(UID, 3, 1)
        assert contention.resets(UID, 1) == ()
        contention.shown(UID, 6, 2)
        contention.shown(UID, 3, 3)
        assert len(contention.resets(UID, 3)) == 1

    def test_a_write_of_unknown_outcome_proves_nothing(self):
        contention = Contention()
        contention.wrote(UID, requested=6, answered=6, now_seconds=0)
        contention.unconfirmed(UID)
        contention.read(UID, 3, 1)
        assert contention.resets(UID, 1) == ()


def test_it_is_contended_after_three_resets_within_five_minutes():
    contention = Contention()
    fought(contention, RESETS - 1)
    assert contention.problem(UID, 0) is None
    fought(contention, 1, requested=7, found=2, now_seconds=WITHIN_SECONDS - 1)
    why = contention.problem(UID, WITHIN_SECONDS - 1)
    assert why is not None
    assert "3 instead of 6 (4m59s ago), 3 instead of 6 (4m59s ago), 2 instead of 7 (now)" in why
    assert contention.problem("other", 0) is None
    assert contention.problem(UID, WITHIN_SECONDS) is None, "the first two are over"


def test_what_is_shown_and_remembered_is_bounded():
    contention = Contention()
    fought(contention, 1000)
    assert len(contention.resets(UID, 0)) <= 2 * MAX_SHOWN
    assert (contention.problem(UID, 0) or "").count("instead of") == MAX_SHOWN
    contention.keep_only(set())
    assert contention.resets(UID, 0) == ()


@given(st.lists(st.floats(0, 600), min_size=1, max_size=40).map(sorted))
def test_however_it_is_fought_writes_are_few(moments):
    """Up at most once a minute beyond the first three; down at most three times in five minutes."""
    for up in (True, False):
        contention = Contention()
        writes: list[float] = []
        for now in moments:
            contended = contention.problem(UID, now) is not None
            if contended and not contention.may_write(UID, up=up, now_seconds=now):
                continue
            writes.append(now)
            fought(contention, 1, now_seconds=now)
        for now in writes:
            last = [one for one in writes if now - WITHIN_SECONDS < one <= now]
            most = RESETS + (WITHIN_SECONDS / BETWEEN_TRIES_SECONDS if up else 0)
            assert len(last) <= most


def decision(world):
    return world.controller.status_store.records[ref("web")].decision


class TestTheLoop:
    async def fight(self, world, loops):
        for _ in range(loops):
            await world.controller.cycle()
            world.replicas["web"] = 1

    async def test_a_count_that_is_set_back_is_left_alone_after_three_times(self):
        world = World(deployment())
        await self.fight(world, 30)
        assert world.patched == [("web", 2)] * 3
        assert world.outcome() == (Outcome.HELD, Reason.CONTENDED_REPLICAS)
        assert "found 1 instead of 2" in decision(world).message
        assert world.events == [
            *[("web", "Normal", "SuccessfulRescale")] * 3,
            ("web", "Warning", Reason.CONTENDED_REPLICAS),
        ]
        world.now += BETWEEN_TRIES_SECONDS
        await self.fight(world, 30)
        assert len(world.patched) == 4, "one try in a minute"
        assert world.outcome() == (Outcome.HELD, Reason.CONTENDED_REPLICAS)
        assert [event[2] for event in world.events].count(Reason.CONTENDED_REPLICAS) == 1, (
            "the same news goes on"
        )

    async def test_it_scales_as_before_once_nobody_sets_it_back(self):
        world = World(deployment())
        await self.fight(world, 10)
        world.now += WITHIN_SECONDS
        await world.controller.cycle()
        assert world.outcome() == (Outcome.SCALED, "SuccessfulRescale")

    async def test_fewer_replicas_are_not_written_while_it_is_contended(self):
        world = World(deployment(replicas=8, max_replicas="4"))
        for _ in range(10):
            await world.controller.cycle()
            world.replicas["web"] = 8
        assert world.patched == [("web", 4)] * 3
        world.now += BETWEEN_TRIES_SECONDS
        await world.controller.cycle()
        assert len(world.patched) == 3
        assert world.outcome() == (Outcome.HELD, Reason.CONTENDED_REPLICAS)

    async def test_the_count_that_the_server_answers_is_the_one_that_is_told(self):
        world = World(deployment(replicas=3))
        world.mutated = {6: 4}
        await world.controller.cycle()
        assert world.outcome() == (Outcome.SCALED, "SuccessfulRescale")
        assert decision(world).desired_replicas == 4
        assert decision(world).message.startswith("New size: 4 (6 were requested); reason: ")
        assert [event.change for event in decision(world).history.scale_ups] == [1]

    @pytest.mark.parametrize("annotations", [{}, {"behavior": '{"scaleUp": {"tolerance": "0"}}'}])
    async def test_a_webhook_that_undoes_a_write_is_no_rescale(self, annotations):
        world = World(deployment(replicas=3, **annotations))
        world.mutated = {6: 3}
        await world.controller.cycle()
        assert world.outcome() == (Outcome.FAILED, "FailedUpdateScale")
        assert "wanted 6 replicas" in decision(world).message
        assert "answered 3" in decision(world).message
        kept = world.controller._histories.of(world.states[0])
        assert kept is not None
        assert kept.scale_ups == ()
        for _ in range(20):
            await world.controller.cycle()
        assert len(world.patched) == 3
        assert world.outcome() == (Outcome.HELD, Reason.CONTENDED_REPLICAS)
        assert [event[2] for event in world.events] == [
            "FailedUpdateScale",
            Reason.CONTENDED_REPLICAS,
        ]

    async def test_a_zero_that_a_webhook_makes_is_not_the_scalers(self):
        world = World(deployment(replicas=3))
        world.mutated = {6: 0}
        await world.controller.cycle()
        assert decision(world).message.startswith("New size: 0 (6 were requested)")
        world.states = (deployment(replicas=0),)
        world.now += 2
        await world.controller.cycle()
        assert world.outcome() == (Outcome.DISABLED, "ScalingDisabled")
        assert world.patched == [("web", 6)]
