# SPDX-License-Identifier: Apache-2.0
"""A simulated hour of random faults around the real controller and election, step by step."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
from scaler.controller import loop as controller_module
from scaler.controller.loop import Controller
from scaler.kube.lease import LeaseElection
from scaler.policy.parse import parse_policy
from scaler.policy.schedule import in_force
from scaler.reporting.metrics import ScalerMetrics
from tests.unit.auditor import (
    INTERVAL_SECONDS,
    KEYS,
    LEASE_SECONDS,
    RIVAL,
    STEP_SECONDS,
    STOP,
    US,
    WORKLOADS,
    Auditor,
    prefixed,
)
from tests.unit.faultysource import WarnedSource
from tests.unit.faultyworkloads import NODES
from tests.virtualtime import VirtualLoop

if TYPE_CHECKING:
    from scaler.cluster.events import EventType
    from scaler.model import ObjectRef
    from tests.unit.faultyworld import World


class Hour(RuleBasedStateMachine):
    """One hour of one cluster: something happens, then time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.auditor = Auditor(self.loop)
        self.world = self.auditor.world
        self.metrics = ScalerMetrics("test")
        self.rival_task: asyncio.Task[None] | None = None
        self.turned_back_seconds = 0.0
        self.frozen = True
        for name, settings_ in WORKLOADS.items():
            self.world.add(name, 3, prefixed(settings_))
        self.us = self._candidate(US, self.world.monotonic)
        self.rival = self._candidate(RIVAL, self.loop.time)
        self.controller = Controller(
            client=self.world,  # type: ignore[arg-type]
            state=self.world,  # type: ignore[arg-type]
            source=WarnedSource(self.world),
            scale_to_zero=ScaleToZeroStore(self.world, namespace="-", name="-"),  # type: ignore[arg-type]
            events=self,  # type: ignore[arg-type]
            leadership=self,
            metrics=self.metrics,
            clock=self.world.monotonic,
            wall_clock=self.world.wall,
        )
        self.patching = pytest.MonkeyPatch()
        self.patching.setattr(controller_module, "decide", self.auditor.watch_decision)
        logging.disable()
        self.loop.run_until_complete(self.us.try_once())
        self.loop.create_task(self.us.run())
        self.loop.create_task(
            self.controller.run(interval_seconds=INTERVAL_SECONDS, stop=asyncio.Event())
        )
        self._pass_time(1)

    def _candidate(self, identity: str, clock: Any) -> LeaseElection:
        return LeaseElection(
            self.world if identity == US else _Unhindered(self.world),  # type: ignore[arg-type]
            namespace="gpu-scaler",
            name="gpu-scaler",
            identity=identity,
            clock=clock,
        )

    def _pass_time(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            loops = self.world.loops
            self.loop.pass_time(min(INTERVAL_SECONDS / 5, end - self.loop.time()))
            if not self.controller.status_store.records:
                # It does not lead; whoever leads next knows nothing of what was.
                self.frozen = True
                self.auditor.may_forget |= {*WORKLOADS}
            if self.world.loops > loops:
                self.auditor.watch_loop(was_frozen=self.frozen)
                self.frozen = False

    # The edges of the controller that are no fault of anybody.

    def is_leader(self, now_seconds: float) -> bool:
        return self.us.is_leader(now_seconds)

    def stop_reason(self) -> str | None:
        return self.us.stop_reason()

    async def confirm(self) -> str | None:
        return await self.us.confirm()

    def record(
        self, about: ObjectRef, uid: str, *, type_: EventType, reason: str, message: str
    ) -> None:
        if reason == "InternalError" and self.world.workloads[about.name].patch_fault != "broken":
            self.auditor.broken.append(f"{about}: {message}")

    # What happens.

    @rule(name=st.sampled_from([*WORKLOADS]), percent=st.integers(0, 1500))
    def load_changes(self, name: str, percent: int) -> None:
        self.world.workloads[name].load_percent = percent
        self._pass_time(STEP_SECONDS)

    @rule(percent=st.sampled_from([0, 0, 100, 3000]))
    def all_loads_change(self, percent: int) -> None:
        for workload in self.world.workloads.values():
            workload.load_percent = percent
        self._pass_time(STEP_SECONDS)

    @rule(seconds=st.sampled_from([1.0, 60.0, 400.0]))
    def nothing_happens(self, seconds: float) -> None:
        self._pass_time(seconds)

    @rule(
        node=st.sampled_from(NODES),
        fault=st.sampled_from(
            ["none", "down", "silent", "stale", "garbage", "partial", "nan", "huge", "empty"]
        ),
    )
    def an_exporter_fails_or_recovers(self, node: str, fault: Any) -> None:
        self.world.node_faults[node] = fault
        self._pass_time(STEP_SECONDS)

    @rule()
    def all_exporters_recover(self) -> None:
        self.world.node_faults = dict.fromkeys(NODES, "none")
        self._pass_time(STEP_SECONDS)

    @rule(name=st.sampled_from([*WORKLOADS]), warned=st.booleans())
    def the_source_warns(self, name: str, warned: bool) -> None:
        self.world.workloads[name].warned = warned
        self._pass_time(STEP_SECONDS)

    @rule(
        name=st.sampled_from([*WORKLOADS]),
        fault=st.sampled_from(
            ["none", "none", "refused", "slow", "lost", "answer lost", "conflict", "broken"]
        ),
    )
    def writes_fail_or_recover(self, name: str, fault: Any) -> None:
        self.world.workloads[name].patch_fault = fault
        self._pass_time(STEP_SECONDS)

    @rule(fault=st.sampled_from(["none", "none", "refused", "slow", "lost", "answer lost"]))
    def the_lease_fails_or_recovers(self, fault: Any) -> None:
        self.world.lease_fault = fault
        self._pass_time(STEP_SECONDS)

    @rule(fault=st.sampled_from(["none", "none", "lagging", "lost"]))
    def the_watch_fails_or_recovers(self, fault: Any) -> None:
        self.world.watch_fault = fault
        self.frozen = True
        self._pass_time(STEP_SECONDS)

    @rule(are_free=st.booleans())
    def gpus_run_out_or_come(self, are_free: bool) -> None:
        self.world.free_gpus(are_free)
        self._pass_time(STEP_SECONDS)

    @rule(name=st.sampled_from([*WORKLOADS]), share=st.sampled_from([0.0, 0.3, 0.6, 1.0]))
    def pods_are_overloaded_or_recover(self, name: str, share: float) -> None:
        self.world.overload(self.world.workloads[name], share)
        self._pass_time(STEP_SECONDS)

    @rule(name=st.sampled_from([*WORKLOADS]), replicas=st.just(0) | st.integers(0, 40))
    def a_human_scales(self, name: str, replicas: int) -> None:
        self.world.set_replicas(self.world.workloads[name], replicas)
        self._pass_time(STEP_SECONDS)

    @rule(
        name=st.sampled_from([*WORKLOADS]),
        key=st.sampled_from(KEYS),
        value=st.text(max_size=30)
        | st.binary(max_size=30).map(lambda some: some.decode("latin-1"))
        | st.sampled_from(
            ["true", "0", "-1", "1e99", "NaN", "\u0663", "9" * 5000, "[[[[", "&a [*a]"]
        ),
    )
    def somebody_writes_anything_into_an_annotation(self, name: str, key: str, value: str) -> None:
        self.world.workloads[name].annotations[f"gpu-scaler/{key}"] = value
        self._pass_time(STEP_SECONDS)

    @rule(name=st.sampled_from([*WORKLOADS]), key=st.sampled_from(["paused", "dry-run"]))
    def a_human_pauses(self, name: str, key: str) -> None:
        self.world.workloads[name].annotations[f"gpu-scaler/{key}"] = "true"
        self._pass_time(STEP_SECONDS)

    @rule(name=st.sampled_from([*WORKLOADS]))
    def annotations_are_mended(self, name: str) -> None:
        self.world.workloads[name].annotations = prefixed(WORKLOADS[name])
        self._pass_time(STEP_SECONDS)

    @rule(name=st.sampled_from([*WORKLOADS]), owned_by=st.sampled_from([None, "ScaledObject a/b"]))
    def another_autoscaler_comes_or_goes(self, name: str, owned_by: str | None) -> None:
        self.world.workloads[name].owned_by = owned_by
        self._pass_time(STEP_SECONDS)

    @rule(name=st.sampled_from([*WORKLOADS]))
    def a_deployment_is_made_anew(self, name: str) -> None:
        self.world.make_anew(self.world.workloads[name])
        self._pass_time(STEP_SECONDS)

    @rule(seconds=st.integers(-300, -16) | st.integers(16, 4000), pause=st.floats(0, 5))
    def our_clock_jumps(self, seconds: int, pause: float) -> None:
        self._pass_time(pause)
        self.world.monotonic_offset += seconds
        self.turned_back_seconds += max(0, -seconds)
        self.frozen = True
        self._pass_time(STEP_SECONDS)

    @rule(seconds=st.integers(-10_000, 10_000))
    def the_wall_clock_jumps(self, seconds: int) -> None:
        self.world.wall_offset += seconds
        self._pass_time(STEP_SECONDS)

    @rule(seconds=st.floats(0, 400), pause=st.floats(0, 5))
    def the_process_is_frozen(self, seconds: float, pause: float) -> None:
        self._pass_time(pause)
        self.loop.freeze(seconds)
        self.frozen = True
        if self.rival_task is not None and seconds > LEASE_SECONDS + 5:
            self.world.edit_lease(holderIdentity=RIVAL, renewTime=f"frozen at {self.loop.time()}")
        self._pass_time(STEP_SECONDS)

    @precondition(lambda self: self.rival_task is None)
    @rule()
    def a_rival_waits_for_the_lease(self) -> None:
        self.rival_task = self.loop.create_task(self.rival.run())
        self._pass_time(STEP_SECONDS)

    @precondition(lambda self: self.rival_task is not None)
    @rule()
    def the_rival_ends(self) -> None:
        assert self.rival_task is not None
        self.rival_task.cancel()
        self.rival_task = None
        self.loop.run_until_complete(self.rival.release())
        self._pass_time(STEP_SECONDS)

    @rule(stops=st.booleans())
    def somebody_stops_all_scaling(self, stops: bool) -> None:
        self.world.edit_lease(annotations=STOP if stops else {})
        self.auditor.stopped_since = self.loop.time() if stops else math.inf
        self._pass_time(STEP_SECONDS)

    @invariant()
    def no_rule_is_broken(self) -> None:
        failures = self.metrics.registry.get_sample_value("gpu_scaler_loop_failures_total")
        assert (self.auditor.broken, failures) == ([], 0)

    def teardown(self) -> None:
        try:
            if not self.auditor.broken:
                self._scales_again_once_all_is_well()
        finally:
            self.loop.end()
            self.patching.undo()
            logging.disable(logging.NOTSET)

    def _scales_again_once_all_is_well(self) -> None:
        """A scaler that does nothing at all would keep every rule."""
        self.all_exporters_recover()
        self.the_lease_fails_or_recovers("none")
        self.the_watch_fails_or_recovers("none")
        self.gpus_run_out_or_come(are_free=True)
        if self.rival_task is not None:
            self.the_rival_ends()
        self.somebody_stops_all_scaling(stops=False)
        for name, workload in self.world.workloads.items():
            workload.annotations = prefixed(WORKLOADS[name])
            workload.owned_by, workload.warned, workload.patch_fault = None, False, "none"
            workload.load_percent = 200
            self.world.overload(workload, 0.0)
            self.world.set_replicas(workload, max(1, workload.replicas))
        self._pass_time(900 + self.turned_back_seconds)
        counts = {name: one.replicas for name, one in self.world.workloads.items()}
        assert all(200 / counts[name] <= 50 * 1.1 for name in counts), counts
        for workload in self.world.workloads.values():
            workload.load_percent = 0
        self._pass_time(1500)
        counts = {name: one.replicas for name, one in self.world.workloads.items()}
        wide: Any = parse_policy(prefixed(WORKLOADS["wide"]), query_supported=False)
        minimums = [in_force(wide, self.world.wall() - ago).policy.min_replicas for ago in (0, 900)]
        # It may be on its way from the one to the other.
        assert min(minimums) <= counts.pop("wide") <= max(minimums)
        assert counts == {"web": 1, "fast": 2}
        marked = [
            pod.name for one in self.world.workloads.values() for pod in one.pods if pod.marked
        ]
        assert marked == []
        self.no_rule_is_broken()


class _Unhindered:
    """The API server as another machine reaches it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def get(self, _: str) -> Any:
        return self._world._read_lease()

    async def put(self, _: str, body: Any) -> Any:
        return self._world._write_lease(body)

    post = put
