# SPDX-License-Identifier: Apache-2.0
"""Cooldowns in the loop: time in which it did not look is not idle."""

from __future__ import annotations

import pytest

from tests.unit.controllerworld import World
from tests.unit.zeroworld import typo


class TestCooldownInTheLoop:
    """Time in which the loop did not look is not idle."""

    def idle(self) -> World:
        world = World(typo(1, cooldown="10m"), duty_percent=0)
        world.answers_queries = True
        return world

    async def for_long(self, world: World) -> None:
        """Loops of ten minutes and more."""
        for _ in range(70):
            world.now += 10
            await world.controller.cycle()

    async def begins_anew(self, world: World) -> None:
        world.now += 10
        await world.controller.cycle()
        assert world.patched == []
        await self.for_long(world)
        assert world.patched == [("web", 0)]

    async def test_out_of_contact(self):
        world = self.idle()
        await world.controller.cycle()
        world.fresh = False
        await self.for_long(world)
        world.fresh = True
        await self.begins_anew(world)

    async def test_another_leads(self):
        world = self.idle()
        await world.controller.cycle()
        world.leads = False
        await self.for_long(world)
        world.leads = True
        await self.begins_anew(world)

    @pytest.mark.parametrize("wrong", [{"paused": "true"}, {"oops": "1"}, {"min-replicas": "1"}])
    async def test_paused_or_wrong(self, wrong):
        world = self.idle()
        await world.controller.cycle()
        world.states = (typo(1, cooldown="10m", **wrong),)
        await self.for_long(world)
        world.states = self.idle().states
        await self.begins_anew(world)

    async def test_a_reading_that_breaks_the_decision(self):
        world = self.idle()
        await world.controller.cycle()
        world.broken_reading = "web"
        await self.for_long(world)
        world.broken_reading = None
        await self.begins_anew(world)

    async def test_no_answer(self):
        world = self.idle()
        await world.controller.cycle()
        world.query_total = None
        await self.for_long(world)
        world.query_total = 0
        await self.begins_anew(world)

    async def test_another_query(self):
        world = self.idle()
        world.states = (typo(1, cooldown="10m", query="sum(earlier)"),)
        for _ in range(60):
            world.now += 10
            await world.controller.cycle()
        world.states = self.idle().states
        await self.begins_anew(world)

    async def test_scaling_that_is_stopped_goes_on_looking(self):
        world = self.idle()
        await world.controller.cycle()
        world.stopped = "a person stopped it"
        await self.for_long(world)
        world.stopped = None
        await world.controller.cycle()
        assert world.patched == [("web", 0)]
